package socketio_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
)

// Packets that a client sends before it receives DISCONNECT for one namespace do not close
// its connection.
func TestDisconnect_OfOneNamespace_PacketsThatCrossIt(t *testing.T) {
	t.Parallel()
	const attached = `51-/other,["said",{"_placeholder":true,"num":0}]`
	for name, tt := range map[string]struct {
		text   string
		after  time.Duration
		closes bool
	}{
		"event":                        {text: `2/other,["said","x"]`},
		"request":                      {text: `2/other,7["said","x"]`},
		"binary event":                 {text: attached},
		"disconnect":                   {text: `1/other,`},
		"ack":                          {text: `3/other,7["x"]`},
		"ack much later":               {text: `3/other,7["x"]`, after: time.Hour},
		"event when it must know":      {text: `2/other,["said","x"]`, after: time.Minute, closes: true},
		"ack of a namespace unknown":   {text: `3/unknown,7["x"]`},
		"event of a namespace unknown": {text: `2/unknown,["said","x"]`, closes: true},
		"CONNECT again":                {text: `0/other,`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, nil, func(t *testing.T, io *socketio.Server) {
				other := io.Of("/other")
				handled := 0
				said.On(other, func(context.Context, *socketio.Socket, string) error { handled++; return nil })
				p := connected(t, io)
				p.WriteText("0/other,")
				p.ReadText()
				synctest.Wait()
				for _, s := range slices.Collect(other.Sockets()) {
					do(t, s.Disconnect(t.Context()))
				}
				time.Sleep(tt.after)
				p.WriteText(tt.text)
				if tt.text == attached {
					p.WriteBinary([]byte{1})
				}
				if p.ReadText(); tt.closes {
					p.closed()
					return
				}
				synctest.Wait()
				if tt.text == "0/other," {
					p.ReadText() // CONNECT
				}
				emit(t, io, "still here")
				p.wantEvents("said still here")
				if handled != 0 {
					t.Error("handled an event of a client that was disconnected")
				}
			})
		})
	}
}
