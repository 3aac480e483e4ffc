package msgpack_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tinylib/msgp/msgp"

	"github.com/pgsocket/socketio/msgpack"
	"github.com/pgsocket/socketio/packet"
)

func decode(message []byte) (*packet.Packet, error) {
	return msgpack.Parser{}.NewDecoder(packet.Limits{}).Decode(message, true)
}

// show returns the packet in the text form of package packet, and its attachments.
func show(p *packet.Packet) string {
	return fmt.Sprintf("%s %x", p.AppendText(nil), p.Attachments)
}

// golden are messages of socket.io-msgpack-parser 3.0.2 of the official client, with
// their packets.
var golden = []struct{ message, want string }{
	{"82a47479706500a36e7370a12f", `0 []`},
	{"83a47479706500a36e7370a52f63686174a46461746181a5746f6b656ea178", `0/chat,{"token":"x"} []`},
	{"82a47479706501a36e7370a52f63686174", `1/chat, []`},
	{ // any value, and the options of the client
		"84a47479706502a46461746199a16101ffcb3ff8000000000000a7e2889a2000225cc0c39080a76f7074696f6e7381a8636f6d7072657373c3a36e7370a12f",
		`2["a",1,-1,1.5,"√ \u0000\"\\",null,true,[],{}] []`,
	},
	{ // a Buffer, and an ArrayBuffer deeper
		"85a47479706502a46461746193a362696ec402010281a46465657091c70300010203a76f7074696f6e7381a8636f6d7072657373c3a269640ca36e7370a12f",
		`52-12["bin",{"_placeholder":true,"num":0},{"deep":[{"_placeholder":true,"num":1}]}] [0102 010203]`,
	},
	{ // undefined three times, a Date, NaN, Infinity, integers of all sizes
		"84a47479706502a4646174619ca36f6464d4000082a161d40000a16201d7000000000000000000cb7ff8000000000000cb7ff0000000000000" +
			"cf0000010000000000d3ffffff0000000000cd012cce00011170d1ff38d2ffff63c0a26964d40000a36e7370a12f",
		`2["odd",null,{"b":1},"1970-01-01T00:00:00.000Z",null,null,1099511627776,-1099511627776,300,70000,-200,-40000] []`,
	},
	{"83a47479706503a46461746191a178a2696407a36e7370a22f6e", ``},
	{"84a47479706503a46461746191a178a2696407a36e7370a22f6e", `3/n,7["x"] []`},
	{"83a47479706504a46461746181a76d657373616765a26e6fa36e7370a12f", `4{"message":"no"} []`},
	{"83a47479706502a464617461912aa36e7370a12f", `2[42] []`},
}

