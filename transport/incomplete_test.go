package transport_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/pgsocket/socketio/transport"
)

// TestIncompleteMessage_WebSocket checks that a session with a message that does not end
// is closed by the heartbeat, because a PONG cannot overtake the message, even if its
// client sends control frames.
func TestIncompleteMessage_WebSocket(t *testing.T) {
	t.Parallel()
	for name, wire := range map[string][]byte{
		"frame":    masked(ws.OpText, true, "4half a frame")[:9],
		"fragment": masked(ws.OpText, false, "4half a message"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, r := join(t, nil)
				began := time.Now()
				go func() {
					c.WriteRaw(wire)
					for range 5 {
						time.Sleep(10 * time.Second)
						if name == "fragment" {
							c.WriteRaw(masked(ws.OpPing, true, ""))
							c.WriteRaw(masked(ws.OpContinuation, false, "more"))
						}
					}
				}()
				c.SetPongs(false) // they would be a violation
				r.wantClosed(t, transport.ReasonPingTimeout)
				if took := time.Since(began); took > 47*time.Second {
					t.Errorf("closed after %v", took)
				}
				time.Sleep(time.Minute) // until the client has given up, too
			})
		})
	}
}
