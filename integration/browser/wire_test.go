package browser_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/clientbundle"
)

// TestPage_OfficialBundle shows that the bundle in a browser connects, is upgraded, exchanges binary data and
// recovers; see wire.mjs.
func TestPage_OfficialBundle(t *testing.T) {
	t.Parallel()
	type box struct {
		Deep []socketio.Binary `json:"deep"`
	}
	server := socketio.NewServer(&socketio.Options{Logger: slog.New(slog.DiscardHandler)})
	socketio.Request[box, box]("echo").On(server, func(_ context.Context, _ *socketio.Socket, b box) (box, error) { return b, nil })
	var n atomic.Int64
	socketio.Request[int, socketio.None]("count").On(server, func(ctx context.Context, s *socketio.Socket, more int) (none socketio.None, err error) {
		for range more {
			if err := socketio.Event[int64]("count").Emit(ctx, s, n.Add(1)); err != nil {
				return none, err
			}
		}
		return none, nil
	})
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", clientbundle.Beside(server))
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `<!doctype html><title>wire</title><script src="/socket.io/socket.io.js"></script>`)
	})
	web := httptest.NewServer(mux)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		web.Close()
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "node", "wire.mjs", chromium(t), web.URL).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
