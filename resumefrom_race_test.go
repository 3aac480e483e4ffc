package socketio_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// TestResumeFrom_JoinsMeanwhile: a goroutine of middleware changes the rooms while the session is opened, for the race
// detector.
func TestResumeFrom_JoinsMeanwhile(t *testing.T) {
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
		return s.ResumeFrom(ctx, mark)
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

// A snapshotLog resolves a snapshot token to its end.
type snapshotLog struct{ *losable }

func (b *snapshotLog) ResolveSnapshot(context.Context, string) (adapter.StartPosition, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return adapter.StartPosition{After: adapter.Position(len(b.records))}, nil
}

// TestFollow_LogLosesItsEndMeanwhile: the log loses the records at a snapshot token that middleware has resolved, and
// has other records there before the session is opened. The client would miss them.
func TestResumeFrom_LogLosesItsEndMeanwhile_ClientComesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &snapshotLog{&losable{}}
		io := newServer(&socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: recovery.NewMemory(adapter.NewMemory(nil)), Snapshots: log}})
		found, next := make(chan struct{}), make(chan struct{})
		io.Use(func(ctx context.Context, s *socketio.Socket) error {
			err := s.ResumeFrom(ctx, "the end")
			found <- struct{}{}
			<-next
			return err
		})
		for range 5 {
			emit(t, io, "before")
		}
		p := dial(t, io)
		p.WriteText("0")
		<-found
		log.lose(3)
		for range 5 {
			emit(t, io, "missed")
		}
		close(next)
		if _, text, err := p.ReadMessage(); err == nil {
			t.Errorf("the client got %s", text)
		}
		p.Cut()
		q := dial(t, io)
		q.WriteText("0")
		<-found
		q.connects()
		emit(t, io, "after")
		q.wantEvents("said after")
		do(t, io.Shutdown(t.Context()))
	})
}
