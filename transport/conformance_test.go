package transport_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/pgsocket/socketio/transport"
)

// A wire is a client's frame of any form.
type wire struct {
	op     ws.OpCode
	data   string
	more   bool // FIN is not set
	rsv    byte
	naked  bool // not masked
	length int  // the bytes of the extended length; 0 means the minimum
}

func (f wire) bytes() []byte {
	first, mask := byte(0x80), byte(0x80)
	if f.more {
		first = 0
	}
	if f.naked {
		mask = 0
	}
	b := []byte{first | f.rsv<<4 | byte(f.op)}
	n := len(f.data)
	switch {
	case f.length == 8 || f.length == 0 && n > 0xffff:
		b = binary.BigEndian.AppendUint64(append(b, mask|127), uint64(n))
	case f.length == 2 || f.length == 0 && n > 125:
		b = binary.BigEndian.AppendUint16(append(b, mask|126), uint16(n))
	default:
		b = append(b, mask|byte(n))
	}
	if !f.naked {
		b = append(b, 0, 0, 0, 0) // a mask that changes nothing
	}
	return append(b, f.data...)
}

func say(text string) wire                { return wire{op: ws.OpText, data: "4" + text} }
func begin(text string) wire              { return wire{op: ws.OpText, data: text, more: true} }
func goOn(text string) wire               { return wire{op: ws.OpContinuation, data: text, more: true} }
func finish(text string) wire             { return wire{op: ws.OpContinuation, data: text} }
func control(op ws.OpCode, d string) wire { return wire{op: op, data: d} }

func closing(code int, reason string) wire {
	return wire{op: ws.OpClose, data: string(binary.BigEndian.AppendUint16(nil, uint16(code))) + reason}
}

// A conformance is one case: the bytes that are sent, in writes of chunk bytes if chunk is not 0, and the expected
// responses: "text …", "pong …", "close CODE", or "alive" for the echo of a further message.
type conformance struct {
	name  string
	sent  []wire
	want  []string
	chunk int
}

