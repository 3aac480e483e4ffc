package frame_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/pgsocket/socketio/transport/frame"
)

func TestPacket_RoundTrip(t *testing.T) {
	t.Parallel()

	for typ := frame.Open; typ <= frame.Noop; typ++ {
		wire := frame.Append(nil, typ, []byte("probe"))
		if wire[0] != byte(typ) || string(wire[1:]) != "probe" {
			t.Errorf("%s: wire %q", typ, wire)
		}

		p, err := frame.Parse(wire)
		if err != nil || p.Type != typ || p.Binary || string(p.Data) != "probe" {
			t.Errorf("%s: got %+v, %v", typ, p, err)
		}
	}
}

func TestParse_Refusals(t *testing.T) {
	t.Parallel()

	for text, want := range map[string]error{
		"":       frame.ErrEmpty,
		"7":      frame.ErrType,
		"/":      frame.ErrType,
		"\x00":   frame.ErrType,
		"hello4": frame.ErrType,
	} {
		if _, err := frame.Parse([]byte(text)); !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", text, err, want)
		}
	}
}

func TestAppendOpen_KeyOrder(t *testing.T) {
	t.Parallel()

	h := frame.Handshake{SID: "lv_VI97HAXpY6yYWAAAC", PingInterval: 25000, PingTimeout: 20000, MaxPayload: 1000000}
	wire := frame.AppendOpen(nil, h)

	const want = `0{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`
	if string(wire) != want {
		t.Fatalf("got  %s\nwant %s", wire, want)
	}

	back, err := frame.ParseOpen(wire)
	if err != nil || back.SID != h.SID || back.MaxPayload != h.MaxPayload || len(back.Upgrades) != 0 {
		t.Fatalf("got %+v, %v", back, err)
	}
	if _, err := frame.ParseOpen([]byte("4{}")); err == nil {
		t.Fatal("a MESSAGE passed for an OPEN")
	}
}

func TestPayload_TextAndBinary(t *testing.T) {
	t.Parallel()

	wire, err := frame.AppendPayload(nil,
		frame.Packet{Type: frame.Message, Data: []byte("hello")},
		frame.Packet{Type: frame.Message, Binary: true, Data: []byte{1, 2, 3, 4}},
		frame.Packet{Type: frame.Ping},
	)
	if err != nil || string(wire) != "4hello\x1ebAQIDBA==\x1e2" {
		t.Fatalf("got %q, %v", wire, err)
	}

	var kinds []frame.Type
	for p, err := range frame.Payload(wire, 3) {
		if err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, p.Type)
	}
	if len(kinds) != 3 {
		t.Fatalf("got %v", kinds)
	}
}

func TestPayload_FirstError(t *testing.T) {
	t.Parallel()

	for _, row := range []struct {
		payload string
		limit   int
		good    int
		want    error
	}{
		{"", 10, 0, frame.ErrEmpty},
		{"4a\x1e", 10, 1, frame.ErrEmpty},
		{"4a\x1e\x1e4b", 10, 1, frame.ErrEmpty},
		{"4a\x1e9\x1e4b", 10, 1, frame.ErrType},
		{"4a\x1e4b\x1e4c", 2, 2, frame.ErrTooMany},
	} {
		good, last := 0, error(nil)
		for _, err := range frame.Payload([]byte(row.payload), row.limit) {
			if last = err; err == nil {
				good++
			}
		}
		if last == nil || good != row.good || (row.want != nil && !errors.Is(last, row.want)) {
			t.Errorf("%q: %d good packets, then %v", row.payload, good, last)
		}
	}
}

func TestPayload_SeparatorInText(t *testing.T) {
	t.Parallel()

	_, err := frame.AppendPayload(nil, frame.Packet{Type: frame.Message, Data: []byte("a\x1eb")})
	if !errors.Is(err, frame.ErrSeparator) {
		t.Fatalf("got %v", err)
	}
}

// FuzzPayload checks the promises of the codec for any bytes: no panic, at most
// limit packets, and decoded packets that encode to the same packets.
func FuzzPayload(f *testing.F) {
	for _, s := range []string{"", "4hello", "4a\x1ebAQIDBA==\x1e2", "b", "b====", "0{}\x1e\x1e", "3probe\x1e7"} {
		f.Add([]byte(s))
	}

	f.Fuzz(func(t *testing.T, payload []byte) {
		var packets []frame.Packet
		for p, err := range frame.Payload(payload, 16) {
			if err != nil {
				return
			}
			packets = append(packets, p)
		}

		wire, err := frame.AppendPayload(nil, packets...)
		if err != nil {
			t.Fatalf("%q was decoded but cannot be encoded: %v", payload, err)
		}
		// Base64 may have characters that are not encoded again.
		if !bytes.ContainsRune(payload, 'b') && !bytes.Equal(wire, payload) {
			t.Fatalf("%q became %q", payload, wire)
		}

		i := 0
		for p, err := range frame.Payload(wire, 16) {
			if err != nil || p.Type != packets[i].Type || p.Binary != packets[i].Binary || !bytes.Equal(p.Data, packets[i].Data) {
				t.Fatalf("packet %d: %+v became %+v, %v", i, packets[i], p, err)
			}
			i++
		}
	})
}

// FuzzRoundTrip encodes and decodes any data.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("hello"), []byte{0, 1, 0x1e, 255})
	f.Fuzz(func(t *testing.T, text, binary []byte) {
		text = bytes.ReplaceAll(text, []byte{0x1e}, nil)
		want := []frame.Packet{
			{Type: frame.Message, Data: text},
			{Type: frame.Message, Binary: true, Data: binary},
			{Type: frame.Noop},
		}

		wire, err := frame.AppendPayload(nil, want...)
		if err != nil {
			t.Fatal(err)
		}

		i := 0
		for p, err := range frame.Payload(wire, len(want)) {
			if err != nil || p.Type != want[i].Type || p.Binary != want[i].Binary || !bytes.Equal(p.Data, want[i].Data) {
				t.Fatalf("packet %d: %+v became %+v, %v", i, want[i], p, err)
			}
			i++
		}
		if i != len(want) {
			t.Fatalf("%d packets of %d", i, len(want))
		}
	})
}
