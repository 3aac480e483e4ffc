package clients_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/integration/harness"
)

// TestFlowControl_OfficialClient has the official client send faster than its events are handled, for longer than the
// ping timeout, and receive an event larger than the queue of its connection with an acknowledgement behind it. It
// receives everything on one connection.
func TestFlowControl_OfficialClient(t *testing.T) {
	t.Parallel()
	for _, transports := range []string{"polling", "websocket", "polling,websocket"} {
		t.Run(transports, func(t *testing.T) {
			t.Parallel()
			server := socketio.NewServer(&socketio.Options{
				InboxEvents: 500, PingInterval: 300 * time.Millisecond, PingTimeout: 3 * time.Second, Logger: slog.New(slog.DiscardHandler),
			})
			handled := 0
			socketio.Event[int]("number").On(server, func(_ context.Context, _ *socketio.Socket, i int) error {
				time.Sleep(time.Millisecond)
				if i == handled {
					handled++
				}
				return nil
			})
			socketio.Request[socketio.None, int]("handled").On(server, func(context.Context, *socketio.Socket, socketio.None) (int, error) {
				return handled, nil
			})
			large := socketio.Event[string]("large")
			socketio.Request[socketio.None, bool]("large").On(server, func(ctx context.Context, s *socketio.Socket, _ socketio.None) (bool, error) {
				return true, large.Emit(ctx, s, strings.Repeat("x", 5_000_000))
			})
			web := httptest.NewServer(server)
			t.Cleanup(web.Close)
			ctx, cancel := context.WithTimeout(t.Context(), harness.MaxWait)
			defer cancel()
			client := exec.CommandContext(ctx, "node", "burst.mjs", web.URL, transports, "4000")
			client.Dir = "../js"
			out, err := client.CombinedOutput()
			if got := strings.TrimSpace(string(out)); err != nil || got != "4000 5000000 true" {
				t.Errorf("%v, output %q", err, got)
			}
			if err := server.Shutdown(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}
