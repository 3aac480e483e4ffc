package socketio_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
)

// TestShutdown_IdleNamespaceBesideABusyOne: packets of a client in a namespace without waiting
// events, or in a new one, do not prevent the answers of the busy one.
func TestShutdown_IdleNamespaceBesideABusyOne(t *testing.T) {
	t.Parallel()
	for name, packet := range map[string]string{
		"event": `2/idle,["hello"]`, "DISCONNECT": `1/idle,`, "CONNECT to another": `0/late,`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				io := newServer(nil)
				handled := 0
				which.On(io, func(ctx context.Context, _ *socketio.Socket, _ socketio.None) (int, error) {
					time.Sleep(time.Second)
					handled++
					return handled, ctx.Err()
				})
				io.Of("/idle")
				io.Of("/late")
				p, unready := connected(t, io), dial(t, io)
				p.WriteText("0/idle,")
				p.ReadText()
				for i := range 5 {
					p.WriteText(fmt.Sprintf(`2%d["which"]`, i))
				}
				synctest.Wait()
				time.AfterFunc(1500*time.Millisecond, func() {
					p.WriteText(packet)
					unready.WriteText("0") // a client without events is disconnected at once
				})
				time.AfterFunc(2500*time.Millisecond, func() { unready.closed() })
				if err := io.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
				for i := range 5 {
					if got, want := p.ReadText(), fmt.Sprintf("3%d[%d]", i, i+1); got != want {
						t.Errorf("got %s, want %s", got, want)
					}
				}
				p.closed()
			})
		})
	}
}
