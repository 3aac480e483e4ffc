package integration_test

import (
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// A pgProxy is one node's road to Postgres, which can be closed.
type pgProxy struct {
	to string

	mute  atomic.Bool  // what Postgres answers gets lost
	trips atomic.Int64 // round trips: how often it was asked after it had answered

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]struct{}
}

// newProxy returns the road and the address that leads over it. It ends with the test.
func newProxy(t testing.TB, dsn string) (*pgProxy, string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	p := &pgProxy{to: u.Host, conns: make(map[net.Conn]struct{})}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close(); p.shut(true) })
	go p.serve(listener) // ends with the listener
	u.Host = listener.Addr().String()
	return p, u.String()
}

func (p *pgProxy) serve(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go p.forward(conn) // ends with the connection
	}
}

func (p *pgProxy) forward(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	there, err := net.Dial("tcp", p.to)
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
		_, _ = io.Copy(questions{p, &asked, there}, conn)
		_ = there.Close()
	}()
	_, _ = io.Copy(answers{p, &asked, conn}, there)
	p.mu.Lock()
	delete(p.conns, conn)
	delete(p.conns, there)
	p.mu.Unlock()
}

// questions is the way to Postgres.
type questions struct {
	p     *pgProxy
	asked *atomic.Bool
	conn  net.Conn
}

// Write implements io.Writer.
func (q questions) Write(b []byte) (int, error) {
	if !q.asked.Swap(true) {
		q.p.trips.Add(1)
	}
	return q.conn.Write(b)
}

// answers is the way back.
type answers struct {
	p     *pgProxy
	asked *atomic.Bool
	conn  net.Conn
}

// Write implements io.Writer.
func (a answers) Write(b []byte) (int, error) {
	a.asked.Store(false)
	if a.p.mute.Load() {
		return len(b), nil // whoever waits for the rest of it is cut off in the end
	}
	return a.conn.Write(b)
}

// shut closes the road, with all that is on it, or opens it again.
func (p *pgProxy) shut(closed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = closed
	if closed {
		for conn := range p.conns {
			_ = conn.Close()
		}
	}
}
