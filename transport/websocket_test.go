package transport_test

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/pgsocket/socketio/transport"
)

// TestWebSocket_CloseReasons checks reason and close code for valid and invalid actions of a
// client on a WebSocket.
func TestWebSocket_CloseReasons(t *testing.T) {
	t.Parallel()

	unmasked := func(op ws.OpCode, payload string) []byte {
		return ws.MustCompileFrame(ws.NewFrame(op, true, []byte(payload)))
	}
	rsv := masked(ws.OpText, true, "4x")
	rsv[0] |= 0x40
	msb := append([]byte{0x82, 0xff, 0x80}, make([]byte, 11)...)
	concat := func(frames ...[]byte) (all []byte) {
		for _, f := range frames {
			all = append(all, f...)
		}
		return all
	}
	const limit = 2000

	for name, row := range map[string]struct {
		wire   []byte
		reason transport.Reason
		code   int
	}{
		"close frame":             {masked(ws.OpClose, true, ""), transport.ReasonTransportClose, 1005},
		"close frame 1000":        {masked(ws.OpClose, true, "\x03\xe8bye"), transport.ReasonTransportClose, 1000},
		"close frame 4001":        {masked(ws.OpClose, true, "\x0f\xa1"), transport.ReasonTransportClose, 4001},
		"close frame of one byte": {masked(ws.OpClose, true, "\x03"), transport.ReasonTransportError, 1002},
		"close frame code 1005":   {masked(ws.OpClose, true, "\x03\xed"), transport.ReasonTransportError, 1002},
		"close frame, bad text":   {masked(ws.OpClose, true, "\x03\xe8\xff"), transport.ReasonTransportError, 1007},

		"engine close": {masked(ws.OpText, true, "1"), transport.ReasonTransportClose, 1005},
		"engine ping":  {masked(ws.OpText, true, "2"), transport.ReasonTransportError, 1005},
		"engine probe": {masked(ws.OpText, true, "2probe"), transport.ReasonTransportError, 1005},
		"empty text":   {masked(ws.OpText, true, ""), transport.ReasonParseError, 1005},
		"unknown type": {masked(ws.OpText, true, "7x"), transport.ReasonParseError, 1005},
		"not a digit":  {masked(ws.OpText, true, "abc"), transport.ReasonParseError, 1005},

		"too big":               {masked(ws.OpBinary, true, strings.Repeat("x", limit+1)), transport.ReasonTransportError, 1009},
		"too big, announced":    {[]byte{0x82, 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, transport.ReasonTransportError, 1009},
		"too big, in fragments": {concat(masked(ws.OpBinary, false, strings.Repeat("x", limit)), masked(ws.OpContinuation, true, "y")), transport.ReasonTransportError, 1009},

		"unmasked":              {unmasked(ws.OpText, "4x"), transport.ReasonTransportError, 1002},
		"unmasked ping":         {unmasked(ws.OpPing, ""), transport.ReasonTransportError, 1002},
		"reserved bit":          {rsv, transport.ReasonTransportError, 1002},
		"reserved opcode":       {masked(0x3, true, "x"), transport.ReasonTransportError, 1002},
		"reserved control":      {masked(0xb, true, ""), transport.ReasonTransportError, 1002},
		"long control":          {masked(ws.OpPing, true, strings.Repeat("x", 126)), transport.ReasonTransportError, 1002},
		"fragmented control":    {masked(ws.OpPing, false, ""), transport.ReasonTransportError, 1002},
		"stray continuation":    {masked(ws.OpContinuation, true, "x"), transport.ReasonTransportError, 1002},
		"message in a message":  {concat(masked(ws.OpText, false, "4x"), masked(ws.OpText, true, "4y")), transport.ReasonTransportError, 1002},
		"length over 63 bits":   {msb, transport.ReasonTransportError, 1002},
		"invalid UTF-8":         {masked(ws.OpText, true, "4\xc3\x28"), transport.ReasonTransportError, 1007},
		"UTF-8 cut by fragment": {concat(masked(ws.OpText, false, "4\xc3"), masked(ws.OpContinuation, true, "\x28")), transport.ReasonTransportError, 1007},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, r := join(t, &transport.Options{MaxPayload: limit})
				c.WriteRaw(row.wire)
				r.wantClosed(t, row.reason)
				wantGone(t, c, row.code)
				if r.cause == nil {
					t.Error("no cause")
				}
			})
		})
	}
}

