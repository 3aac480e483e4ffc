package socketio_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
)

// TestConnect_TwiceBeforeTheAnswer: an official client sends a CONNECT for each call of
// connect() until it is answered. Once it is, another one is a violation: the client does
// not know which events it was sent since.
func TestConnect_TwiceBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	bubble(t, &socketio.Options{MaxNamespaces: 2}, func(t *testing.T, io *socketio.Server) {
		other := io.Of("/other")
		other.Use(func(context.Context, *socketio.Socket) error { time.Sleep(time.Second); return nil })
		p := connected(t, io)
		for range 3 {
			p.WriteText("0/other,")
		}
		p.ReadText()
		synctest.Wait()
		if st := io.Stats(); st.Sockets != 2 || p.Waiting() != 0 {
			t.Errorf("%d sockets, %d messages wait", st.Sockets, p.Waiting())
		}
		emit(t, other, "once")
		if got, want := p.ReadText(), `2/other,["said","once"`; !strings.HasPrefix(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
		p.WriteText("0/other,")
		p.closed()
	})
}
