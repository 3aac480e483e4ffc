package socketio_test

import (
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
)

// TestLocalDisconnect_ClientIsToldWhenDurable: a client that comes back at once, to whatever
// node, does not find the session that it was thrown out of.
func TestLocalDisconnect_ClientIsToldWhenDurable(t *testing.T) {
	t.Parallel()
	withSlowpoke(t, func(t *testing.T, io *socketio.Server, store *slowpoke) {
		p := connected(t, io)
		store.slowDown(true)
		returned := make(chan error, 1)
		go func() { returned <- io.Except().Local().Disconnect(t.Context()) }()
		synctest.Wait()
		if n := p.Waiting(); n != 0 || len(returned) != 0 {
			t.Errorf("%d messages before the end of the session is durable, returned %d", n, len(returned))
		}
		store.slowDown(false)
		if err := <-returned; err != nil {
			t.Error(err)
		}
		if got := p.ReadText(); got != "1" {
			t.Errorf("told %q", got)
		}
	})
}
