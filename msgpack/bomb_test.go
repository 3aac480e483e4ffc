package msgpack_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/tinylib/msgp/msgp"

	"github.com/pgsocket/socketio/msgpack"
	"github.com/pgsocket/socketio/packet"
)

// allocated returns the bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// named returns an event with one array of the elements.
func named(count uint32, elements []byte) []byte {
	args := msgp.AppendString(msgp.AppendArrayHeader(nil, 2), "e")
	return message(2, "/", append(msgp.AppendArrayHeader(args, count), elements...))
}

// repeated returns a packet with a number of members after its type and namespace.
func repeated(count uint32, member []byte) []byte {
	m := msgp.AppendMapHeader(nil, 2+count)
	m = msgp.AppendInt(msgp.AppendString(m, "type"), 1)
	m = msgp.AppendString(msgp.AppendString(m, "nsp"), "/")
	return append(m, bytes.Repeat(member, int(count))...)
}

//nolint:paralleltest // it measures what the process allocates
func TestDecode_Amplification_IsBounded(t *testing.T) {
	const size = 300_000
	for name, c := range map[string]struct {
		message []byte
		want    error // nil: the message is accepted
		most    uint64
	}{
		"empty attachments":          {named(size/2, bytes.Repeat([]byte{0xc4, 0}, size/2)), packet.ErrLimit, 2 * size},
		"empty array buffers":        {named(size/3, bytes.Repeat([]byte{0xc7, 0, 0}, size/3)), packet.ErrLimit, 2 * size},
		"attachments in the options": {message(0, "/", nil, append(append(msgp.AppendString(nil, "options"), 0xdd, 0, 1, 0, 0), bytes.Repeat([]byte{0xc4, 0}, 1<<16)...)...), packet.ErrLimit, 2 * size},
		"data again and again":       {repeated(size/6, append(msgp.AppendString(nil, "data"), 0xc0)), packet.ErrBody, raceFactor * 2 * size},
		"undefined":                  {named(size/3, bytes.Repeat([]byte{0xd4, 0, 0}, size/3)), nil, 20 * size},
		"null":                       {named(size, bytes.Repeat([]byte{0xc0}, size)), nil, 40 * size},
		"characters without a form":  {named(1, msgp.AppendStringFromBytes(nil, bytes.Repeat([]byte{1}, size))), nil, 50 * size},
		"small floats":               {named(size/5, bytes.Repeat(msgp.AppendFloat32(nil, -math.SmallestNonzeroFloat32), size/5)), nil, 40 * size},
		"dates":                      {named(size/10, bytes.Repeat([]byte{0xd7, 0, 0, 0, 0, 0, 0, 0, 0, 1}, size/10)), nil, 40 * size},
	} {
		var err error
		n := allocated(func() { _, err = decode(c.message) })
		if !errors.Is(err, c.want) || n > c.most {
			t.Errorf("%s: %v after %d bytes for a message of %d; want %v, at most %d", name, err, n, len(c.message), c.want, c.most)
		}
	}
}

