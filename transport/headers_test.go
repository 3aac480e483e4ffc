package transport_test

import (
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
)

// TestHeaders_LongLists checks that a long list in a header of a request takes little memory. It is not parallel because
// it measures allocations.
func TestHeaders_LongLists(t *testing.T) { //nolint:paralleltest // see above
	server, opened := serve(t, nil)
	server.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, pollURL, http.NoBody))
	probe := wsURL + "&sid=" + (<-opened).session.ID()
	for _, row := range []struct {
		url, header, value string
		status             int
	}{
		{pollURL, "X-Forwarded-Host", strings.Repeat(",", 100_000), http.StatusRequestHeaderFieldsTooLarge},
		{pollURL + "&sid=unknown", "X-Forwarded-Host", strings.Repeat("a,", 50_000), http.StatusBadRequest},
		{probe, "Sec-WebSocket-Protocol", strings.Repeat("a,", 50_000), http.StatusBadRequest},
		{probe, "Sec-WebSocket-Extensions", "a" + strings.Repeat(";b", 50_000), http.StatusBadRequest},
	} {
		r := httptest.NewRequest(http.MethodGet, row.url, http.NoBody)
		r.Header.Set("Origin", "http://elsewhere.example")
		if row.url == probe {
			for key, value := range map[string]string{
				"Origin": "http://" + r.Host, "Connection": "Upgrade", "Upgrade": "websocket",
				"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13",
			} {
				r.Header.Set(key, value)
			}
		}
		r.Header.Set(row.header, row.value)
		w := httptest.NewRecorder()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		server.ServeHTTP(w, r)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 200<<10 || w.Code != row.status {
			t.Errorf("%s of %d KB: %d KiB allocated, status %d, want %d", row.header, len(row.value)>>10, n>>10, w.Code, row.status)
		}
	}
}
