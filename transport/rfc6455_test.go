package transport

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/gobwas/ws"
)

// hear reads all of wire as a server, and returns the messages, the control frames, and
// the close code of the ending; "lost" if it has none.
func hear(r *frameReader) (got []string) {
	names := map[ws.OpCode]string{ws.OpText: "text", ws.OpBinary: "binary", ws.OpPing: "ping", ws.OpPong: "pong"}
	for {
		op, data, e := r.next()
		if e == nil && op == ws.OpClose {
			e = closeByPeer(data)
			if e.reason == ReasonTransportClose {
				return append(got, fmt.Sprintf("closed %d", e.code))
			}
		}
		switch {
		case e == nil && len(data) > 40:
			got = append(got, fmt.Sprintf("%s of %d", names[op], len(data)))
		case e == nil:
			got = append(got, names[op]+" "+string(data))
		case e.code == 0:
			return append(got, "lost")
		default:
			return append(got, fmt.Sprintf("fail %d", e.code))
		}
	}
}

// f is a client frame: bits are FIN and RSV, 0x80 to 0x10.
func f(bits byte, op ws.OpCode, payload string) string {
	frame := ws.MaskFrame(ws.NewFrame(op, bits&0x80 != 0, []byte(payload)))
	wire := ws.MustCompileFrame(frame)
	wire[0] |= bits & 0x70
	return string(wire)
}

const (
	fin   = 0x80
	text  = ws.OpText
	bin   = ws.OpBinary
	more  = ws.OpContinuation
	ping  = ws.OpPing
	pong  = ws.OpPong
	bye   = ws.OpClose
	limit = 1 << 20
)

func sized(n int) string { return strings.Repeat("*", n) }

// pieces is a message in fragments of a size.
func pieces(op ws.OpCode, data string, size int) string {
	var wire strings.Builder
	for {
		n := min(size, len(data))
		bits := byte(0)
		if n == len(data) {
			bits = fin
		}
		wire.WriteString(f(bits, op, data[:n]))
		if data, op = data[n:], more; bits != 0 {
			return wire.String()
		}
	}
}

