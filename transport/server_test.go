package transport_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio/transport"
	"github.com/pgsocket/socketio/transport/transporttest"
)

func TestServer_RefusalBodies(t *testing.T) {
	t.Parallel()

	forbid := func(r *http.Request) error {
		switch r.URL.Query().Get("who") {
		case "eve":
			return fmt.Errorf("wrapped: %w", &transport.ForbiddenError{Message: `no "eve"`})
		case "mute":
			return &transport.ForbiddenError{}
		default:
			return nil
		}
	}
	server, opened := serve(t, &transport.Options{AllowRequest: forbid})
	transporttest.Dial(t, server, wsURL)
	sid := (<-opened).session.ID()

	for _, row := range []struct {
		name, method, query string
		status              int // of a plain request
		code                string
		message             string
		upgradeOnly         bool
	}{
		{"no transport", "GET", "EIO=4", 400, "0", "Transport unknown", false},
		{"unknown transport", "GET", "EIO=4&transport=abc", 400, "0", "Transport unknown", false},
		{"webtransport", "GET", "EIO=4&transport=webtransport", 400, "0", "Transport unknown", false},
		{"transport before sid", "GET", "EIO=4&transport=abc&sid=nope", 400, "0", "Transport unknown", false},
		{"unknown sid", "GET", "EIO=4&transport=websocket&sid=nope", 400, "1", "Session ID unknown", false},
		{"sid before method", "POST", "EIO=4&transport=websocket&sid=nope", 400, "1", "Session ID unknown", false},
		{"known sid", "GET", "EIO=4&transport=websocket&sid=" + sid, 400, "3", "Bad request", false},
		{"known sid, other EIO", "GET", "EIO=3&transport=websocket&sid=" + sid, 400, "3", "Bad request", false},
		{"method", "POST", "EIO=4&transport=websocket", 400, "2", "Bad handshake method", false},
		{"method before EIO", "PUT", "EIO=3&transport=websocket", 400, "2", "Bad handshake method", false},
		{"forbidden", "GET", "EIO=4&transport=websocket&who=eve", 403, "4", `no "eve"`, true},
		{"forbidden, no text", "GET", "EIO=4&transport=websocket&who=mute", 403, "4", "Forbidden", true},
		{"forbidden before EIO", "GET", "EIO=3&transport=websocket&who=mute", 403, "4", "Forbidden", true},
		{"EIO 3", "GET", "EIO=3&transport=websocket", 400, "5", "Unsupported protocol version", true},
		{"no EIO", "GET", "transport=websocket", 400, "5", "Unsupported protocol version", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()

			if !row.upgradeOnly {
				w := httptest.NewRecorder()
				server.ServeHTTP(w, httptest.NewRequest(row.method, "/engine.io/?"+row.query, http.NoBody))
				body := `{"code":` + row.code + `,"message":"` + row.message + `"}`
				if w.Code != row.status || w.Body.String() != body || w.Header().Get("Content-Type") != "application/json" {
					t.Errorf("plain: %d %s, want %d %s", w.Code, w.Body, row.status, body)
				}
			}

			w := httptest.NewRecorder()
			r := httptest.NewRequest(row.method, "/engine.io/?"+row.query, http.NoBody)
			r.Header.Set("Connection", "keep-alive, Upgrade")
			r.Header.Set("Upgrade", "websocket")
			server.ServeHTTP(w, r)
			h := w.Header()
			if w.Code != 400 || w.Body.String() != html.EscapeString(row.message) || h.Get("Connection") != "close" || h.Get("Content-Type") != "text/html" {
				t.Errorf("upgrade: %d %s %v, want 400 %s", w.Code, w.Body, h, row.message)
			}
		})
	}
}

func TestServer_PlainWebSocketRequest(t *testing.T) {
	t.Parallel()
	server, _ := serve(t, nil)

	for _, origin := range []string{"", "http://a\x01b"} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, wsURL, http.NoBody)
		r.Header.Set("Origin", origin)
		server.ServeHTTP(w, r)
		if w.Code != 400 || w.Body.String() != `{"code":3,"message":"Bad request"}` {
			t.Errorf("origin %q: %d %s", origin, w.Code, w.Body)
		}
	}
}

func TestHandshake_Fields(t *testing.T) {
	t.Parallel()
	server, opened := serve(t, &transport.Options{PingInterval: 300 * time.Second, PingTimeout: 200 * time.Second, MaxPayload: 77})

	seen := map[string]bool{}
	for range 20 {
		c := transporttest.Dial(t, server, wsURL)
		h, s := c.Handshake, (<-opened).session
		if h.SID != s.ID() || seen[h.SID] || !regexp.MustCompile(`^[A-Za-z0-9_-]{20}$`).MatchString(h.SID) {
			t.Fatalf("sid %q, session's %q", h.SID, s.ID())
		}
		if h.PingInterval != 300_000 || h.PingTimeout != 200_000 || h.MaxPayload != 77 || h.Upgrades == nil || len(h.Upgrades) != 0 {
			t.Fatalf("handshake %+v", h)
		}
		if s.RemoteAddr() == "" {
			t.Fatal("no remote address")
		}
		seen[h.SID] = true
	}
	if server.Len() != 20 {
		t.Fatalf("%d sessions", server.Len())
	}
}

