package transport

import (
	"net/http"
	"testing"

	"github.com/pgsocket/socketio/transport/frame"
)

// TestHandshake_Order checks that even a PING, which overtakes the queue, follows the handshake.
func TestHandshake_Order(t *testing.T) {
	t.Parallel()
	server, err := NewServer(nil, func(*Session, *http.Request) Receiver { return nil })
	if err != nil {
		t.Fatal(err)
	}
	s := newSession(server, newPolling(), "", nil)
	if err := s.Send(Text([]byte("a"))); err != nil {
		t.Fatal(err)
	}
	s.urge(urgentPing, server.ping)

	w := new(writer)
	if !s.take(w) || len(w.chunk) != 3 {
		t.Fatalf("%d messages", len(w.chunk))
	}
	for i, want := range []frame.Type{frame.Open, frame.Ping, frame.Message} {
		if got := w.chunk[i].packet().Type; got != want {
			t.Errorf("message %d is %s, want %s", i, got, want)
		}
	}
}
