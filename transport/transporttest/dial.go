package transporttest

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// Dial performs the WebSocket handshake of url with h and returns the client end.
// It fails the test if h refuses. When the test ends, the connection is dropped.
func Dial(t testing.TB, h http.Handler, url string) *Client {
	t.Helper()

	client, server := pipe()
	req := httptest.NewRequest(http.MethodGet, url, http.NoBody)
	for key, value := range map[string]string{
		"Connection":            "Upgrade",
		"Upgrade":               "websocket",
		"Sec-Websocket-Key":     "dGhlIHNhbXBsZSBub25jZQ==",
		"Sec-Websocket-Version": "13",
	} {
		req.Header.Set(key, value)
	}

	go serve(h, req, server) // owner: the handler, which returns after the handshake

	in := bufio.NewReader(client)
	resp, err := http.ReadResponse(in, req)
	if err != nil {
		t.Fatalf("dial %s: %v", url, err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(resp.Body)
		t.Fatalf("dial %s: %s: %s", url, resp.Status, body)
	}

	c := newClient(t, client, in)
	t.Cleanup(c.Cut)
	c.hello(t)
	return c
}

// pipe returns net.Pipe with ends that reset their deadlines when they are closed: otherwise the timer of a deadline keeps
// the pipe in memory until it expires, as it cannot be reset after either end was closed.
func pipe() (client, server net.Conn) {
	client, server = net.Pipe()
	return end{client, server}, end{server, client}
}

type end struct {
	net.Conn
	other net.Conn
}

func (e end) Close() error {
	_ = e.SetDeadline(time.Time{}) // fails if either is closed
	_ = e.other.SetDeadline(time.Time{})
	return e.Conn.Close()
}

// serve answers one request on conn with h.
func serve(h http.Handler, req *http.Request, conn net.Conn) {
	w := &response{conn: conn, header: http.Header{}}
	h.ServeHTTP(w, req)
	if w.hijacked {
		return
	}

	w.header.Set("Connection", "close")
	resp := http.Response{
		StatusCode: max(w.status, http.StatusOK), ProtoMajor: 1, ProtoMinor: 1, Header: w.header,
		ContentLength: int64(w.body.Len()), Body: io.NopCloser(strings.NewReader(w.body.String())),
	}
	_ = resp.Write(conn) // the client may be gone
	_ = conn.Close()
}

// response is a minimal ResponseWriter for a handshake.
type response struct {
	conn     net.Conn
	header   http.Header
	status   int
	body     strings.Builder
	hijacked bool
}

func (w *response) Header() http.Header { return w.header }

func (w *response) WriteHeader(status int) { w.status = status }

func (w *response) Write(p []byte) (int, error) { return w.body.Write(p) }

// Hijack implements http.Hijacker.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.hijacked = true
	return w.conn, bufio.NewReadWriter(bufio.NewReader(w.conn), bufio.NewWriter(w.conn)), nil
}
