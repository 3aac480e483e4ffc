package transport_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio/transport"
	"github.com/pgsocket/socketio/transport/transporttest"
)

// handshake asks for a polling session, from an address, with headers.
func handshake(server http.Handler, address string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, pollURL, nil)
	r.RemoteAddr = address
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	server.ServeHTTP(w, r)
	return w
}

func wantRefused(t *testing.T, w *httptest.ResponseRecorder, status int, body string) {
	t.Helper()
	if w.Code != status || w.Body.String() != body {
		t.Errorf("got %d %s, want %d %s", w.Code, w.Body, status, body)
	}
}

const tooMany, tooManyHere = `{"code":3,"message":"Too many connections"}`, `{"code":3,"message":"Too many connections from this address"}`

func TestMaxConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		server, opened := serve(t, &transport.Options{MaxConnections: 2, AllowRequest: func(r *http.Request) error {
			asked++
			if r.Header.Get("Deny") != "" {
				return fmt.Errorf("denied")
			}
			return nil
		}})
		if w := handshake(server, "1.1.1.1:1", "Deny", "yes"); w.Code != http.StatusForbidden {
			t.Fatalf("got %d", w.Code) // a refused request takes no place
		}
		ws := transporttest.Dial(t, server, wsURL)
		(<-opened).session.ID()
		if w := handshake(server, "1.1.1.1:1"); w.Code != http.StatusOK {
			t.Fatalf("got %d %s", w.Code, w.Body)
		}
		second := <-opened
		wantRefused(t, handshake(server, "2.2.2.2:1"), http.StatusServiceUnavailable, tooMany)
		if asked != 3 {
			t.Errorf("AllowRequest was called %d times", asked)
		}
		if st := server.Stats(); st.Refused != 1 {
			t.Errorf("%+v", st)
		}
		second.session.Abort(transport.ReasonForcedClose)
		ws.Close()
		synctest.Wait()
		for range 2 { // the places are free again
			if w := handshake(server, "2.2.2.2:1"); w.Code != http.StatusOK {
				t.Fatalf("got %d %s", w.Code, w.Body)
			}
			<-opened
		}
		wantRefused(t, handshake(server, "2.2.2.2:1"), http.StatusServiceUnavailable, tooMany)
	})
}

// TestMaxConnections_WebSocket checks that the request is refused before its connection is hijacked.
func TestMaxConnections_WebSocket(t *testing.T) {
	t.Parallel()
	server, _ := serve(t, &transport.Options{MaxConnections: 1})
	if w := handshake(server, "1.1.1.1:1"); w.Code != http.StatusOK {
		t.Fatal(w.Code)
	}
	r := httptest.NewRequest(http.MethodGet, wsURL, nil)
	r.Header.Set("Upgrade", "websocket")
	r.Header.Set("Connection", "Upgrade")
	w := httptest.NewRecorder()
	server.ServeHTTP(w, r)
	wantRefused(t, w, http.StatusServiceUnavailable, "Too many connections")
}

