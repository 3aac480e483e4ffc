package socketio_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// TestFetch_RecoveredClient_PrivateIDStaysOutOfTheLog: the answers to Fetch go through the log, with
// the client's auth object, but without the private id in it.
func TestFetch_RecoveredClient_PrivateIDStaysOutOfTheLog(t *testing.T) {
	t.Parallel()
	w := &recordingAdapter{Memory: adapter.NewMemory(nil)}
	opts := &socketio.Options{Adapter: w, Recovery: socketio.Recovery{Store: recovery.NewMemory(w.Memory)}}
	bubble(t, opts, func(t *testing.T, io *socketio.Server) {
		back := connected(t, io).presents(io, `alice <1> 12345678901234567890`)
		if !only(t, io).Recovered() {
			t.Fatal("not recovered")
		}
		for s, err := range io.Except().Fetch(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			var auth map[string]any
			if err := json.Unmarshal(s.Handshake().Auth, &auth); err != nil || len(auth) != 1 || auth["token"] != "alice <1> 12345678901234567890" {
				t.Errorf("auth %v, %v", auth, err)
			}
		}
		for _, e := range w.published {
			if bytes.Contains(e.Payload, []byte(back.pid)) {
				t.Errorf("kind %d: %s", e.Kind, e.Payload)
			}
		}
	})
}
