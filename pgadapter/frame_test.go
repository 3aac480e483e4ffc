package pgadapter

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/pgsocket/socketio/adapter"
)

func encode(es ...*adapter.Envelope) []byte {
	b := []byte{frameVersion}
	for _, e := range es {
		if e == nil {
			b = appendWithdrawn(b)
		} else {
			b = appendPacket(b, e)
		}
	}
	return b
}

func samples() []*adapter.Envelope {
	return []*adapter.Envelope{
		{Namespace: "/", Payload: []byte("[]")},
		nil,
		{Kind: adapter.SessionMoved, Audience: adapter.Audience{Rooms: []string{"a", ""}, Except: []string{"\xff"}}, Payload: []byte{}},
		{Namespace: "/", Payload: []byte("[]"), TraceContext: "traceparent:00"},
		{Kind: adapter.Volatile, Namespace: "/é", TraceContext: strings.Repeat("t", adapter.MaxTraceContext), Payload: bytes.Repeat([]byte{0}, 300), Attachments: [][]byte{{}, {1, 2}}},
	}
}

func TestFrame_RoundTrip(t *testing.T) {
	t.Parallel()
	want := samples()
	got, err := decodeFrame(encode(want...), len(want))
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if (got[i] == nil) != (want[i] == nil) || want[i] != nil && fields(got[i]) != fields(want[i]) {
			t.Errorf("packet %d: %v", i, got[i])
		}
	}
	if n := countPackets(encode(want...)); n != len(want) {
		t.Errorf("counted %d packets", n)
	}
}

// fields returns the fields of e that a frame contains.
func fields(e *adapter.Envelope) string {
	return fmt.Sprintf("%d %q %q %q %q %q", e.Kind, e.Namespace, e.Audience, e.Payload, e.Attachments, e.TraceContext)
}

// TestFrame_TraceContextTooLong: it is neither written nor read, and the packet is.
func TestFrame_TraceContextTooLong(t *testing.T) {
	t.Parallel()
	e := &adapter.Envelope{Namespace: "/", Payload: []byte("[]"), TraceContext: strings.Repeat("t", adapter.MaxTraceContext+1)}
	frame := encode(e)
	if bytes.Contains(frame, []byte("tt")) {
		t.Error("written")
	}
	long := appendName(frame, e.TraceContext) // by a program with another limit
	binary.BigEndian.PutUint32(long[2:], uint32(len(long)-6))
	for _, frame := range [][]byte{frame, long} {
		got, err := decodeFrame(frame, 1)
		if err != nil || got[0].TraceContext != "" || string(got[0].Payload) != "[]" {
			t.Errorf("read %v, %v", got, err)
		}
	}
}

func TestFrame_Truncated(t *testing.T) {
	t.Parallel()
	frame := encode(samples()[:3]...)
	for n := range frame {
		if _, err := decodeFrame(frame[:n], 3); err == nil {
			t.Errorf("the first %d of %d bytes were accepted", n, len(frame))
		}
	}
	for _, packets := range []int{-1, 0, 2, 4, maxPackets + 1} {
		if _, err := decodeFrame(frame, packets); err == nil {
			t.Errorf("%d packets were accepted, there are 3", packets)
		}
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(encode(samples()...), len(samples()))
	f.Add([]byte("\x01\x00\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02[]\x00\x00\x00\x00"), 1) // an empty trace context
	f.Add([]byte{1, 0, 255, 255, 255, 255}, 1)
	f.Add([]byte{1, 255, 0, 0, 0, 0}, 1)
	f.Fuzz(func(t *testing.T, frame []byte, packets int) {
		es, err := decodeFrame(frame, packets)
		if err != nil {
			return
		}
		again, err := decodeFrame(encode(es...), packets)
		if err != nil || !reflect.DeepEqual(es, again) {
			t.Errorf("%q does not survive: %v", frame, err)
		}
	})
}

func TestText_RoundTrip(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "a", "\x00", "\xff", hexPrefix, hexPrefix + "zz", hexPrefix + "00", "é"} {
		if text := toText(s); !isText(text) || fromText(text) != s {
			t.Errorf("%q became %q became %q", s, text, fromText(text))
		}
	}
}

func TestFrame_CheckValues(t *testing.T) {
	t.Parallel()
	seen := make(map[uint32]bool)
	for origin := range int64(50) {
		for seq := range int64(200) {
			seen[checkValue(1, origin, seq)] = true
		}
	}
	if len(seen) < 50*200-30 { // 10,000 of 2^32: about 0.01 collisions are expected
		t.Errorf("%d of %d are different", len(seen), 50*200)
	}
}