func TestDecode_OfficialPackets(t *testing.T) {
	t.Parallel()
	for _, g := range golden {
		message, err := hex.DecodeString(g.message)
		if err != nil {
			t.Fatal(err)
		}
		p, err := decode(message)
		if g.want == "" {
			if err == nil {
				t.Errorf("%s: not refused", g.message)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", g.message, err)
			continue
		}
		if got := show(p); got != g.want {
			t.Errorf("%s:\n got %s\nwant %s", g.message, got, g.want)
		}
		roundTrip(t, p)
	}
}

// roundTrip checks that a packet is unchanged after encoding and decoding.
func roundTrip(t *testing.T, p *packet.Packet) {
	t.Helper()
	messages, err := msgpack.Parser{}.Encode(p)
	if err != nil || len(messages) != 1 || !messages[0].Binary {
		t.Fatalf("%s: %v, %v", show(p), messages, err)
	}
	again, err := decode(messages[0].Data)
	if err != nil {
		t.Fatalf("%s: %v", show(p), err)
	}
	if show(again) != show(p) {
		t.Errorf("%s became %s", show(p), show(again))
	}
}

func TestEncode_Dates(t *testing.T) {
	t.Parallel()
	for hexed, want := range map[string]string{
		"0000000000000000": `"1970-01-01T00:00:00.000Z"`,
		"ffffffffffffffff": `"1969-12-31T23:59:59.999Z"`,
		"001eb208c2dc0000": `"+275760-09-13T00:00:00.000Z"`,
		"ffe14df73d240000": `"-271821-04-20T00:00:00.000Z"`,
		"001eb208c2dc0001": "",
		"ffe14df73d23ffff": "",
		"8000000000000000": "",
	} {
		message, err := hex.DecodeString("83a47479706502a46461746192a178d700" + hexed + "a36e7370a12f")
		if err != nil {
			t.Fatal(err)
		}
		p, err := decode(message)
		switch {
		case want == "" && err == nil:
			t.Errorf("%s: not refused", hexed)
		case want != "" && (err != nil || string(p.Data) != `["x",`+want+`]`):
			t.Errorf("%s: %v, %v", hexed, p, err)
		}
	}
}

// message returns a packet with the data and further fields.
func message(kind int, nsp string, data []byte, more ...byte) []byte {
	fields := uint32(2)
	if data != nil {
		fields++
	}
	if more != nil {
		fields++
	}
	out := msgp.AppendMapHeader(nil, fields)
	out = msgp.AppendInt(msgp.AppendString(out, "type"), kind)
	out = msgp.AppendString(msgp.AppendString(out, "nsp"), nsp)
	if data != nil {
		out = append(msgp.AppendString(out, "data"), data...)
	}
	return append(out, more...)
}

func event(args ...string) []byte {
	out := msgp.AppendArrayHeader(nil, uint32(len(args)))
	for _, a := range args {
		out = append(out, a...)
	}
	return out
}

func TestDecode_Malformed(t *testing.T) {
	t.Parallel()
	name := string(msgp.AppendString(nil, "e"))
	id := func(value ...byte) []byte { return append(msgp.AppendString(nil, "id"), value...) }
	deep := func(n int) []byte { return []byte("\x92" + name + strings.Repeat("\x91", n) + "\xc0") }
	eleven := append(msgp.AppendArrayHeader(nil, 12), name...)
	for range 11 {
		eleven = msgp.AppendBytes(eleven, []byte{1})
	}
	for what, c := range map[string]struct {
		message []byte
		want    error
	}{
		"nothing":                     {nil, msgpack.ErrPacket},
		"no map":                      {[]byte{0x90}, msgpack.ErrPacket},
		"an empty map":                {[]byte{0x80}, packet.ErrType},
		"the code that is none":       {[]byte{0xc1}, msgpack.ErrPacket},
		"that code as a value":        {message(2, "/", event(name, "\xc1")), msgpack.ErrPacket},
		"an unknown type":             {message(5, "/", event(name)), packet.ErrType},
		"a negative type":             {message(-1, "/", event(name)), packet.ErrType},
		"an event without arguments":  {message(2, "/", event()), packet.ErrBody},
		"an event without a name":     {message(2, "/", event("\xc0")), packet.ErrBody},
		"an event named by bytes":     {message(2, "/", event("\xc4\x01x")), packet.ErrBody},
		"an event without data":       {message(2, "/", nil), packet.ErrBody},
		"a reserved name":             {message(2, "/", event(string(msgp.AppendString(nil, "disconnect")))), packet.ErrReservedName},
		"an event that is a number":   {message(2, "/", []byte{7}), packet.ErrBody},
		"an ack without data":         {message(3, "/", nil), packet.ErrBody},
		"CONNECT with a number":       {message(0, "/", []byte{7}), packet.ErrBody},
		"a negative id":               {message(2, "/", event(name), id(0xff)...), msgpack.ErrPacket},
		"a fraction for an id":        {message(2, "/", event(name), id(msgp.AppendFloat64(nil, 1.5)...)...), msgpack.ErrPacket},
		"an id of 2^53":               {message(2, "/", event(name), id(msgp.AppendUint64(nil, 1<<53)...)...), packet.ErrAckID},
		"a namespace without a slash": {message(2, "x", event(name)), msgpack.ErrPacket},
		"a namespace with a comma":    {message(2, "/a,1", event(name)), msgpack.ErrPacket},
		"a namespace too long":        {message(0, "/"+strings.Repeat("x", 1024), nil), packet.ErrLimit},
		"a namespace of no text":      {message(0, "/\xff", nil), packet.ErrUTF8},
		"CONNECT with an array":       {message(0, "/", event()), packet.ErrBody},
		"CONNECT with bytes":          {message(0, "/", []byte("\x81\xa1x\xc4\x00")), msgpack.ErrPacket},
		"DISCONNECT with data":        {message(1, "/", event()), packet.ErrBody},
		"DISCONNECT with a number":    {message(1, "/", []byte{7}), packet.ErrBody},
		"CONNECT_ERROR with a number": {message(4, "/", []byte{7}), packet.ErrBody},
		"a text that is not UTF-8":    {message(2, "/", event(name, "\xa1\xff")), packet.ErrUTF8},
		"a key that is no text":       {message(2, "/", event(name, "\x81\x01\x01")), msgpack.ErrPacket},
		"another extension":           {message(2, "/", event(name, "\xd4\x05\x00")), msgpack.ErrPacket},
		"a time":                      {message(2, "/", event(name, "\xd6\xff\x00\x00\x00\x00")), msgpack.ErrPacket},
		"an extension of four bytes":  {message(2, "/", event(name, "\xd6\x00\x00\x00\x00\x00")), msgpack.ErrPacket},
		"something behind":            {append(message(0, "/", nil), 0xc0), msgpack.ErrPacket},
		"depth":                       {message(2, "/", deep(128)), packet.ErrLimit},
		"depth beyond any stack":      {message(2, "/", deep(1_000_000)), packet.ErrLimit},
		"depth of options":            {message(0, "/", nil, append(msgp.AppendString(nil, "options"), deep(1_000_000)...)...), packet.ErrLimit},
		"eleven attachments":          {message(2, "/", eleven), packet.ErrLimit},
		"an array of 2^32-1":          {message(2, "/", []byte("\xdd\xff\xff\xff\xff")), msgpack.ErrPacket},
		"a map of 2^32-1":             {[]byte("\xdf\xff\xff\xff\xff"), msgpack.ErrPacket},
		"a map of 2^32-1 inside":      {message(2, "/", event(name, "\xdf\xff\xff\xff\xff")), msgpack.ErrPacket},
		"a text of 2^32-1":            {message(2, "/", event("\xdb\xff\xff\xff\xff")), msgpack.ErrPacket},
		"bytes of 2^32-1":             {message(2, "/", event(name, "\xc6\xff\xff\xff\xff")), msgpack.ErrPacket},
		"an extension of 2^32-1":      {message(2, "/", event(name, "\xc9\xff\xff\xff\xff\x00")), msgpack.ErrPacket},
	} {
		if p, err := decode(c.message); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, error %v, want %v", what, p, err, c.want)
		}
	}
	if _, err := (msgpack.Parser{}).NewDecoder(packet.Limits{}).Decode([]byte("0"), false); !errors.Is(err, msgpack.ErrText) {
		t.Errorf("text: %v", err)
	}
	if p, err := decode(message(2, "/", deep(127))); err != nil {
		t.Errorf("as deep as is allowed: %v, %v", p, err)
	}
}

