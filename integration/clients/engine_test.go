package clients_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/transport"
)

// An echoReceiver sends back what it receives.
type echoReceiver struct{ session *transport.Session }

func (e *echoReceiver) Message(data []byte, binary bool) error {
	if string(data) == "close me" {
		e.session.Close(transport.ReasonForcedClose)
		return nil
	}
	m := transport.Text(data)
	if binary {
		m = transport.Binary(data)
	}
	return e.session.Send(m)
}

func (e *echoReceiver) Closed(transport.Reason, error) {}

// TestEngineIOClient connects engine.io-client to package transport, without Socket.IO: text and binary data of all
// sizes, in order, also across an upgrade, and the close.
func TestEngineIOClient(t *testing.T) {
	t.Parallel()
	server, err := transport.NewServer(&transport.Options{Logger: slog.New(slog.DiscardHandler)}, func(s *transport.Session, _ *http.Request) transport.Receiver {
		return &echoReceiver{s}
	})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(server)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), harness.MaxWait)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		web.Close()
	})
	for transports, want := range map[string]string{
		"polling": "polling transport close", "websocket": "websocket transport close", "polling,websocket": "websocket transport close",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), harness.MaxWait)
		defer cancel()
		client := exec.CommandContext(ctx, "node", "engine.mjs", strings.Replace(web.URL, "http", "ws", 1), transports)
		client.Dir = "../js"
		out, err := client.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%s: %v, output %q, want %q", transports, err, got, want)
		}
	}
}