func TestWebSocket_ConnectionCut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, r := join(t, nil)
		c.WriteRaw(masked(ws.OpText, true, "4half a frame")[:9])
		c.Cut()
		r.wantClosed(t, transport.ReasonTransportClose)
	})
}

func TestWebSocket_FragmentedMessages(t *testing.T) {
	t.Parallel()

	long := strings.Repeat("größer ", 9000) // 72 KB, with runes across every boundary
	for name, row := range map[string]struct {
		frames [][]byte
		want   []string
	}{
		"text":             {[][]byte{masked(ws.OpText, true, "4hello")}, []string{"hello"}},
		"empty message":    {[][]byte{masked(ws.OpText, true, "4")}, []string{""}},
		"binary":           {[][]byte{masked(ws.OpBinary, true, "\x00\x01\xff")}, []string{"b:\x00\x01\xff"}},
		"empty binary":     {[][]byte{masked(ws.OpBinary, true, "")}, []string{"b:"}},
		"as long as fits":  {[][]byte{masked(ws.OpText, true, "4"+strings.Repeat("x", 511))}, []string{strings.Repeat("x", 511)}},
		"one byte longer":  {[][]byte{masked(ws.OpText, true, "4"+strings.Repeat("x", 512))}, []string{strings.Repeat("x", 512)}},
		"long":             {[][]byte{masked(ws.OpText, true, "4"+long), masked(ws.OpText, true, "4after")}, []string{long, "after"}},
		"ignored packets":  {[][]byte{masked(ws.OpText, true, "0"), masked(ws.OpText, true, "5"), masked(ws.OpText, true, "6"), masked(ws.OpText, true, "4x")}, []string{"x"}},
		"unsolicited pong": {[][]byte{masked(ws.OpPong, true, "x"), masked(ws.OpText, true, "3"), masked(ws.OpText, true, "4x")}, []string{"x"}},
		"fragments with control frames between": {[][]byte{
			masked(ws.OpText, false, ""), masked(ws.OpPing, true, "p1"), masked(ws.OpContinuation, false, "4f"),
			masked(ws.OpPong, true, ""), masked(ws.OpContinuation, false, "\xc3"), masked(ws.OpContinuation, false, ""),
			masked(ws.OpPing, true, "p2"), masked(ws.OpContinuation, true, "\xbcr"), masked(ws.OpText, true, "4next"),
		}, []string{"für", "next"}},
		"long in fragments": {[][]byte{
			masked(ws.OpBinary, false, long[:5000]), masked(ws.OpContinuation, false, long[5000:5003]),
			masked(ws.OpContinuation, true, long[5003:]), masked(ws.OpBinary, true, "next"),
		}, []string{"b:" + long, "b:next"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, r := join(t, nil)
			for _, f := range row.frames {
				c.WriteRaw(f)
			}
			for _, want := range row.want {
				if got := <-r.messages; got != want {
					t.Fatalf("got %.80q, want %.80q", got, want)
				}
			}
			c.Close()
			r.wantClosed(t, transport.ReasonTransportClose)
			if len(r.messages) > 0 {
				t.Fatalf("and then %q", <-r.messages)
			}
		})
	}
}

func TestWebSocket_ByteByByte(t *testing.T) {
	t.Parallel()
	c, r := join(t, nil)
	wire := append(masked(ws.OpText, false, "4by"), masked(ws.OpPing, true, "x")...)
	wire = append(wire, masked(ws.OpContinuation, true, strings.Repeat("te", 400))...)
	for _, b := range wire {
		c.WriteRaw([]byte{b})
	}
	if got := <-r.messages; got != "by"+strings.Repeat("te", 400) {
		t.Fatalf("got %q", got)
	}
}