// TestMaxConnections_PanicTakesNoPlace checks that a panic of the application releases the place.
func TestMaxConnections_PanicTakesNoPlace(t *testing.T) {
	t.Parallel()
	panics := true
	server, _ := serve(t, &transport.Options{MaxConnections: 1, AllowRequest: func(*http.Request) error {
		if panics {
			panic("AllowRequest")
		}
		return nil
	}})
	func() {
		defer func() { _ = recover() }()
		handshake(server, "1.1.1.1:1")
	}()
	panics = false
	if w := handshake(server, "1.1.1.1:1"); w.Code != http.StatusOK {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestMaxConnectionsPerAddress(t *testing.T) {
	t.Parallel()
	forwarded := func(r *http.Request) string { return r.Header.Get("X-Real-Ip") }
	for name, c := range map[string]struct {
		address             func(*http.Request) string
		first, same, others []string // addresses, with headers
	}{
		"IPv4":        {first: []string{"1.2.3.4:1"}, same: []string{"1.2.3.4:99"}, others: []string{"1.2.3.5:1"}},
		"IPv4 in 6":   {first: []string{"1.2.3.4:1"}, same: []string{"[::ffff:1.2.3.4]:99"}, others: []string{"[::ffff:1.2.3.5]:1"}},
		"IPv6":        {first: []string{"[2001:db8::1]:1"}, same: []string{"[2001:db8::dead:beef:1:2]:1"}, others: []string{"[2001:db8:0:1::1]:1"}},
		"of a header": {address: forwarded, first: []string{"::1", "X-Real-Ip", "a"}, same: []string{"::1", "X-Real-Ip", "a"}, others: []string{"::1", "X-Real-Ip", "b"}},
		"not known":   {address: forwarded, first: []string{"::1", "X-Real-Ip", "a"}, others: []string{"::1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server, opened := serve(t, &transport.Options{MaxConnectionsPerAddress: 1, ClientAddress: c.address})
				ask := func(from []string) *httptest.ResponseRecorder { return handshake(server, from[0], from[1:]...) }
				if w := ask(c.first); w.Code != http.StatusOK {
					t.Fatal(w.Code)
				}
				if c.same != nil {
					wantRefused(t, ask(c.same), http.StatusTooManyRequests, tooManyHere)
				}
				if w := ask(c.others); w.Code != http.StatusOK {
					t.Errorf("another address: %d %s", w.Code, w.Body)
				}
				(<-opened).session.Abort(transport.ReasonForcedClose)
				synctest.Wait()
				if w := ask(c.first); w.Code != http.StatusOK {
					t.Errorf("after the end of the first: %d %s", w.Code, w.Body)
				}
			})
		})
	}
}

func TestMaxHeaderBytes(t *testing.T) {
	t.Parallel()
	server, _ := serve(t, nil)
	many := make([]string, 0, 1000)
	for i := range 500 {
		many = append(many, fmt.Sprintf("a%d", i), "")
	}
	for name, header := range map[string][]string{
		"one large":  {"X-Large", strings.Repeat("h", 33_000)},
		"many small": many,
	} {
		w := handshake(server, "1.1.1.1:1", header...)
		if w.Code != http.StatusRequestHeaderFieldsTooLarge || !strings.Contains(w.Body.String(), `"code":3`) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if w := handshake(server, "1.1.1.1:1", "Cookie", strings.Repeat("c", 16_000)); w.Code != http.StatusOK {
		t.Errorf("a cookie of 16 kB: %d %s", w.Code, w.Body)
	}
	for sign, want := range map[string]int{"x": http.StatusOK, "%": http.StatusRequestHeaderFieldsTooLarge} { // "%" is encoded again as %25
		w := httptest.NewRecorder()
		server.ServeHTTP(w, httptest.NewRequest(http.MethodGet, pollURL+"&q="+strings.Repeat(sign, 12_000), http.NoBody))
		if w.Code != want {
			t.Errorf("12,000 times %q in the query: %d %s", sign, w.Code, w.Body)
		}
	}
	open, _ := serve(t, &transport.Options{MaxHeaderBytes: -1})
	if w := handshake(open, "1.1.1.1:1", "X-Large", strings.Repeat("h", 900_000)); w.Code != http.StatusOK {
		t.Errorf("without a bound: %d %s", w.Code, w.Body)
	}
}

// TestOversize_CountedAndLogged checks that a POST above MaxPayload is answered with 413,
// counted and logged, and that the session continues.
func TestOversize_CountedAndLogged(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	opts := &transport.Options{MaxPayload: 1000}
	server, opened := serve(t, opts)
	logged, err := transport.NewServer(&transport.Options{
		MaxPayload: 1000, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}, func(s *transport.Session, _ *http.Request) transport.Receiver { return newRecorder(s) })
	if err != nil {
		t.Fatal(err)
	}
	p := newWeb(t, logged).open()
	if got := p.post(strings.Repeat("4", 1001)); got.status != http.StatusRequestEntityTooLarge {
		t.Fatalf("got %v", got)
	}
	if st := logged.Stats(); st.Oversize != 1 {
		t.Errorf("%+v", st)
	}
	p.want(p.post("4a"), 200, "ok")
	p.post("1")
	if err := logged.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "message above MaxPayload refused") {
		t.Errorf("log %q", log.String())
	}

	c := transporttest.Dial(t, server, wsURL)
	c.WriteText(strings.Repeat("x", 1001))
	(<-opened).wantClosed(t, transport.ReasonTransportError)
	if st := server.Stats(); st.Oversize != 1 {
		t.Errorf("WebSocket: %+v", st)
	}
}