// TestRFC6455 covers the families of cases of Autobahn's test suite.
func TestRFC6455(t *testing.T) {
	t.Parallel()
	type rows map[string][]string // the bytes sent; the results of hear
	families := map[string]rows{
		"1 framing": {
			f(fin, text, ""): {"text ", "lost"}, f(fin, bin, ""): {"binary ", "lost"},
		},
		"2 pings and pongs": {
			f(fin, ping, ""):                                {"ping ", "lost"},
			f(fin, ping, "\x00\xff\xfe"):                    {"ping \x00\xff\xfe", "lost"},
			f(fin, ping, sized(125)):                        {"ping of 125", "lost"},
			f(fin, ping, sized(126)):                        {"fail 1002"},
			f(fin, pong, "unsolicited") + f(fin, ping, "p"): {"pong unsolicited", "ping p", "lost"},
			strings.Repeat(f(fin, ping, "p"), 3):            {"ping p", "ping p", "ping p", "lost"},
		},
		"3 reserved bits": {
			f(fin|0x10, text, "x"):                     {"fail 1002"},
			f(fin|0x20, text, "x"):                     {"fail 1002"},
			f(fin|0x40, text, "x"):                     {"fail 1002"},
			f(fin|0x70, ping, ""):                      {"fail 1002"},
			f(fin, text, "ok") + f(fin|0x40, bye, ""):  {"text ok", "fail 1002"},
			f(0, text, "a") + f(fin|0x40, more, "b"):   {"fail 1002"},
			f(fin, text, "ok") + f(fin|0x20, pong, ""): {"text ok", "fail 1002"},
		},
		"4 opcodes": {
			f(fin, text, "ok") + f(fin, 3, ""): {"text ok", "fail 1002"},
			f(fin, 7, "x"):                     {"fail 1002"},
			f(fin, 0xb, ""):                    {"fail 1002"},
			f(fin, 0xf, "x"):                   {"fail 1002"},
			f(0, text, "a") + f(fin, 4, "b"):   {"fail 1002"},
			string(ws.MustCompileFrame(ws.NewTextFrame([]byte("unmasked")))): {"fail 1002"},
		},
		"5 fragmentation": {
			f(0, ping, "a"):                     {"fail 1002"},
			f(0, pong, "a"):                     {"fail 1002"},
			f(0, text, "a") + f(fin, more, "b"): {"text ab", "lost"},
			f(0, text, "a") + f(fin, ping, "p") + f(fin, more, "b"):                                       {"ping p", "text ab", "lost"},
			f(0, text, "a") + f(fin, ping, "p") + f(0, more, "b") + f(fin, ping, "q") + f(fin, more, "c"): {"ping p", "ping q", "text abc", "lost"},
			f(0, text, "") + f(0, more, "") + f(fin, more, ""):                                            {"text ", "lost"},
			f(0, bin, "a") + f(fin, more, "b") + f(fin, text, "c"):                                        {"binary ab", "text c", "lost"},
			f(fin, more, "a"):                   {"fail 1002"},
			f(0, more, "a"):                     {"fail 1002"},
			f(0, text, "a") + f(fin, text, "b"): {"fail 1002"},
			f(0, text, "a") + f(0, bin, "b"):    {"fail 1002"},
			f(0, text, "a") + f(fin, bye, ""):   {"closed 0"},
		},
		"6 UTF-8": {
			f(fin, text, "κόσμε"):                                    {"text κόσμε", "lost"},
			pieces(text, "κόσμε", 1):                                 {"text κόσμε", "lost"},
			f(fin, text, "\xce\xba\xe1\xbd\xb9\xcf\x83\xed\xa0\x80"): {"fail 1007"},
			f(fin, text, "\xf4\x90\x80\x80"):                         {"fail 1007"},
			f(fin, text, "\xc0\x80"):                                 {"fail 1007"},
			f(fin, text, "\xf4\x8f\xbf\xbf"):                         {"text \U0010ffff", "lost"},
			f(fin, text, "\xce"):                                     {"fail 1007"},
			f(0, text, "\xce") + f(fin, more, "a"):                   {"fail 1007"},
			f(fin, bin, "\xce"):                                      {"binary \xce", "lost"},
			f(fin, text, "\xef\xbf\xbe\xef\xbf\xbf"):                 {"text \ufffe\uffff", "lost"},
		},
		"7 closing": {
			f(fin, bye, ""):         {"closed 0"},
			f(fin, bye, "\x03"):     {"fail 1002"},
			f(fin, bye, "\x03\xe8"): {"closed 1000"},
			f(fin, bye, "\x03\xe8bye") + f(fin, text, "late"): {"closed 1000"},
			f(fin, bye, "\x03\xe8"+sized(123)):                {"closed 1000"},
			f(fin, bye, "\x03\xe8"+sized(124)):                {"fail 1002"},
			f(fin, bye, "\x03\xe8\xce"):                       {"fail 1007"},
			f(fin, bye, "\x00\x00"):                           {"fail 1002"},
			f(fin, bye, "\x03\xe7"):                           {"fail 1002"}, // 999
			f(fin, bye, "\x03\xed"):                           {"fail 1002"}, // 1005
			f(fin, bye, "\x03\xee"):                           {"fail 1002"}, // 1006
			f(fin, bye, "\x0b\xb8"):                           {"closed 3000"},
			f(fin, bye, "\x13\x87"):                           {"closed 4999"},
		},
		"9 sizes": {
			f(fin, text, sized(125)):                       {"text of 125", "lost"},
			f(fin, text, sized(126)):                       {"text of 126", "lost"},
			f(fin, bin, sized(65_535)):                     {"binary of 65535", "lost"},
			f(fin, bin, sized(65_536)):                     {"binary of 65536", "lost"},
			f(fin, text, sized(limit)):                     {"text of 1048576", "lost"},
			f(fin, text, sized(limit+1)):                   {"fail 1009"},
			pieces(bin, sized(limit), 4096):                {"binary of 1048576", "lost"},
			pieces(bin, sized(limit+1), 4096):              {"fail 1009"},
			"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00abcd": {"fail 1002"},
			"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xffabcd": {"fail 1009"},
		},
		"10 many fragments": {
			pieces(text, sized(65_536), 1300): {"text of 65536", "lost"},
			pieces(text, sized(3000), 1):      {"text of 3000", "lost"},
		},
	}
	for name, rows := range families {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for wire, want := range rows {
				for _, in := range []io.Reader{strings.NewReader(wire), iotest.OneByteReader(strings.NewReader(wire))} {
					if len(wire) > 10_000 {
						in = strings.NewReader(wire)
					}
					if got := hear(readerOf(in, limit)); !slices.Equal(got, want) {
						t.Errorf("%.60q: got %q, want %q", wire, got, want)
					}
				}
			}
		})
	}
}

