package socketio_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/pgsocket/socketio"
)

// An ear is the server's end of a connection without a network: its client sends all its
// packets at once, and counts what it receives.
type ear struct {
	net.Conn // for methods that are not called

	say    chan []byte
	heard  *atomic.Int64 // received writes with an event
	unread []byte

	mu   sync.Mutex
	late chan struct{} // closed when the read deadline is over
	over bool
}

func (e *ear) Read(p []byte) (int, error) {
	if len(e.unread) == 0 {
		var more bool
		select {
		case e.unread, more = <-e.say:
		case <-e.interrupted():
			return 0, os.ErrDeadlineExceeded
		}
		if !more {
			return 0, net.ErrClosed
		}
	}
	n := copy(p, e.unread)
	e.unread = e.unread[n:]
	return n, nil
}

func (e *ear) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(`"said"`)) {
		e.heard.Add(1)
	}
	return len(p), nil
}

func (*ear) Close() error                     { return nil }
func (*ear) SetDeadline(time.Time) error      { return nil }
func (*ear) SetWriteDeadline(time.Time) error { return nil }
func (*ear) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*ear) RemoteAddr() net.Addr             { return &net.TCPAddr{} }

// SetReadDeadline supports deadlines in the past, with which net/http and package
// transport interrupt a reader, and ignores all others.
func (e *ear) SetReadDeadline(t time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	over := !t.IsZero() && time.Until(t) <= 0
	switch {
	case over && !e.over:
		close(e.late)
	case !over && (e.over || e.late == nil):
		e.late = make(chan struct{})
	}
	e.over = over
	return nil
}

func (e *ear) interrupted() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.late
}

// An audience is the clients of a benchmark.
type audience struct {
	io    *socketio.Server
	ears  []*ear
	heard atomic.Int64
}

// A doorway is a listener for ears.
type doorway chan net.Conn

func (d doorway) Accept() (net.Conn, error) {
	conn, ok := <-d
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (doorway) Close() error   { return nil }
func (doorway) Addr() net.Addr { return &net.TCPAddr{} }

// membership connects n clients; onConnect runs for each, with its number.
func membership(b *testing.B, n int, onConnect func(i int, s *socketio.Socket)) *audience {
	b.Helper()
	a := &audience{io: socketio.NewServer(&socketio.Options{Logger: slog.New(slog.DiscardHandler), PingInterval: time.Hour, DrainRate: -1, EventsPerSecond: -1})}
	connected := make(chan struct{}, n)
	var number atomic.Int64
	a.io.OnConnect(func(_ context.Context, s *socketio.Socket) error {
		onConnect(int(number.Add(1)-1), s)
		connected <- struct{}{}
		return nil
	})
	door := make(doorway)
	web := &http.Server{Handler: a.io}
	go func() { _ = web.Serve(door) }()
	hello := bytes.NewBufferString("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	hello.Write(fromClient("40"))
	for range n {
		e := &ear{say: make(chan []byte, 1), heard: &a.heard}
		_ = e.SetReadDeadline(time.Time{})
		e.say <- hello.Bytes()
		a.ears = append(a.ears, e)
		door <- e
		<-connected
	}
	b.Cleanup(func() {
		for _, e := range a.ears {
			close(e.say)
		}
		if err := a.io.Shutdown(context.Background()); err != nil {
			b.Error(err)
		}
		close(door)
	})
	return a
}

func fromClient(text string) []byte {
	return ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte(text))))
}

// await waits until that many writes have been received.
func (a *audience) await(n int64) {
	for a.heard.Load() < n {
		runtime.Gosched()
	}
}

// BenchmarkEmit emits one event after the other to some of 1,000 clients, and waits
// until they have it. It encodes each once, and no delivery allocates.
func BenchmarkEmit(b *testing.B) {
	const event = socketio.Event[string]("said")
	for _, members := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprintf("to=%d", members), func(b *testing.B) {
			a := membership(b, 1000, func(i int, s *socketio.Socket) {
				if i < members {
					if err := s.Join(b.Context(), "room"); err != nil {
						b.Error(err)
					}
				}
			})
			want := int64(0)
			b.ReportAllocs()
			for b.Loop() {
				if err := event.Emit(b.Context(), a.io.To("room"), "hello, world"); err != nil {
					b.Fatal(err)
				}
				want += int64(members)
				a.await(want)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*members), "ns/delivery")
		})
	}
}

// BenchmarkHandle measures the opposite direction: from a client to the handler.
func BenchmarkHandle(b *testing.B) {
	a := membership(b, 1, func(int, *socketio.Socket) {})
	var handled atomic.Int64
	socketio.Event[string]("said").On(a.io, func(context.Context, *socketio.Socket, string) error {
		handled.Add(1)
		return nil
	})
	event := fromClient(`42["said","hello, world"]`)
	b.ReportAllocs()
	n := int64(0)
	for b.Loop() {
		a.ears[0].say <- event
		if n++; n%64 == 0 { // the inbox is bounded
			for handled.Load() < n {
				runtime.Gosched()
			}
		}
	}
}

// BenchmarkJoin joins and leaves a room, without recovery.
func BenchmarkJoin(b *testing.B) {
	var socket *socketio.Socket
	membership(b, 1, func(_ int, s *socketio.Socket) { socket = s })
	b.ReportAllocs()
	for b.Loop() {
		if err := socket.Join(b.Context(), "room"); err != nil {
			b.Fatal(err)
		}
		if err := socket.Leave(b.Context(), "room"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTracer compares an emit to nobody without a Tracer, and with one that does nothing.
func BenchmarkTracer(b *testing.B) {
	for name, tracer := range map[string]socketio.Tracer{"none": nil, "idle": trickyTracer{start: idle, end: idle}} {
		b.Run(name, func(b *testing.B) {
			io := socketio.NewServer(&socketio.Options{Logger: slog.New(slog.DiscardHandler), Tracer: tracer})
			defer func() { _ = io.Shutdown(context.Background()) }()
			b.ReportAllocs()
			for b.Loop() {
				if err := said.Emit(b.Context(), io, "x"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
