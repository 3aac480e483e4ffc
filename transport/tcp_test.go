package transport_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// rawConn is a WebSocket client that can violate the protocol.
type rawConn struct {
	net.Conn
	in     *bufio.Reader
	header http.Header
}

const upgradeRequest = "GET " + wsURL + " HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

func dialTCP(t testing.TB, addr, headers string) *rawConn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return upgradeConn(t, conn, headers)
}

func upgradeConn(t testing.TB, conn net.Conn, headers string) *rawConn {
	t.Helper()
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, upgradeRequest+headers+"\r\n"); err != nil {
		t.Fatal(err)
	}
	c := &rawConn{Conn: conn}
	c.readAnswer(t)
	return c
}

func (c *rawConn) readAnswer(t testing.TB) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	c.in = bufio.NewReader(c.Conn)
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: %v, %v", resp, err)
	}
	c.header = resp.Header
}

func (c *rawConn) readFrame() (ws.Header, []byte, error) {
	h, err := ws.ReadHeader(c.in)
	if err != nil {
		return h, nil, err
	}
	data := make([]byte, h.Length)
	_, err = io.ReadFull(c.in, data)
	return h, data, err
}

func (c *rawConn) readText(t testing.TB) string {
	t.Helper()
	h, data, err := c.readFrame()
	if err != nil || h.OpCode != ws.OpText {
		t.Fatalf("got %v %q, %v", h, data, err)
	}
	return string(data)
}

func (c *rawConn) writeText(t testing.TB, text string) {
	t.Helper()
	if _, err := c.Write(masked(ws.OpText, true, text)); err != nil {
		t.Fatal(err)
	}
}

// masked returns a client frame.
func masked(op ws.OpCode, fin bool, payload string) []byte {
	return ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(op, fin, []byte(payload))))
}

// wantNoHandshake checks that the connection is dropped after the upgrade.
func wantNoHandshake(t testing.TB, h http.Handler) {
	t.Helper()
	clientEnd, serverEnd := net.Pipe()
	defer func() { _ = clientEnd.Close() }()
	r := httptest.NewRequest(http.MethodGet, wsURL, http.NoBody)
	for k, v := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket",
		"Sec-Websocket-Version": "13", "Sec-Websocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
	} {
		r.Header.Set(k, v)
	}

	go h.ServeHTTP(&hijackable{httptest.NewRecorder(), serverEnd}, r)
	c := &rawConn{Conn: clientEnd}
	c.readAnswer(t)
	if _, data, err := c.readFrame(); err == nil {
		t.Fatalf("got %q", data)
	}
}

type hijackable struct {
	*httptest.ResponseRecorder
	conn net.Conn
}

func (h *hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

// TestConnect_Burst connects in bursts over TCP and sends the first message before the
// handshake is received: every receiver must receive it.
func TestConnect_Burst(t *testing.T) {
	t.Parallel()
	server, opened := serve(t, nil)
	ts := httptest.NewServer(server)
	defer ts.Close()

	const bursts, size = 20, 100
	for b := range bursts {
		errs := make(chan error, size)
		for i := range size {
			go func() { errs <- hastyClient(ts.Listener.Addr().String(), fmt.Sprintf("4%d/%d", b, i), i%2 == 0) }()
		}
		for range size {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
		for range size {
			r := <-opened
			select {
			case <-r.messages:
			case <-time.After(time.Minute):
				t.Fatal("a first message was lost")
			}
		}
	}
}

// hastyClient connects, sends, waits for OPEN and closes. An eager one sends before the
// answer to the upgrade, so that net/http reads its message.
func hastyClient(addr, text string, eager bool) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()

	request, first := []byte(upgradeRequest+"\r\n"), masked(ws.OpText, true, text)
	if eager {
		request = append(request, first...)
	}
	if _, err := conn.Write(request); err != nil {
		return err
	}
	in := bufio.NewReader(conn)
	if _, err := http.ReadResponse(in, nil); err != nil {
		return err
	}
	if !eager {
		if _, err := conn.Write(first); err != nil {
			return err
		}
	}

	c := &rawConn{Conn: conn, in: in}
	if _, data, err := c.readFrame(); err != nil || data[0] != '0' {
		return fmt.Errorf("open: %q, %w", data, err)
	}
	// The close frame makes the server read the message before the connection ends.
	if _, err := conn.Write(masked(ws.OpClose, true, "")); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, in)
	return nil
}

// dialEager sends early together with the request.
func dialEager(t testing.TB, addr, early string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, upgradeRequest+"\r\n"+early); err != nil {
		t.Fatal(err)
	}
	return conn
}
