package clientbundle_test

import (
	"net/http"
	"testing"
)

// TestBundle_RefusedEncoding checks that a weight of zero refuses an encoding.
func TestBundle_RefusedEncoding(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{"gzip;q=0, identity": "", "x-gzip": "", "gzip;q=0.5": "gzip", "*": "gzip"} {
		resp := ask(t, http.MethodGet, "/socket.io/socket.io.js", "Accept-Encoding", header)
		if got := resp.Header.Get("Content-Encoding"); got != want {
			t.Errorf("%s: %q", header, got)
		}
	}
}
