package socketio_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
)

// fragment returns a frame of a client that is not the last one of its message.
func fragment(op byte, data string) []byte {
	f := clientFrame(op, data)
	f[0] &^= 0x80
	return f
}

// TestRates_Fragments: a fragment of a message costs the node as much as a frame, and the rates apply to it as to
// control frames: else a client could send one message in endless fragments.
func TestRates_Fragments(t *testing.T) {
	t.Parallel()
	for name, frame := range map[string][]byte{"empty": fragment(0, ""), "one byte": fragment(0, "x")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, &socketio.Options{EventsPerSecond: 100}, func(t *testing.T, io *socketio.Server) {
				p := connected(t, io)
				began := time.Now()
				p.WriteRaw(fragment(1, `42["`))
				for range 800 {
					p.WriteRaw(frame)
				}
				synctest.Wait()
				if took := time.Since(began); took < 6900*time.Millisecond || took > 7100*time.Millisecond {
					t.Errorf("800 fragments at once took %v, want 7s", took)
				}
				p.WriteRaw(clientFrame(0, `"]`))
				synctest.Wait()
				if io.Connections() != 1 {
					t.Error("the connection is gone")
				}
			})
		})
	}
}