// small compresses a message as a client does.
func small(data string) string {
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestSpeed)
	if err != nil {
		panic(err)
	}
	_, _ = io.WriteString(w, data)
	_ = w.Flush()
	return strings.TrimSuffix(out.String(), flushed)
}

// TestRFC7692 covers the families 12 and 13, compression, and violations of it.
func TestRFC7692(t *testing.T) {
	t.Parallel()
	const rsv1 = 0x40
	final := small("a")
	final = string([]byte{final[0] | 1}) + final[1:] // a last block, as RFC 7692, 7.2.3.4 allows

	for wire, want := range map[string][]string{
		f(fin, text, "plain") + f(fin|rsv1, text, small("small")):                          {"text plain", "text small", "lost"},
		f(fin|rsv1, text, small(sized(1000))) + f(fin|rsv1, bin, small(sized(70_000))):     {"text of 1000", "binary of 70000", "lost"},
		f(fin|rsv1, text, small("")):                                                       {"text ", "lost"},
		f(fin|rsv1, bin, final):                                                            {"binary a", "lost"},
		f(rsv1, text, small("ab")[:1]) + f(fin, ping, "p") + f(fin, more, small("ab")[1:]): {"ping p", "text ab", "lost"},
		f(rsv1, text, small("ab")) + f(fin|rsv1, more, ""):                                 {"fail 1002"},
		f(fin|rsv1, ping, small("p")):                                                      {"fail 1002"},
		f(fin|0x20, text, "x"):                                                             {"fail 1002"},
		f(fin|rsv1, text, "\xff\xff\xff"):                                                  {"fail 1007"},
		f(fin|rsv1, text, small("\xce")):                                                   {"fail 1007"},
		f(fin|rsv1, text, small(sized(limit))):                                             {"text of 1048576", "lost"},
		f(fin|rsv1, text, small(sized(limit+1))):                                           {"fail 1009"},
		f(fin|rsv1, text, small(sized(20<<20))):                                            {"fail 1009"}, // 20 KB on the wire
	} {
		r := readerOf(strings.NewReader(wire), limit)
		r.deflate = true
		if got := hear(r); !slices.Equal(got, want) {
			t.Errorf("%.60q: got %q, want %q", wire, got, want)
		}
		if r.text != nil && cap(r.text.bytes) > 4*limit {
			t.Errorf("%.60q: %d bytes held", wire, cap(r.text.bytes))
		}
	}
}

// TestPerMessageDeflate_Messages checks that a client can decompress messages, that each is
// compressed once, and that a message that would not become shorter is not compressed.
func TestPerMessageDeflate_Messages(t *testing.T) {
	t.Parallel()
	p := new(pools)
	for _, m := range []*Message{Text([]byte(sized(deflateFrom))), Binary([]byte(sized(100_000))), Text([]byte(sized(deflateFrom)))} {
		wire := m.deflated(p)
		h, err := ws.ReadHeader(bytes.NewReader(wire))
		if err != nil || !h.Rsv1() || !h.Fin || h.OpCode != ws.OpCode(m.frame[0]&0xf) || len(wire) >= m.Len()/4 {
			t.Fatalf("%+v, %v, %d bytes", h, err, len(wire))
		}
		b := new(buffer)
		if e := p.inflate(b, wire[ws.HeaderSize(h):], limit); e != nil || !bytes.Equal(b.bytes, m.data()) {
			t.Fatalf("%d bytes, %v", len(b.bytes), e)
		}
		if again := m.deflated(p); &again[0] != &wire[0] {
			t.Error("compressed twice")
		}
	}

	noise := make([]byte, 2000)
	for i, x := 0, uint32(1); i < len(noise); i++ {
		x = x*1664525 + 1013904223
		noise[i] = byte(x >> 24)
	}
	for _, m := range []*Message{Text([]byte(sized(deflateFrom - 2))), Binary(noise), newControl(ws.OpPong, []byte("p"))} {
		if wire := m.deflated(p); &wire[0] != &m.frame[0] {
			t.Errorf("%d bytes became %d", m.Len(), len(wire))
		}
	}
}