func TestWebSocket_PingPayload(t *testing.T) {
	t.Parallel()
	server, _ := serve(t, nil)
	ts := httptest.NewServer(server)
	defer ts.Close()

	c := dialTCP(t, ts.Listener.Addr().String(), "")
	c.readText(t)
	payload := strings.Repeat("p", 125)
	if _, err := c.Write(masked(ws.OpPing, true, payload)); err != nil {
		t.Fatal(err)
	}
	h, data, err := c.readFrame()
	if err != nil || h.OpCode != ws.OpPong || h.Masked || string(data) != payload {
		t.Fatalf("got %v %q, %v", h, data, err)
	}
}

// TestWebSocket_PingFlood sends pings to a server whose writes block: at most one pong
// waits, and it answers the last ping.
func TestWebSocket_PingFlood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, r := join(t, &transport.Options{QueueMessages: 4})
		c.Pause()
		_ = r.session.Send(transport.Text([]byte("a"))) // the paused client takes one more frame
		synctest.Wait()
		_ = r.session.Send(transport.Text([]byte("b"))) // this one gets stuck
		synctest.Wait()
		for range 5000 {
			c.WriteRaw(masked(ws.OpPing, true, "flood"))
		}
		c.WriteRaw(masked(ws.OpText, true, "4still here"))
		if got := <-r.messages; got != "still here" {
			t.Fatalf("got %q", got)
		}
		if r.session.TrySend(transport.Text([]byte("c"))) {
			t.Fatal("the write is not stuck")
		}
		c.Resume()
		if got := c.ReadText() + c.ReadText(); got != "ab" {
			t.Fatalf("got %q", got)
		}
	})
}

// TestWebSocket_FramesWithTheRequest checks that bytes that net/http read after the
// request are not lost (see also TestConnect_Burst).
func TestWebSocket_FramesWithTheRequest(t *testing.T) {
	t.Parallel()
	server, opened := serve(t, nil)
	ts := httptest.NewServer(server)
	defer ts.Close()

	long := strings.Repeat("x", 3000)
	early := string(masked(ws.OpText, true, "4one")) + string(masked(ws.OpText, true, "4"+long)) + string(masked(ws.OpText, true, "4cut")[:5])
	conn := dialEager(t, ts.Listener.Addr().String(), early)
	r := <-opened
	if one, two := <-r.messages, <-r.messages; one != "one" || two != long {
		t.Fatalf("got %q, %.20q", one, two)
	}
	_ = conn.Close()
	r.wantClosed(t, transport.ReasonTransportClose)
}

// TestWebSocket_HTTPServerDeadlines checks that the timeouts of http.Server do not apply to
// sessions.
func TestWebSocket_HTTPServerDeadlines(t *testing.T) {
	t.Parallel()
	server, opened := serve(t, nil)
	ts := httptest.NewUnstartedServer(server)
	ts.Config.ReadTimeout = time.Second
	ts.Config.WriteTimeout = time.Second
	ts.Start()
	defer ts.Close()

	c := dialTCP(t, ts.Listener.Addr().String(), "")
	c.readText(t)
	r := <-opened
	select { // there is no event to wait for: the session stays open
	case <-r.closed:
		t.Fatalf("closed: %s, %v", r.reason, r.cause)
	case <-time.After(1500 * time.Millisecond):
	}
	c.writeText(t, "4late")
	if got := <-r.messages; got != "late" {
		t.Fatalf("got %q", got)
	}
}

func TestWebSocket_ReceiverErrorsAndPanics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		errBad := errors.New("bad packet")
		c, r := join(t, nil)
		r.answer = func([]byte, bool) error {
			_ = r.session.Send(transport.Text([]byte("why")))
			return errBad
		}
		c.WriteText("x")
		r.wantClosed(t, transport.ReasonForcedClose)
		if !errors.Is(r.cause, errBad) || c.ReadText() != "why" {
			t.Fatalf("cause %v", r.cause)
		}
		wantGone(t, c, 1005)

		c, r = join(t, nil)
		r.answer = func([]byte, bool) error { panic("user code") }
		c.WriteText("x")
		r.wantClosed(t, transport.ReasonForcedClose)
		wantGone(t, c, 1005)

		c, r = join(t, nil)
		close(r.closed) // makes Closed panic
		c.Close()       // and still the connection ends
	})
}
