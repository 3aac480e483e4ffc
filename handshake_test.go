package socketio_test

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pgsocket/socketio"
)

// handshakeOf returns the answer to the first request of a client that polls.
func handshakeOf(t *testing.T, h http.Handler, url, origin string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, url, http.NoBody)
	if origin != "" {
		r.Header.Set("Origin", origin)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func newTestServer(t *testing.T, opts *socketio.Options) *socketio.Server {
	t.Helper()
	opts.Logger = slog.New(slog.DiscardHandler)
	server := socketio.NewServer(opts)
	t.Cleanup(func() { _ = server.Shutdown(t.Context()) })
	return server
}

func TestAllowRequest_OnlyAnErrorForThePeerReachesIt(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		`{"code":4,"message":"Forbidden"}`: errors.New("password of app at 10.0.0.5 is wrong"),
		`{"code":4,"message":"no seats"}`:  &socketio.Error{Code: "full", Message: "no seats"},
		`{"code":4,"message":"full"}`:      &socketio.Error{Code: "full"},
	} {
		server := newTestServer(t, &socketio.Options{AllowRequest: func(*http.Request) error { return err }})
		if w := handshakeOf(t, server, "/socket.io/?EIO=4&transport=polling", ""); w.Code != http.StatusForbidden || w.Body.String() != want {
			t.Errorf("%v: %d %s", err, w.Code, w.Body)
		}
	}
}

func TestOrigins_OfOptions(t *testing.T) {
	t.Parallel()
	server := newTestServer(t, &socketio.Options{Origins: []string{socketio.SameHost, "https://front.example"}})
	for origin, want := range map[string]string{"https://front.example": "https://front.example", "https://evil.example": "", "http://example.com": "http://example.com"} {
		w := handshakeOf(t, server, "http://example.com/socket.io/?EIO=4&transport=polling", origin)
		if got := w.Header().Get("Access-Control-Allow-Origin"); w.Code != http.StatusOK || got != want {
			t.Errorf("%s: %d %q", origin, w.Code, got)
		}
	}
	if n := server.Stats().OriginsRefused; n != 1 {
		t.Errorf("%d refused", n)
	}
}

// TestHandshake_QueryThatNetURLDoesNotRead: all of it is preserved, for AllowRequest and for handlers.
func TestHandshake_QueryThatNetURLDoesNotRead(t *testing.T) {
	t.Parallel()
	const query = "EIO=4&transport=polling&token=a;b=c&share=100%"
	seen := make(chan string, 1)
	server := newTestServer(t, &socketio.Options{AllowRequest: func(r *http.Request) error {
		h := socketio.Handshake{URL: r.URL}
		seen <- h.Query().Get("token") + " " + r.URL.Query().Get("share")
		return nil
	}})
	if w := handshakeOf(t, server, "/socket.io/?"+query, ""); w.Code != http.StatusOK {
		t.Fatal(w.Code, w.Body)
	}
	if got := <-seen; got != "a;b=c 100%" {
		t.Errorf("got %q", got)
	}
}

// TestServeHTTP_WithAndWithoutTrailingSlash: on an http.ServeMux both paths are named.
func TestServeHTTP_WithAndWithoutTrailingSlash(t *testing.T) {
	t.Parallel()
	server := newTestServer(t, &socketio.Options{})
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", server)
	mux.Handle("/socket.io", server)
	for _, path := range []string{"/socket.io", "/socket.io/"} {
		w := handshakeOf(t, mux, path+"?EIO=4&transport=polling", "")
		body, err := io.ReadAll(w.Body)
		if err != nil || w.Code != http.StatusOK || !strings.HasPrefix(string(body), `0{"sid"`) {
			t.Errorf("%s: %d %s", path, w.Code, body)
		}
	}
}