func TestOptions_Invalid(t *testing.T) {
	t.Parallel()

	for name, o := range map[string]transport.Options{
		"PingInterval":  {PingInterval: -1},
		"PingTimeout":   {PingTimeout: time.Microsecond},
		"MaxPayload":    {MaxPayload: -1},
		"QueueBytes":    {QueueBytes: -1},
		"QueueMessages": {QueueMessages: -1},
		"WriteTimeout":  {WriteTimeout: -1},
	} {
		if _, err := transport.NewServer(&o, nil); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUpgrade_HeadersAndSubprotocol(t *testing.T) {
	t.Parallel()
	server, _ := serve(t, nil)

	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		server.ServeHTTP(w, r)
	}))
	defer ts.Close()

	conn := dialTCP(t, ts.Listener.Addr().String(), "Sec-WebSocket-Protocol: first, second\r\n")
	if got := conn.header.Get("Access-Control-Allow-Origin"); got != "*" {
		t.Errorf("header of the middleware: %q", got)
	}
	if got := conn.header.Get("Sec-WebSocket-Protocol"); got != "first" {
		t.Errorf("subprotocol: %q", got)
	}
}

func TestWebSocket_TLS(t *testing.T) {
	t.Parallel()
	server, opened := serve(t, nil)
	ts := httptest.NewTLSServer(server)
	defer ts.Close()

	raw, err := tls.Dial("tcp", ts.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	conn := upgradeConn(t, raw, "")
	conn.readText(t) // open
	conn.writeText(t, "4over tls")
	r := <-opened
	if got := <-r.messages; got != "over tls" {
		t.Fatalf("got %q", got)
	}
	if err := r.session.Send(transport.Text([]byte("a")), transport.Text([]byte("b"))); err != nil {
		t.Fatal(err)
	}
	if got := conn.readText(t) + conn.readText(t); got != "4a4b" {
		t.Fatalf("got %q", got)
	}
}

func TestShutdown_FlushesClosesRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, opened := serve(t, nil)
		c := transporttest.Dial(t, server, wsURL)
		r := <-opened
		for range 100 {
			if err := r.session.Send(transport.Text([]byte("last words"))); err != nil {
				t.Fatal(err)
			}
		}

		if err := server.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}

		r.wantClosed(t, transport.ReasonServerShutdown)
		for range 100 {
			if got := c.ReadText(); got != "last words" {
				t.Fatalf("got %q", got)
			}
		}
		wantGone(t, c, 1005)
		w := httptest.NewRecorder()
		server.ServeHTTP(w, httptest.NewRequest(http.MethodGet, wsURL, http.NoBody))
		if w.Code != http.StatusServiceUnavailable || server.Len() != 0 {
			t.Fatalf("after shutdown: %d, %d sessions", w.Code, server.Len())
		}
		if err := server.Shutdown(t.Context()); err != nil {
			t.Fatalf("second shutdown: %v", err)
		}
	}) // the bubble fails if a goroutine is left
}

func TestShutdown_ContextEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, opened := serve(t, nil)
		c := transporttest.Dial(t, server, wsURL)
		r := <-opened
		c.Pause()
		for range 10 {
			_ = r.session.Send(transport.Text([]byte("nobody reads this")))
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		err := server.Shutdown(ctx)

		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Fatalf("after %v: %v", time.Since(start), err)
		}
		r.wantClosed(t, transport.ReasonServerShutdown)
	})
}

func TestServer_Accept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var rec *recorder
		var behave func(*transport.Session) bool
		server, err := transport.NewServer(&transport.Options{Logger: quiet()}, func(s *transport.Session, _ *http.Request) transport.Receiver {
			rec = newRecorder(s)
			if !behave(s) {
				return nil
			}
			return rec
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = server.Shutdown(t.Context()) }()

		for range 2 {
			behave = func(*transport.Session) bool { return false }
			wantNoHandshake(t, server)
			behave = func(*transport.Session) bool { panic("accept") }
			wantNoHandshake(t, server)
		}
		if server.Len() != 0 {
			t.Fatalf("%d sessions", server.Len())
		}

		behave = func(s *transport.Session) bool {
			_ = s.Send(transport.Text([]byte("early")))
			s.Close(transport.ReasonForcedClose)
			return true
		}
		c := transporttest.Dial(t, server, wsURL) // fails unless OPEN comes first
		if got := c.ReadText(); got != "early" {
			t.Fatalf("got %q", got)
		}
		wantGone(t, c, 1005)
		rec.wantClosed(t, transport.ReasonForcedClose)

		behave = func(s *transport.Session) bool { s.Abort(transport.ReasonForcedClose); return true }
		wantNoHandshake(t, server)
		rec.wantClosed(t, transport.ReasonForcedClose)
	})
}
