package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"
)

// A memoryListener is a listener with connections in memory: without system calls, ports and files, so that only the
// server is measured, and memory is the only limit.
type memoryListener struct {
	arrivals chan net.Conn
	closed   chan struct{}
	once     sync.Once
	meter    *meter
}

func newMemoryListener() *memoryListener {
	return &memoryListener{arrivals: make(chan net.Conn), closed: make(chan struct{}), meter: newMeter()}
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.arrivals:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memoryListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (*memoryListener) Addr() net.Addr { return inMemory{} }

type inMemory struct{}

func (inMemory) Network() string { return "memory" }
func (inMemory) String() string  { return "memory" }

// A memoryClient is a client in memory. It sends its script, counts what it receives, and remembers its session.
type memoryClient struct {
	meter *meter

	mu      sync.Mutex
	changed *sync.Cond
	script  []byte        // that it has not sent yet
	late    bool          // the read deadline has passed
	gone    bool          //
	in      chan struct{} // closed by the answer to CONNECT
	pid     string        // from that answer; "" before
}

// script returns what a client sends with one CONNECT: "40", a namespace and a payload.
func script(connect string) []byte {
	var b bytes.Buffer
	b.WriteString("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: node\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	_ = ws.WriteFrame(&b, ws.MaskFrame(ws.NewTextFrame([]byte(connect)))) // a buffer does not fail
	return b.Bytes()
}

// connect connects clients, atOnce at a time, with the scripts that a function returns, and waits until they are
// connected.
func (l *memoryListener) connect(ctx context.Context, n, atOnce int, script func(i int) []byte) ([]*memoryClient, error) {
	clients := make([]*memoryClient, n)
	return clients, many(n, atOnce, func(i int) error {
		g := &memoryClient{meter: l.meter, script: script(i), in: make(chan struct{})}
		g.changed = sync.NewCond(&g.mu)
		clients[i] = g
		select {
		case l.arrivals <- g:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		select {
		case <-g.in:
			return nil
		case <-time.After(time.Minute):
			return fmt.Errorf("client %d was not let in", i)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
}

func (g *memoryClient) Read(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.script) == 0 && !g.late && !g.gone {
		g.changed.Wait()
	}
	switch {
	case g.gone:
		return 0, net.ErrClosed
	case g.late:
		return 0, os.ErrDeadlineExceeded
	}
	n := copy(p, g.script)
	g.script = g.script[n:]
	return n, nil
}

func (g *memoryClient) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone {
		return 0, net.ErrClosed
	}
	if g.pid == "" {
		g.onText(string(p))
	}
	g.meter.add(len(p))
	return len(p), nil
}

// onText looks for the answer to CONNECT.
func (g *memoryClient) onText(text string) {
	if _, rest, ok := strings.Cut(text, `"pid":"`); ok {
		pid, _, _ := strings.Cut(rest, `"`)
		g.pid = strings.Clone(pid)
		close(g.in)
	}
}

func (g *memoryClient) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gone = true
	g.changed.Broadcast()
	return nil
}

func (g *memoryClient) SetReadDeadline(t time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.late = !t.IsZero() && time.Until(t) <= 0 // a later deadline does not pass during a measurement
	g.changed.Broadcast()
	return nil
}

func (*memoryClient) SetWriteDeadline(time.Time) error { return nil } // a write does not block
func (g *memoryClient) SetDeadline(t time.Time) error  { return g.SetReadDeadline(t) }
func (*memoryClient) LocalAddr() net.Addr              { return inMemory{} }
func (*memoryClient) RemoteAddr() net.Addr             { return inMemory{} }

// closeAll closes the connections.
func closeAll(clients []*memoryClient) {
	for _, g := range clients {
		if g != nil {
			_ = g.Close()
		}
	}
}
