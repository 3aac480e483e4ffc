package accept_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pgsocket/socketio/internal/accept"
)

func TestEncoding(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]bool{
		"gzip": true, "GZIP": true, "deflate, gzip;q=0.5": true, "gzip ; q=1": true, "*": true, "br, *;q=0.1": true, "gzip;Q=0.1": true,
		"": false, "br": false, "x-gzip": false, "gzip;q=0": false, "gzip;q=0.000": false, "gzip; q=0, *": false, "*;q=0": false,
		"gzip;q=": false, "gzip;q=x": false, "gzip;q=NaN": false, "gzip;q=-1": false, "gzip;Q=0": false, "gzip;a=b;q=0": false,
	} {
		if got := accept.Encoding(http.Header{"Accept-Encoding": {header}}, "gzip"); got != want {
			t.Errorf("%q: %v", header, got)
		}
	}
	if !accept.Encoding(http.Header{"Accept-Encoding": {"br", "gzip"}}, "gzip") {
		t.Error("the second header line is ignored")
	}
}

// FuzzEncoding checks that no header causes a panic, and that only named encodings are accepted.
func FuzzEncoding(f *testing.F) {
	f.Add("gzip;q=0, *")
	f.Add("br, GZIP ; q = 0.5")
	f.Fuzz(func(t *testing.T, header string) {
		got := accept.Encoding(http.Header{"Accept-Encoding": {header}}, "gzip")
		if got && !strings.Contains(header, "*") && !strings.Contains(strings.ToLower(header), "gzip") {
			t.Errorf("%q", header)
		}
	})
}
