package socketio_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
)

// TestConnect_Twice: a second CONNECT that crosses with the answer to the first one is
// answered with it. One of a client that must know the answer is a violation.
func TestConnect_Twice(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		before, between time.Duration // of the gate, and of the two packets
		closes          bool
	}{
		"while a gate runs":  {before: time.Second},
		"across the answer":  {between: time.Second},
		"behind the gate":    {before: time.Second, between: 2 * time.Second},
		"when it must know":  {between: time.Minute, closes: true},
		"after another pong": {before: time.Second, between: time.Hour, closes: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, &socketio.Options{MaxNamespaces: 2}, func(t *testing.T, io *socketio.Server) {
				io.Of("/other").Use(func(context.Context, *socketio.Socket) error { time.Sleep(tt.before); return nil })
				p := connected(t, io)
				p.WriteText("0/other,")
				time.Sleep(tt.between)
				p.WriteText("0/other,")
				p.ReadText()
				if tt.closes {
					p.closed()
					return
				}
				synctest.Wait()
				if st := io.Stats(); st.Sockets != 2 || p.Waiting() != 0 {
					t.Errorf("%d sockets, %d messages wait", st.Sockets, p.Waiting())
				}
				emit(t, io.Of("/other"), "once")
				if got := p.ReadText(); got[:len(`2/other,["said","once"`)] != `2/other,["said","once"` {
					t.Error(fmt.Sprint("got ", got))
				}
			})
		})
	}
}
