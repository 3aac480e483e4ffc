package transport_test

import (
	"bytes"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pgsocket/socketio/transport"
)

// ask returns the answer to a request of a page, over one of the transports.
func ask(h http.Handler, name, method string, header map[string]string) *httptest.ResponseRecorder {
	url := "http://app.example/engine.io/?EIO=4&transport=" + name
	r := httptest.NewRequest(method, url, http.NoBody)
	if name == transport.WebSocket {
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "websocket")
		r.Header.Set("Sec-Websocket-Version", "13")
		r.Header.Set("Sec-Websocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	}
	for key, value := range header {
		if key == "Host" {
			r.Host = value
		}
		r.Header.Set(key, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// A request for a WebSocket that is not refused gets status 500, because a recorder cannot be hijacked.
const notRefused = http.StatusInternalServerError

func TestOrigins_BothTransports(t *testing.T) {
	t.Parallel()
	listed := []string{"https://front.example", "https://*.front.example:8443", "http://localhost:5173", transport.SameHost}
	for _, row := range []struct {
		origins     []string
		origin      string
		header      map[string]string
		allowed     bool
		share       string // Access-Control-Allow-Origin
		credentials bool
	}{
		{nil, "", nil, true, "", false},
		{nil, "https://app.example", nil, true, "https://app.example", true},
		{nil, "https://app.example", map[string]string{"Host": "app.example:443"}, true, "https://app.example", true},
		{nil, "https://app.example:8443", map[string]string{"Host": "app.example:8443"}, true, "https://app.example:8443", true},
		{nil, "https://app.example", map[string]string{"Host": "10.0.0.1:3000", "X-Forwarded-Host": "app.example"}, true, "https://app.example", true},
		{nil, "https://app.example", map[string]string{"Host": "10.0.0.1:3000", "X-Forwarded-Host": "app.example, proxy.example"}, true, "https://app.example", true}, // two proxies
		{nil, "https://app.example", map[string]string{"Host": "10.0.0.1:3000", "X-Forwarded-Host": "notapp.example, proxy.example"}, false, "", false},
		{nil, "https://app.example", map[string]string{"Host": "10.0.0.1:3000", "Sec-Fetch-Site": "same-origin"}, true, "https://app.example", true},
		{nil, "https://app.example", map[string]string{"Host": "10.0.0.1:3000"}, false, "", false},
		{nil, "http://app.example:5173", nil, true, "http://app.example:5173", true}, // a page of another port
		{nil, "http://localhost:5173", map[string]string{"Host": "localhost:3000"}, true, "http://localhost:5173", true},
		{nil, "http://[::1]:5173", map[string]string{"Host": "[::1]:3000"}, true, "http://[::1]:5173", true},
		{nil, "http://127.0.0.1:5173", map[string]string{"Host": "localhost:3000"}, false, "", false},
		{nil, "https://evil.example", nil, false, "", false},
		{nil, "https://evil.example", map[string]string{"Sec-Fetch-Site": "cross-site"}, false, "", false},
		{nil, "https://app.example.evil.example", nil, false, "", false},
		{nil, "https://app.example@evil.example", nil, false, "", false},
		{nil, "null", nil, false, "", false},
		{nil, "http://:80", nil, false, "", false},
		{nil, "same-host", nil, false, "", false},
		{listed, "https://front.example", nil, true, "https://front.example", true},
		{listed, "HTTPS://Front.example", nil, true, "HTTPS://Front.example", true},
		{listed, "http://front.example", nil, false, "", false},
		{listed, "https://front.example:444", nil, false, "", false},
		{listed, "https://a.b.front.example:8443", nil, true, "https://a.b.front.example:8443", true},
		{listed, "https://.front.example:8443", nil, false, "", false},
		{listed, "https://evilfront.example:8443", nil, false, "", false},
		{listed, "http://localhost:5173", nil, true, "http://localhost:5173", true},
		{listed, "same-host", nil, false, "", false},
		{listed, "http://app.example", nil, true, "http://app.example", true},
		{[]string{"https://front.example"}, "http://app.example", nil, false, "", false},
		{[]string{"*", "https://front.example"}, "https://any.example", nil, true, "*", false},
		{[]string{"*", "https://front.example"}, "https://front.example", nil, true, "https://front.example", true},
		{[]string{"*"}, "null", nil, true, "*", false},
		{[]string{"null"}, "null", nil, true, "null", true},
		{[]string{"file://"}, "file://", nil, true, "file://", true},
		{nil, "file://", nil, false, "", false},
		{[]string{}, "http://app.example", nil, false, "", false},
		{[]string{}, "", nil, true, "", false},
	} {
		server, _ := serve(t, &transport.Options{Origins: row.origins})
		header := map[string]string{"Origin": row.origin}
		maps.Copy(header, row.header)
		w := ask(server, transport.WebSocket, http.MethodGet, header)
		if allowed := w.Code == notRefused; allowed != row.allowed || !allowed && w.Body.String() != "Origin not allowed" {
			t.Errorf("%+v: WebSocket %d %s", row, w.Code, w.Body)
		}
		w = ask(server, transport.Polling, http.MethodPost, header) // refused because of the method
		got := w.Header()
		if got.Get("Access-Control-Allow-Origin") != row.share || (got.Get("Access-Control-Allow-Credentials") == "true") != row.credentials {
			t.Errorf("%+v: polling %v", row, got)
		}
		if row.origin != "" && !strings.Contains(got.Get("Vary"), "Origin") {
			t.Errorf("%+v: may be cached for another origin: %v", row, got)
		}
		preflight := map[string]string{"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization, x-a"}
		maps.Copy(preflight, header)
		w = ask(server, transport.Polling, http.MethodOptions, preflight)
		if got := w.Header().Get("Access-Control-Allow-Headers"); (w.Code == http.StatusNoContent) != (row.share != "") || row.share != "" && got != "authorization, x-a" {
			t.Errorf("%+v: preflight %d %v", row, w.Code, w.Header())
		}
	}
}

// TestOrigins_AllowedByOuterHandler checks that an origin that a CORS middleware allows is allowed, and its headers are kept.
func TestOrigins_AllowedByOuterHandler(t *testing.T) {
	t.Parallel()
	server, _ := serve(t, &transport.Options{Origins: []string{"https://front.example"}})
	for set, want := range map[string]int{"https://other.example": notRefused, "*": http.StatusBadRequest} {
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Access-Control-Allow-Origin", set)
			server.ServeHTTP(w, r)
		})
		w := ask(h, transport.WebSocket, http.MethodGet, map[string]string{"Origin": "https://other.example"})
		if got := w.Header()["Access-Control-Allow-Origin"]; w.Code != want || len(got) != 1 || got[0] != set {
			t.Errorf("%s: %d %v", set, w.Code, got)
		}
	}
}

func TestOrigins_Invalid(t *testing.T) {
	t.Parallel()
	for _, origin := range []string{"", "front.example", "https://front.example/", "https://", "https://*", "https://a.*.example", "https://u@front.example", "https://front.example/a", "samehost"} {
		if _, err := transport.NewServer(&transport.Options{Origins: []string{origin}}, nil); err == nil || !strings.Contains(err.Error(), "Origins has") {
			t.Errorf("%q: %v", origin, err)
		}
	}
}

// logged returns a server that logs to the buffer.
func logged(t *testing.T, opts *transport.Options) (*transport.Server, *bytes.Buffer) {
	t.Helper()
	out := new(bytes.Buffer)
	opts.Logger = slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	server, err := transport.NewServer(opts, func(s *transport.Session, _ *http.Request) transport.Receiver { return newRecorder(s) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Shutdown(t.Context()) })
	return server, out
}

func TestOrigins_RefusedPage_CountedAndLogged(t *testing.T) {
	t.Parallel()
	server, out := logged(t, &transport.Options{})
	page := map[string]string{"Origin": "http://localhost:5173"}
	for range 10 {
		ask(server, transport.WebSocket, http.MethodGet, page)
	}
	if n := server.RefusedOrigins(); n != 10 {
		t.Errorf("%d refused", n)
	}
	_ = server.Shutdown(t.Context()) // and the lines are written
	if warned := strings.Count(out.String(), "level=WARN"); warned != 1 || !strings.Contains(out.String(), "Options.Origins") || !strings.Contains(out.String(), "origin=http://localhost:5173") {
		t.Errorf("%d warnings: %s", warned, out)
	}
}

// TestAllowRequest_OtherError_LoggedNotSent checks that such an error is logged, once a minute.
func TestAllowRequest_OtherError_LoggedNotSent(t *testing.T) {
	t.Parallel()
	server, out := logged(t, &transport.Options{AllowRequest: func(*http.Request) error {
		return errors.New(`password authentication failed for user "app" <script>`)
	}})
	for name, want := range map[string]string{transport.Polling: `{"code":4,"message":"Forbidden"}`, transport.WebSocket: "Forbidden"} {
		for range 5 {
			if w := ask(server, name, http.MethodGet, nil); w.Body.String() != want {
				t.Errorf("%s: %s", name, w.Body)
			}
		}
	}
	_ = server.Shutdown(t.Context()) // and the lines are written
	if warned := strings.Count(out.String(), "level=WARN"); warned != 1 || !strings.Contains(out.String(), "password authentication failed") {
		t.Errorf("%d warnings: %s", warned, out)
	}
}

// TestAllowRequest_ForbiddenError_IsEscaped checks the HTML answer to a WebSocket request.
func TestAllowRequest_ForbiddenError_IsEscaped(t *testing.T) {
	t.Parallel()
	server, _ := serve(t, &transport.Options{AllowRequest: func(*http.Request) error {
		return &transport.ForbiddenError{Message: "<script>"}
	}})
	for name, want := range map[string]string{
		transport.Polling: `{"code":4,"message":"\u003cscript\u003e"}`, transport.WebSocket: "&lt;script&gt;",
	} {
		if w := ask(server, name, http.MethodGet, nil); w.Body.String() != want {
			t.Errorf("%s: %s", name, w.Body)
		}
	}
}
