package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/pgsocket/socketio"
)

// started returns a server that is shut down when the test ends.
func started(t *testing.T) *socketio.Server {
	t.Helper()
	server := newServer()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	return server
}

// A site is a handler behind a port, and a client of it.
type site struct {
	url    string
	origin string // of the page that the client runs in; empty: none
}

func newSite(t *testing.T, h http.Handler) *site {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return &site{url: server.URL}
}

// visit is what a client does at a server below path: it asks for the page, talks
// over a WebSocket, and as another client over polls, which it upgrades. Both stay
// connected.
func (s *site) visit(t *testing.T, path string) {
	t.Helper()
	if body, _ := s.do(t, http.MethodGet, "/hello", ""); body != greeting {
		t.Errorf("the ordinary route returned %q", body)
	}
	s.overWebSocket(t, path)
	s.overPolling(t, path)
}

func (s *site) overWebSocket(t *testing.T, path string) {
	t.Helper()
	c, _ := s.dial(t, path+"?EIO=4&transport=websocket")
	c.want(t, "0{")
	c.send(t, "40")
	c.want(t, `40{"sid":`)
	c.send(t, `421["echo","over WebSocket"]`)
	c.want(t, `431["over WebSocket"]`)
}

func (s *site) overPolling(t *testing.T, path string) {
	t.Helper()
	path += "?EIO=4&transport="
	sid, _ := s.handshake(t, path+"polling")
	say := func(packet string) {
		t.Helper()
		if got, _ := s.do(t, http.MethodPost, path+"polling"+sid, packet); got != "ok" {
			t.Fatalf("POST %q: %q", packet, got)
		}
	}
	hear := func(want string) {
		t.Helper()
		if got, _ := s.do(t, http.MethodGet, path+"polling"+sid, ""); !strings.HasPrefix(got, want) {
			t.Fatalf("poll: got %q, want %q…", got, want)
		}
	}

	say("40")
	hear(`40{"sid":`)
	say(`421["echo","over polling"]`)
	hear(`431["over polling"]`)

	c, _ := s.dial(t, path+"websocket"+sid)
	c.send(t, "2probe")
	c.want(t, "3probe")
	c.send(t, "5")
	c.send(t, `422["echo","upgraded"]`)
	c.want(t, `432["upgraded"]`)
}

// handshake begins to poll. It returns the parameters of further requests.
func (s *site) handshake(t *testing.T, path string) (sid string, header http.Header) {
	t.Helper()
	open, header := s.do(t, http.MethodGet, path, "")
	var handshake struct{ SID string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(open, "0")), &handshake); err != nil || handshake.SID == "" {
		t.Fatalf("handshake %q: %v", open, err)
	}
	return "&sid=" + handshake.SID, header
}

// do sends a request that must succeed.
func (s *site) do(t *testing.T, method, path, body string) (string, http.Header) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if s.origin != "" {
		req.Header.Set("Origin", s.origin)
		req.Header.Set("Access-Control-Request-Method", http.MethodPost)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= http.StatusBadRequest {
		t.Fatalf("%s %s: %s %q %v", method, path, resp.Status, data, err)
	}
	return string(data), resp.Header
}

// A socket is the client end of a WebSocket.
type socket struct {
	io.Reader
	net.Conn
}

func (c *socket) Read(p []byte) (int, error) { return c.Reader.Read(p) }

// dial opens a WebSocket, and returns the response headers too.
func (s *site) dial(t *testing.T, path string) (*socket, http.Header) {
	t.Helper()
	header := make(http.Header)
	dialer := ws.Dialer{
		Timeout:  time.Minute,
		OnHeader: func(key, value []byte) error { header.Add(string(key), string(value)); return nil },
	}
	if s.origin != "" {
		dialer.Header = ws.HandshakeHeaderHTTP{"Origin": {s.origin}}
	}
	conn, early, _, err := dialer.Dial(t.Context(), "ws"+strings.TrimPrefix(s.url, "http")+path)
	if err != nil {
		t.Fatalf("dial %s: %v", path, err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if early == nil {
		early = bufio.NewReader(conn)
	}
	return &socket{early, conn}, header
}

func (c *socket) send(t *testing.T, packet string) {
	t.Helper()
	if err := wsutil.WriteClientText(c, []byte(packet)); err != nil {
		t.Fatalf("send %s: %v", packet, err)
	}
}

func (c *socket) want(t *testing.T, prefix string) {
	t.Helper()
	got, err := wsutil.ReadServerText(c)
	if err != nil || !strings.HasPrefix(string(got), prefix) {
		t.Fatalf("got %q, %v, want %q…", got, err, prefix)
	}
}
