package transport_test

import (
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/pgsocket/socketio/transport"
)

// narrowListener sets small buffers on the server's connections, so that writes to a peer
// that does not read soon block.
type narrowListener struct{ *net.TCPListener }

func (l narrowListener) Accept() (net.Conn, error) {
	conn, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	return conn, conn.SetWriteBuffer(64 << 10)
}

// TestWriterPool_SlowReader_OthersNotDelayed checks that a slow peer does not block the
// workers, and receives all messages later, complete and in order.
func TestWriterPool_SlowReader_OthersNotDelayed(t *testing.T) {
	t.Parallel()
	const others, count = 20, 40
	stuck := runtime.GOMAXPROCS(0) + 1
	server, opened := serve(t, &transport.Options{WriteTimeout: time.Minute, QueueBytes: 64 << 20})
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	hs := &http.Server{Handler: server}
	go func() { _ = hs.Serve(narrowListener{ln}) }()
	t.Cleanup(func() { _ = hs.Close() })

	var conns []*rawConn
	var sessions []*transport.Session
	for range stuck + others {
		conn := dialTCP(t, ln.Addr().String(), "")
		conn.readText(t)
		conns, sessions = append(conns, conn), append(sessions, (<-opened).session)
	}
	said := func(i int) string { return fmt.Sprintf("%d %s", i, strings.Repeat("x", 200_000)) }
	for _, s := range sessions[:stuck] {
		for i := range count {
			if err := s.Send(transport.Text([]byte(said(i)))); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, s := range sessions[stuck:] {
		if err := s.Send(transport.Text([]byte("hello"))); err != nil {
			t.Fatal(err)
		}
		if got := conns[stuck+i].readText(t); got != "4hello" {
			t.Errorf("got %q", got)
		}
	}
	for i := range count {
		if _, got, err := conns[0].readFrame(); err != nil || string(got) != "4"+said(i) {
			t.Fatalf("message %d is wrong or incomplete: %.20q, %v", i, got, err)
		}
	}
}
