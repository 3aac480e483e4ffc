package transport

import (
	"net"
	"testing"
	"time"
)

// TestWriteSome_DeadlineIsReset checks that the deadline of a blocking write does not affect
// the next nonblocking write.
func TestWriteSome_DeadlineIsReset(t *testing.T) {
	t.Parallel()
	c := plainWebSocket(t)
	if err := c.send(nil, []byte("patient")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(c.timeout + c.timeout/10)
	if rest, err := c.writeSome([]*Message{Text([]byte("soon"))}); err != nil || len(rest) > 0 {
		t.Errorf("%q is left, %v", rest, err)
	}
}

// TestWriteSome_LargeMessage_IsNotCopied checks that the unwritten rest of a large message is not copied for each
// connection.
func TestWriteSome_LargeMessage_IsNotCopied(t *testing.T) {
	t.Parallel()
	c := plainWebSocket(t)
	m := Text(make([]byte, 64<<20)) // more than any buffer of a socket
	rest, err := c.writeSome([]*Message{m})
	if err != nil || len(rest) == 0 || &rest[len(rest)-1] != &m.frame[len(m.frame)-1] {
		t.Errorf("%d bytes are left, which are a copy, or %v", len(rest), err)
	}
}

// plainWebSocket returns a webSocket whose peer does not read.
func plainWebSocket(t *testing.T) *webSocket {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	peer, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = peer.Close() })
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := &webSocket{conn: conn, raw: rawConn(conn), timeout: time.Second, pools: new(pools)}
	if c.raw == nil {
		t.Skip("this system has no such writes")
	}
	return c
}
