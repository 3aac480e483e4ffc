package transport_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/pgsocket/socketio/transport"
	"github.com/pgsocket/socketio/transport/frame"
)

const pollURL = "http://server/engine.io/?EIO=4&transport=polling"

// pipes is a listener for connections in memory, for an HTTP server in a synctest
// bubble.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// web is an HTTP server in memory and a client of it.
type web struct {
	t      testing.TB
	client *http.Client
	pipes  *pipes
}

func newWeb(t testing.TB, h http.Handler) *web {
	t.Helper()
	return newWebOf(t, &http.Server{Handler: h}) //nolint:gosec // only the test connects
}

func newWebOf(t testing.TB, server *http.Server) *web {
	t.Helper()
	p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	go func() { _ = server.Serve(p) }()
	rt := &http.Transport{DialContext: p.dial, DisableCompression: true}
	t.Cleanup(func() {
		rt.CloseIdleConnections()
		_ = server.Close()
	})
	return &web{t: t, client: &http.Client{Transport: rt}, pipes: p}
}

// reply is an HTTP answer that was read.
type reply struct {
	status int
	header http.Header
	body   string
	err    error
}

func (r reply) String() string { return fmt.Sprintf("%d %q %v", r.status, r.body, r.err) }

func (w *web) do(ctx context.Context, method, url, body string, header ...string) reply {
	var in io.Reader = http.NoBody
	if body != "" {
		in = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, in)
	if err != nil {
		return reply{err: err}
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return reply{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(got), err}
}

func (w *web) want(got reply, status int, body string) {
	w.t.Helper()
	if got.err != nil || got.status != status || got.body != body {
		w.t.Fatalf("got %v, want %d %q", got, status, body)
	}
}

// poller is the client end of a polling session.
type poller struct {
	*web
	url string
	hs  frame.Handshake
}

// poll opens a polling session.
func poll(t testing.TB, opts *transport.Options) (*poller, *recorder) {
	t.Helper()
	server, opened := serve(t, opts)
	return newWeb(t, server).open(), <-opened
}

func (w *web) open() *poller {
	w.t.Helper()
	got := w.do(context.Background(), http.MethodGet, pollURL, "")
	text, _, _ := bytes.Cut([]byte(got.body), []byte{0x1e})
	hs, err := frame.ParseOpen(text)
	if err != nil {
		w.t.Fatalf("handshake: %v: %v", got, err)
	}
	return &poller{web: w, url: pollURL + "&sid=" + hs.SID, hs: hs}
}

func (p *poller) get(header ...string) reply {
	return p.do(context.Background(), http.MethodGet, p.url, "", header...)
}

func (p *poller) post(body string, header ...string) reply {
	return p.do(context.Background(), http.MethodPost, p.url, body, header...)
}

// getting polls in the background.
func (p *poller) getting(ctx context.Context) <-chan reply {
	got := make(chan reply, 1)
	go func() { got <- p.do(ctx, http.MethodGet, p.url, "") }()
	return got
}

// raw sends the head of a request of the session on a new connection.
func (p *poller) raw(method, header string) *socket {
	p.t.Helper()
	conn, err := p.pipes.dial(context.Background(), "", "")
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = conn.Close() })
	path := strings.TrimPrefix(p.url, "http://server")
	_, _ = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: server\r\n%s\r\n", method, path, header)
	return &socket{p.t, conn, bufio.NewReader(conn)}
}

// answer reads the answer to a raw request.
func (s *socket) answer() reply {
	resp, err := http.ReadResponse(s.in, nil)
	if err != nil {
		return reply{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(got), err}
}
