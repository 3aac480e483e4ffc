package harness

import (
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// A PGProxy is a TCP proxy between one node and Postgres that can be taken down.
type PGProxy struct {
	target string

	DropReplies atomic.Bool  // replies of Postgres are dropped
	RoundTrips  atomic.Int64 // requests that followed a reply

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]struct{}
}

// NewPGProxy starts a proxy, and returns it with the DSN that leads through it. It ends with the test.
func NewPGProxy(t testing.TB, dsn string) (*PGProxy, string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	p := &PGProxy{target: u.Host, conns: make(map[net.Conn]struct{})}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close(); p.SetDown(true) })
	go p.serve(listener) // ends with the listener
	u.Host = listener.Addr().String()
	return p, u.String()
}

func (p *PGProxy) serve(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go p.forward(conn) // ends with the connection
	}
}

func (p *PGProxy) forward(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	there, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer func() { _ = there.Close() }()
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.conns[conn], p.conns[there] = struct{}{}, struct{}{}
	p.mu.Unlock()
	var asked atomic.Bool
	go func() { // ends with either connection
		_, _ = io.Copy(requestWriter{p, &asked, there}, conn)
		_ = there.Close()
	}()
	_, _ = io.Copy(replyWriter{p, &asked, conn}, there)
	p.mu.Lock()
	delete(p.conns, conn)
	delete(p.conns, there)
	p.mu.Unlock()
}

// requestWriter writes to Postgres.
type requestWriter struct {
	p     *PGProxy
	asked *atomic.Bool
	conn  net.Conn
}

// Write implements io.Writer.
func (q requestWriter) Write(b []byte) (int, error) {
	if !q.asked.Swap(true) {
		q.p.RoundTrips.Add(1)
	}
	return q.conn.Write(b)
}

// replyWriter writes to the node.
type replyWriter struct {
	p     *PGProxy
	asked *atomic.Bool
	conn  net.Conn
}

// Write implements io.Writer.
func (a replyWriter) Write(b []byte) (int, error) {
	a.asked.Store(false)
	if a.p.DropReplies.Load() {
		return len(b), nil // the fault ends with SetDown, which closes the connection
	}
	return a.conn.Write(b)
}

// SetDown takes the proxy down and closes its connections, or brings it up again.
func (p *PGProxy) SetDown(closed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = closed
	if closed {
		for conn := range p.conns {
			_ = conn.Close()
		}
	}
}
