package clients_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/rs/cors"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/integration/harness"
)

// TestCORS_Middleware: a CORS middleware around the server does what the option Origins does for preflights, answers,
// refusals and WebSockets.
func TestCORS_Middleware(t *testing.T) {
	t.Parallel()
	io := socketio.NewServer(nil)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), harness.MaxWait)
		defer cancel()
		if err := io.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	server := httptest.NewServer(cors.New(cors.Options{
		AllowedOrigins:       []string{"https://app.example"},
		AllowCredentials:     true,
		OptionsSuccessStatus: http.StatusNoContent,
	}).Handler(io))
	t.Cleanup(server.Close)

	for name, c := range map[string]struct {
		method, query string
		header        map[string]string
		status        int
	}{
		"preflight": {http.MethodOptions, "EIO=4&transport=polling", map[string]string{"Access-Control-Request-Method": "POST"}, http.StatusNoContent},
		"handshake": {http.MethodGet, "EIO=4&transport=polling", nil, http.StatusOK},
		"refusal":   {http.MethodGet, "EIO=4&transport=polling&sid=x", nil, http.StatusBadRequest},
		"WebSocket": {http.MethodGet, "EIO=4&transport=websocket", map[string]string{
			"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
		}, http.StatusSwitchingProtocols},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for origin, share := range map[string]string{"https://app.example": "https://app.example", "https://evil.example": ""} {
				req, err := http.NewRequestWithContext(t.Context(), c.method, server.URL+"/socket.io/?"+c.query, http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Origin", origin)
				for key, value := range c.header {
					req.Header.Set(key, value)
				}
				resp, err := server.Client().Do(req)
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
				status := c.status
				if share == "" && name == "WebSocket" { // the server does not allow it either
					status = http.StatusBadRequest
				}
				if got := resp.Header.Get("Access-Control-Allow-Origin"); resp.StatusCode != status || got != share {
					t.Errorf("origin %s: %s, allowed %q; want %d, %q", origin, resp.Status, got, status, share)
				}
			}
		})
	}
}
