package socketio_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pgsocket/socketio"
)

// TestRates_OversizePosts: a POST above MaxPayload is refused, and the session continues: the bytes that were read count,
// and so does each request.
func TestRates_OversizePosts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		opts   *socketio.Options
		posts  int
		length int64
	}{
		"bytes":    {&socketio.Options{BytesPerSecond: 1_000_000}, 8, -1},
		"requests": {&socketio.Options{EventsPerSecond: 100}, 800, 1_000_001},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, c.opts, func(t *testing.T, server *socketio.Server) {
				do := func(method, query string, body io.Reader, length int64) *httptest.ResponseRecorder {
					w, r := httptest.NewRecorder(), httptest.NewRequest(method, "/socket.io/?EIO=4&transport=polling"+query, body)
					r.ContentLength = length
					server.ServeHTTP(w, r)
					return w
				}
				_, sid, _ := strings.Cut(do(http.MethodGet, "", http.NoBody, 0).Body.String(), `"sid":"`)
				began := time.Now()
				for range c.posts {
					w := do(http.MethodPost, "&sid="+sid[:20], strings.NewReader(strings.Repeat("4", 1_000_001)), c.length)
					if w.Code != http.StatusRequestEntityTooLarge {
						t.Fatalf("status %d", w.Code)
					}
				}
				if took := time.Since(began); took < 6*time.Second || took > 8*time.Second {
					t.Errorf("took %v, want 7s", took)
				}
			})
		})
	}
}
