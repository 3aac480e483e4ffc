package transport_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/pgsocket/socketio/transport"
)

// wrappingListener wraps its connections, like TLS: each session then has its own
// writer goroutine.
type wrappingListener struct{ net.Listener }

func (l wrappingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return struct{ net.Conn }{conn}, err
}

// clients are sessions over TCP whose peers only count bytes.
type clients struct {
	sessions []*transport.Session
	received atomic.Int64
}

func newClients(b testing.TB, n int, wrapped bool) *clients {
	b.Helper()
	server, opened := serve(b, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	if wrapped {
		ln = wrappingListener{ln}
	}
	hs := &http.Server{Handler: server}
	go func() { _ = hs.Serve(ln) }()
	b.Cleanup(func() { _ = hs.Close() })

	c := new(clients)
	for range n {
		conn := dialTCP(b, ln.Addr().String(), "")
		conn.readText(b)
		_ = conn.SetReadDeadline(time.Time{})
		c.sessions = append(c.sessions, (<-opened).session)
		go c.drain(conn)
	}
	return c
}

func (c *clients) drain(r io.Reader) {
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		c.received.Add(int64(n))
		if err != nil {
			return
		}
	}
}

func (c *clients) await(bytes int64) {
	for c.received.Load() < bytes {
		time.Sleep(20 * time.Microsecond) // spinning would take a core from the clients
	}
}

// BenchmarkFanOut delivers one prepared message to each of 1,000 sessions and
// waits until all clients have received it.
func BenchmarkFanOut(b *testing.B) {
	for _, size := range []int{100, 1000} {
		for _, wrapped := range []bool{false, true} {
			b.Run(fmt.Sprintf("bytes=%d/wrapped=%v", size, wrapped), func(b *testing.B) {
				c := newClients(b, 1000, wrapped)
				m := transport.Text([]byte(strings.Repeat("x", size)))
				want := c.received.Load()

				b.ReportAllocs()
				for b.Loop() {
					for _, s := range c.sessions {
						_ = s.Send(m)
					}
					want += int64(len(c.sessions) * m.Len())
					c.await(want)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(c.sessions)), "ns/delivery")
			})
		}
	}
}

// BenchmarkFanOutFloor measures the write calls and the clients' reads of BenchmarkFanOut
// alone: one goroutine, no queue, no deadline.
func BenchmarkFanOutFloor(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	var c clients
	var conns []net.Conn
	for range 1000 {
		client, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		conn, err := ln.Accept()
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = conn.Close(); _ = client.Close() })
		conns = append(conns, conn)
		go c.drain(client)
	}

	m := make([]byte, 103)
	want := int64(0)
	for b.Loop() {
		for _, conn := range conns {
			_, _ = conn.Write(m)
		}
		want += int64(len(conns) * len(m))
		c.await(want)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(conns)), "ns/delivery")
}

// BenchmarkFanOutSaturated sends 100 messages to each of 1,000 sessions before it
// waits, so that many frames go out per write.
func BenchmarkFanOutSaturated(b *testing.B) {
	const burst = 100
	c := newClients(b, 1000, false)
	m := transport.Text([]byte(strings.Repeat("x", 100)))
	want := c.received.Load()

	b.ReportAllocs()
	for b.Loop() {
		for range burst {
			for _, s := range c.sessions {
				_ = s.Send(m)
			}
		}
		want += int64(burst * len(c.sessions) * m.Len())
		c.await(want)
	}
	deliveries := float64(b.N * burst * len(c.sessions))
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/deliveries, "ns/delivery")
}

// BenchmarkSaturatedOne streams to one session as fast as it drains.
func BenchmarkSaturatedOne(b *testing.B) {
	c := newClients(b, 1, false)
	m := transport.Text([]byte(strings.Repeat("x", 100)))
	want := c.received.Load()

	b.ReportAllocs()
	for b.Loop() {
		_ = c.sessions[0].Drained(context.Background())
		_ = c.sessions[0].Send(m)
	}
	want += int64(b.N * m.Len())
	c.await(want)
}

// BenchmarkReceive measures the read path, from the wire to the receiver.
func BenchmarkReceive(b *testing.B) {
	server, opened := serve(b, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	hs := &http.Server{Handler: server}
	go func() { _ = hs.Serve(ln) }()
	b.Cleanup(func() { _ = hs.Close() })
	conn := dialTCP(b, ln.Addr().String(), "")
	var got atomic.Int64
	r := <-opened
	r.answer = func([]byte, bool) error { got.Add(1); return nil }
	wire := masked(ws.OpText, true, `42["chat message",{"text":"hello, world","room":"lobby"}]`)

	b.ReportAllocs()
	for b.Loop() {
		_, _ = conn.Write(wire)
	}
	for got.Load() < int64(b.N) {
		runtime.Gosched()
	}
}
