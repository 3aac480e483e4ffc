package socketio_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
)

// TestLocalMove_Repeated_ReturnsWhenDurable: a call without an effect still waits for earlier changes.
func TestLocalMove_Repeated_ReturnsWhenDurable(t *testing.T) {
	t.Parallel()
	for name, move := range map[string]func(socketio.Audience, context.Context, ...socketio.Room) error{
		"Join": socketio.Audience.Join, "Leave": socketio.Audience.Leave,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			withSlowpoke(t, func(t *testing.T, io *socketio.Server, store *slowpoke) {
				connected(t, io)
				if err := only(t, io).Join(t.Context(), "old"); err != nil {
					t.Fatal(err)
				}
				room := map[string]socketio.Room{"Join": "new", "Leave": "old"}[name]
				store.slowDown(true)
				returned := make(chan error, 2)
				for range 2 {
					go func() { returned <- move(io.Except().Local(), t.Context(), room) }()
					synctest.Wait()
				}
				if n := len(returned); n != 0 {
					t.Errorf("%d returned before it was durable", n)
				}
				store.slowDown(false)
				for range 2 {
					if err := <-returned; err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}