// conformances are the families of Autobahn's test suite and further cases, for a server that echoes messages. They
// differ for the codes that IANA has registered since (1012 to 1014). A close frame is answered with the same code.
func conformances() (all []conformance) {
	add := func(name string, want []string, sent ...wire) {
		all = append(all, conformance{name: name, sent: sent, want: want})
	}
	chopped := func(n int, name string, want []string, sent ...wire) {
		all = append(all, conformance{name: name, sent: sent, want: want, chunk: n})
	}
	back := func(text string) string { return "text 4" + text }
	is := func(want ...string) []string { return want }

	for _, n := range []int{0, 1, 100, 108, 109, 110, 124, 125, 126, 127, 128, 65_500, 65_534, 65_535, 65_536, 65_600, 500_000} {
		add(fmt.Sprint("1 text of ", n), is(back(strings.Repeat("*", n))), say(strings.Repeat("*", n)))
	}
	chopped(997, "1 chopped", is(back(strings.Repeat("*", 65_536))), say(strings.Repeat("*", 65_536)))
	chopped(1, "1 byte by byte", is(back("abc")), say("abc"))
	for _, length := range []int{2, 8} {
		add(fmt.Sprint("1 length in too many bytes, ", length), is("close 1002"), wire{op: ws.OpText, data: "4a", length: length})
	}
	add("1 length in too many bytes, 65535", is("close 1002"), wire{op: ws.OpText, data: "4" + strings.Repeat("*", 65_534), length: 8})
	add("1 length in too many bytes, 125", is("close 1002"), wire{op: ws.OpText, data: "4" + strings.Repeat("*", 124), length: 2})

	for _, n := range []int{0, 1, 125} {
		add(fmt.Sprint("2 ping of ", n), is("pong "+strings.Repeat("\xff", n), "alive"), control(ws.OpPing, strings.Repeat("\xff", n)))
	}
	add("2 ping of 126", is("close 1002"), control(ws.OpPing, strings.Repeat("x", 126)))
	chopped(1, "2 ping byte by byte", is("pong "+strings.Repeat("x", 125)), control(ws.OpPing, strings.Repeat("x", 125)))
	var ten []wire
	for i := range 10 {
		ten = append(ten, control(ws.OpPing, fmt.Sprint("p", i)))
	}
	add("2 ten pings", is("pong p9", "alive"), ten...)
	chopped(1, "2 ten pings byte by byte", is("pong p9", "alive"), ten...)
	add("2 pong that nobody asked for", is("alive"), control(ws.OpPong, ""))
	add("2 pong with a payload", is("alive"), control(ws.OpPong, "x"))

	for rsv := byte(1); rsv < 8; rsv++ {
		add(fmt.Sprint("3 text with RSV ", rsv), is("close 1002"), wire{op: ws.OpText, data: "4x", rsv: rsv})
		add(fmt.Sprint("3 ping with RSV ", rsv), is("close 1002"), wire{op: ws.OpPing, data: "x", rsv: rsv})
		add(fmt.Sprint("3 RSV after a text, ", rsv), is(back("y"), "close 1002"), say("y"), wire{op: ws.OpBinary, data: "x", rsv: rsv})
	}
	for _, op := range []ws.OpCode{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		add(fmt.Sprint("4 opcode ", op), is("close 1002"), wire{op: op})
		add(fmt.Sprint("4 opcode with a payload, ", op), is("close 1002"), wire{op: op, data: "x"})
		add(fmt.Sprint("4 opcode after a text, ", op), is(back("y"), "close 1002"), say("y"), wire{op: op})
	}
	add("4 not masked", is("close 1002"), wire{op: ws.OpText, data: "4x", naked: true})

	add("5 ping in fragments", is("close 1002"), wire{op: ws.OpPing, data: "a", more: true}, finish("b"))
	add("5 pong in fragments", is("close 1002"), wire{op: ws.OpPong, data: "a", more: true}, finish("b"))
	add("5 two fragments", is(back("fragment")), begin("4frag"), finish("ment"))
	chopped(1, "5 two fragments byte by byte", is(back("fragment")), begin("4frag"), finish("ment"))
	add("5 ping between", is("pong pp", back("fragment")), begin("4frag"), control(ws.OpPing, "pp"), finish("ment"))
	chopped(1, "5 ping between, byte by byte", is("pong pp", back("fragment")), begin("4frag"), control(ws.OpPing, "pp"), finish("ment"))
	add("5 continuation first", is("close 1002"), finish("x"), say("a"))
	add("5 continuation first, with more", is("close 1002"), goOn("x"), say("a"))
	add("5 continuation after the end", is(back("fragment"), "close 1002"), begin("4frag"), finish("ment"), goOn("x"), say("a"))
	add("5 text in a text", is("close 1002"), begin("4frag"), say("ment"))
	add("5 pings between", is("pong 2", back("fragment")), begin("4f"), goOn("ra"), control(ws.OpPing, "1"), goOn("gm"), goOn(""), control(ws.OpPing, "2"), finish("ent"))

	for name, row := range map[string]struct {
		hex string
		ok  bool
	}{
		"kosme": {"cebae1bdb9cf83cebcceb5", true}, "surrogate": {"cebae1bdb9cf83cebcceb5eda080656469746564", false},
		"U+110000": {"f4908080", false}, "U+10FFFF": {"f48fbfbf", true}, "U+FFFF": {"efbfbf", true}, "U+FFFE": {"efbfbe", true},
		"overlong 2": {"c0af", false}, "overlong 3": {"e080af", false}, "overlong 4": {"f08080af", false},
		"U+D800": {"eda080", false}, "U+DFFF": {"edbfbf", false}, "fe": {"fe", false}, "ff": {"ff", false}, "80": {"80", false},
		"U+0080": {"c280", true}, "U+07FF": {"dfbf", true}, "U+0800": {"e0a080", true}, "U+10000": {"f0908080", true},
		"five bytes": {"f888808080", false}, "cut short": {"cebae1bd", false}, "U+E000": {"ee8080", true}, "U+FEFF": {"efbbbf", true},
	} {
		raw, err := hex.DecodeString(row.hex)
		if err != nil {
			panic(err)
		}
		want := is("close 1007")
		if row.ok {
			want = is(back(string(raw)))
		}
		add("6 "+name, want, say(string(raw)))
		parts := []wire{begin("4")}
		for i := range raw {
			parts = append(parts, goOn(string(raw[i:i+1])))
		}
		add("6 in fragments, "+name, want, append(parts, finish(""))...)
	}
	add("6 fails before the end of the message", is("close 1007"), begin("4\xce\xba\xf4\x90\x80\x80"))
	add("6 fails before the end of the frame", is("close 1007"), wire{op: ws.OpText, data: "4\xff" + strings.Repeat("x", 5000)})

	add("7 close after a text", is(back("a"), "close none"), say("a"), control(ws.OpClose, ""))
	add("7 two closes", is("close none", "gone"), control(ws.OpClose, ""), control(ws.OpClose, ""))
	add("7 ping after the close", is("close none", "gone"), control(ws.OpClose, ""), control(ws.OpPing, "x"))
	add("7 text after the close", is("close none", "gone"), control(ws.OpClose, ""), say("a"))
	add("7 close in a message", is("close none", "gone"), begin("4a"), control(ws.OpClose, ""), finish("b"))
	add("7 close after a burst", append(slices.Repeat(is(back("a")), 50), "close 1000"), append(slices.Repeat([]wire{say("a")}, 50), closing(1000, ""))...)
	add("7 close after a large text", is(back(strings.Repeat("*", 500_000)), "close 1000"), say(strings.Repeat("*", 500_000)), closing(1000, ""))
	add("7 payload of one byte", is("close 1002"), control(ws.OpClose, "a"))
	add("7 reason", is("close 1000"), closing(1000, "Hello"))
	add("7 reason of 123", is("close 1000"), closing(1000, strings.Repeat("*", 123)))
	add("7 reason of 124", is("close 1002"), closing(1000, strings.Repeat("*", 124)))
	add("7 reason that is not UTF-8", is("close 1007"), closing(1000, "\xce\xba\xe1\xbd\xb9\xed\xa0\x80"))
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		add(fmt.Sprint("7 code ", code), is(fmt.Sprint("close ", code)), closing(code, ""))
	}
	for _, code := range []int{0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535} {
		add(fmt.Sprint("7 code ", code), is("close 1002"), closing(code, ""))
	}

	add("9 text of 999000", is(back(strings.Repeat("*", 999_000))), say(strings.Repeat("*", 999_000)))
	add("9 too large", is("close 1009"), wire{op: ws.OpBinary, data: strings.Repeat("x", 1_000_001)})
	large := "4" + strings.Repeat("*", 400_000)
	parts := []wire{begin(large[:64])}
	for i := 64; i < len(large); i += 64 {
		parts = append(parts, goOn(large[i:min(i+64, len(large))]))
	}
	add("9 fragments of 64", is("text "+large), append(parts, finish(""))...)
	add("9 fragments that are too large together", is("close 1009"), begin(strings.Repeat("x", 600_000)), finish(strings.Repeat("x", 600_000)))
	add("9 many fragments that are empty", is(back("a")), append(append([]wire{begin("4a")}, slices.Repeat([]wire{goOn("")}, 20_000)...), finish(""))...)
	return all
}