// TestDecode_Truncated checks that every proper prefix of a message is refused.
func TestDecode_Truncated(t *testing.T) {
	t.Parallel()
	for _, g := range golden {
		whole, err := hex.DecodeString(g.message)
		if err != nil {
			t.Fatal(err)
		}
		for n := range whole {
			if g.want == "" {
				continue
			}
			if p, err := decode(whole[:n]); err == nil {
				t.Errorf("%x: %s", whole[:n], show(p))
			}
		}
	}
}

func TestDecode_ManyMessages(t *testing.T) {
	t.Parallel()
	d := msgpack.Parser{}.NewDecoder(packet.Limits{MaxPacketBytes: 200})
	name := string(msgp.AppendString(nil, "e"))
	small := message(2, "/", event(name, string(msgp.AppendBytes(nil, []byte("1234")))))
	large := message(2, "/", event(name, string(msgp.AppendBytes(nil, make([]byte, 300)))))
	for range 3 {
		if p, err := d.Decode(small, true); err != nil || p == nil {
			t.Fatal(p, err)
		}
		if p, err := d.Decode(large, true); !errors.Is(err, packet.ErrLimit) {
			t.Fatal(p, err)
		}
	}
}

func TestDecode_CopiesItsInput(t *testing.T) {
	t.Parallel()
	m := message(2, "/n", event(string(msgp.AppendString(nil, "name")), string(msgp.AppendBytes(nil, []byte("data")))))
	p, err := decode(m)
	if err != nil {
		t.Fatal(err)
	}
	before := show(p)
	for i := range m {
		m[i] = 'X'
	}
	if show(p) != before {
		t.Errorf("%s became %s", before, show(p))
	}
}

func TestEncode_Errors(t *testing.T) {
	t.Parallel()
	for _, data := range []string{`["x"`, `["x",}`, strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001)} {
		if m, err := (msgpack.Parser{}).Encode(&packet.Packet{Type: packet.Event, Namespace: "/", Data: []byte(data)}); err == nil {
			t.Errorf("%.20s: %v", data, m)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, g := range golden {
		m, err := hex.DecodeString(g.message)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(m)
	}
	f.Fuzz(func(t *testing.T, m []byte) {
		before := bytes.Clone(m)
		p, err := decode(m)
		if !bytes.Equal(before, m) {
			t.Fatal("the message was changed")
		}
		if err != nil {
			if p != nil {
				t.Fatal("a packet and an error")
			}
			return
		}
		messages, err := msgpack.Parser{}.Encode(p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decode(messages[0].Data)
		if err != nil {
			t.Fatalf("%s: %v", show(p), err)
		}
		third, err := msgpack.Parser{}.Encode(again)
		if err != nil || !bytes.Equal(third[0].Data, messages[0].Data) {
			t.Fatalf("%s became %s: %v", show(p), show(again), err)
		}
	})
}

func BenchmarkParser(b *testing.B) {
	p := &packet.Packet{
		Type: packet.Event, Namespace: "/",
		Data: []byte(`["chat message",{"room":"lobby","text":"hello there, how are you?","n":12345}]`),
	}
	messages, err := msgpack.Parser{}.Encode(p)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := (msgpack.Parser{}).Encode(p); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := decode(messages[0].Data); err != nil {
				b.Fatal(err)
			}
		}
	})
}
