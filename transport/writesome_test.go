package transport

import (
	"net"
	"testing"
	"time"
)

// TestATimeLimitEndsWithItsWrite: a write that waits has one, and the next, which
// does not wait, must not find it.
func TestATimeLimitEndsWithItsWrite(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	peer, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = peer.Close() }()
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()

	c := &webSocket{conn: conn, raw: rawConn(conn), timeout: time.Second, pools: new(pools)}
	if c.raw == nil {
		t.Skip("this system has no such writes")
	}
	if err := c.send(nil, []byte("patient")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(c.timeout + c.timeout/10)
	if rest, err := c.writeSome([]*Message{Text([]byte("soon"))}); err != nil || len(rest) > 0 {
		t.Errorf("%q is left, %v", rest, err)
	}
}