// TestRFC6455_Conformance checks whole connections from the view of a client.
func TestRFC6455_Conformance(t *testing.T) {
	t.Parallel()
	for _, c := range conformances() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var sent bytes.Buffer
				for _, f := range c.sent {
					sent.Write(f.bytes())
				}
				if got := converse(t, sent.Bytes(), c.chunk, len(c.want), slices.Contains(c.want, "alive")); !slices.Equal(got, c.want) {
					t.Errorf("got %.100q, want %.100q", got, c.want)
				}
			})
		})
	}
}

// TestRFC6455_AnnouncedLengths checks that a too large frame is refused by its header.
func TestRFC6455_AnnouncedLengths(t *testing.T) {
	t.Parallel()
	for length, want := range map[uint64]string{1 << 62: "close 1009", 1 << 63: "close 1002", 1<<63 + 5: "close 1002"} {
		synctest.Test(t, func(t *testing.T) {
			head := binary.BigEndian.AppendUint64([]byte{0x81, 0xff}, length)
			if got := converse(t, append(head, 0, 0, 0, 0), 0, 1, false); got[0] != want {
				t.Errorf("%d: got %q, want %q", length, got, want)
			}
		})
	}
}

// converse sends bytes to a server that echoes messages, and returns the responses, up to a number of frames.
func converse(t *testing.T, sent []byte, chunk, frames int, alive bool) (got []string) {
	t.Helper()
	server, opened := serve(t, nil)
	p := &poller{web: newWeb(t, server), url: "http://server" + wsURL}
	s, refused := p.websocket()
	if s == nil {
		t.Fatal(refused)
	}
	r := <-opened
	r.answer = func(data []byte, binary bool) error { return r.session.Send(transport.Text(data)) }
	s.read() // the handshake

	go func() {
		size := max(chunk, len(sent)*(1-min(chunk, 1)))
		for rest := sent; len(rest) > 0; {
			n := min(size, len(rest))
			if _, err := s.conn.Write(rest[:n]); err != nil {
				return
			}
			rest = rest[n:]
		}
		if alive {
			_, _ = s.conn.Write(say("alive").bytes())
		}
	}()
	_ = s.conn.SetReadDeadline(time.Now().Add(time.Minute))
	for len(got) < frames {
		h, err := ws.ReadHeader(s.in)
		if err != nil {
			return append(got, gone(err))
		}
		data := make([]byte, h.Length)
		if _, err := io.ReadFull(s.in, data); err != nil {
			return append(got, gone(err))
		}
		switch {
		case h.OpCode == ws.OpText && string(data) == "4alive":
			got = append(got, "alive")
		case h.OpCode == ws.OpText && string(data) == "2": // the heartbeat
		case h.OpCode == ws.OpText:
			got = append(got, "text "+string(data))
		case h.OpCode == ws.OpPong: // only the newest of several pings needs a pong (RFC 6455, 5.5.3)
			if n := len(got); n > 0 && strings.HasPrefix(got[n-1], "pong ") {
				got = got[:n-1]
			}
			got = append(got, "pong "+string(data))
		case h.OpCode == ws.OpClose && len(data) == 0:
			got = append(got, "close none")
		case h.OpCode == ws.OpClose:
			got = append(got, fmt.Sprint("close ", binary.BigEndian.Uint16(data)))
		default:
			got = append(got, fmt.Sprint("frame ", h.OpCode))
		}
	}
	return got
}

func gone(err error) string {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "silence"
	}
	return "gone"
}