func TestDecode_JSONLimit(t *testing.T) {
	t.Parallel()
	d := msgpack.Parser{}.NewDecoder(packet.Limits{MaxPacketBytes: 1000})
	if p, err := d.Decode(named(150, bytes.Repeat([]byte{0xc0}, 150)), true); err != nil {
		t.Errorf("%v, %v", p, err)
	}
	for name, m := range map[string][]byte{
		"many":  named(250, bytes.Repeat([]byte{0xc0}, 250)),
		"large": named(1, msgp.AppendStringFromBytes(nil, bytes.Repeat([]byte{1}, 250))),
	} {
		if p, err := d.Decode(m, true); !errors.Is(err, packet.ErrLimit) {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
}

// TestDecode_MapLikeAPlaceholder checks that such a map is refused in a packet with binary
// data, where it could not be distinguished from a placeholder.
func TestDecode_MapLikeAPlaceholder(t *testing.T) {
	t.Parallel()
	like := func(n int) string {
		m := msgp.AppendBool(msgp.AppendString(msgp.AppendMapHeader(nil, 2), "_placeholder"), true)
		return string(msgp.AppendInt(msgp.AppendString(m, "num"), n))
	}
	name, picture := string(msgp.AppendString(nil, "e")), string(msgp.AppendBytes(nil, []byte("picture")))
	for _, args := range [][]string{
		{name, like(0), picture},
		{name, picture, like(0)},
		{name, like(1), picture, picture},
		{name, picture, like(7)},
	} {
		if p, err := decode(message(2, "/", event(args...))); !errors.Is(err, packet.ErrPlaceholder) {
			t.Errorf("%q: %v, %v", args, p, err)
		}
	}
	p, err := decode(message(2, "/", event(name, like(7))))
	if err != nil || show(p) != `2["e",{"_placeholder":true,"num":7}] []` {
		t.Errorf("without binary data: %v, %v", p, err)
	}
}

func TestEncode_OneAttachmentForManyPlaceholders(t *testing.T) {
	t.Parallel()
	for _, data := range []string{
		`["e"` + strings.Repeat(`,{"_placeholder":true,"num":0}`, 1000) + `]`,
		`["e",{"_placeholder":true,"num":7}]`,
		`["e"]`,
	} {
		m, err := msgpack.Parser{}.Encode(&packet.Packet{
			Type: packet.BinaryEvent, Namespace: "/", Data: []byte(data), Attachments: [][]byte{make([]byte, 1000)},
		})
		if !errors.Is(err, packet.ErrPlaceholder) {
			t.Errorf("%.50s: %d messages, %v", data, len(m), err)
		}
	}
}

//nolint:paralleltest // it measures what the process allocates
func TestEncode_DeepNesting_NoCopies(t *testing.T) {
	const depth, size = 5000, 100_000
	for name, data := range map[string]string{
		"arrays":  strings.Repeat("[", depth) + `"` + strings.Repeat("x", size) + `"` + strings.Repeat("]", depth),
		"objects": "[" + strings.Repeat(`{"a":`, depth) + `"` + strings.Repeat("x", size) + `"` + strings.Repeat("}", depth) + "]",
	} {
		var err error
		var messages []packet.Message
		n := allocated(func() {
			messages, err = msgpack.Parser{}.Encode(&packet.Packet{Type: packet.Event, Namespace: "/", Data: []byte(data)})
		})
		if err != nil || n > 20*size {
			t.Errorf("%s: %d bytes allocated, %v", name, n, err)
		}
		if len(messages) != 1 || len(messages[0].Data) < size {
			t.Errorf("%s: %v", name, len(messages))
		}
	}
}

func TestEncode_ContainersOfEverySize(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 15, 16, 17, 255, 65_535, 65_536, 70_000} {
		if n <= 65_535 { // the limit of arguments, which nested arrays do not have
			p := &packet.Packet{Type: packet.Event, Namespace: "/", Data: []byte(`["e"` + strings.Repeat(`,0`, n) + `]`)}
			if n < 65_535 {
				roundTrip(t, p)
			}
		}
		var members []string
		for i := range n {
			members = append(members, fmt.Sprintf(`"k%d":[%d]`, i, i))
		}
		roundTrip(t, &packet.Packet{Type: packet.Event, Namespace: "/", Data: []byte(
			`["e",[` + strings.TrimSuffix(strings.Repeat(`7,`, n), ",") + `],{` + strings.Join(members, ",") + `},"end"]`)})
	}
}

// FuzzMemory decodes and encodes large messages, which repeat an arbitrary value, and
// measures the allocated memory.
func FuzzMemory(f *testing.F) {
	for _, seed := range [][]byte{{0xc4, 0}, {0xc0}, {0xd4, 0, 0}, {0xa1, 1}, {0x91, 0x80}, {0xc7, 0, 0}, msgp.AppendFloat32(nil, 1e-45)} {
		f.Add(seed, uint16(2_500))
	}
	f.Fuzz(func(t *testing.T, value []byte, times uint16) {
		m := named(uint32(times), bytes.Repeat(value, int(times)))
		if len(m) > 20_000 {
			return
		}
		var p *packet.Packet
		var err error
		if n := allocated(func() { p, err = decode(m) }); n > 64*uint64(len(m))+100_000 {
			t.Fatalf("%d bytes allocated to decode %d", n, len(m))
		}
		if err != nil {
			return
		}
		size := uint64(len(p.Data) + len(m))
		if n := allocated(func() { _, err = msgpack.Parser{}.Encode(p) }); err != nil || n > 64*size+100_000 {
			t.Fatalf("%d bytes allocated to encode %d, %v", n, size, err)
		}
	})
}
