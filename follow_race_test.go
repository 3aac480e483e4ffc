package socketio_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// TestFollow_JoinsMeanwhile: what a gate has begun may change the rooms while the session that follows is
// opened. The race detector finds what it finds.
func TestFollow_JoinsMeanwhile(t *testing.T) {
	t.Parallel()
	log := adapter.NewMemory(nil)
	io := newServer(&socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: recovery.NewMemory(log), Snapshots: log}})
	mark := log.Offset(0).String()
	var joining sync.WaitGroup
	io.Use(func(ctx context.Context, s *socketio.Socket) error {
		begun := make(chan struct{})
		joining.Go(func() {
			for i := range 300 {
				_ = s.Join(context.Background(), socketio.Room(fmt.Sprint(i)))
				if i == 0 {
					close(begun)
				}
			}
		})
		<-begun
		return s.Follow(ctx, mark)
	})
	for range 20 {
		p := dial(t, io)
		p.WriteText("0")
		p.connects()
		p.Cut()
	}
	joining.Wait()
	do(t, io.Shutdown(context.Background()))
}
