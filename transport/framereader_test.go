package transport

import (
	"bufio"
	"bytes"
	"io"
	"runtime"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

func readerOf(in io.Reader, limit int64) *frameReader {
	return &frameReader{in: bufio.NewReaderSize(in, readBuffer), limit: limit, pools: new(pools)}
}

// FuzzFrameReader reads arbitrary bytes: no panic, no message over the limit, no
// invalid text, and memory in proportion to the bytes sent.
func FuzzFrameReader(f *testing.F) {
	mask := func(op ws.OpCode, fin bool, n int) []byte {
		return ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(op, fin, bytes.Repeat([]byte("4"), n))))
	}
	f.Add(mask(ws.OpText, true, 5))
	f.Add(mask(ws.OpBinary, true, 2000))
	f.Add(append(append(mask(ws.OpText, false, 600), mask(ws.OpPing, true, 3)...), mask(ws.OpContinuation, true, 10)...))
	f.Add([]byte{0x82, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 0, 1, 2, 3, 4, 5})
	f.Add(mask(ws.OpClose, true, 2))

	const limit = 1 << 20
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := readerOf(bytes.NewReader(wire), limit)
		for {
			op, data, end := r.next()
			if end != nil {
				if end.reason == "" || end.cause == nil {
					t.Fatalf("ending without a reason: %+v", end)
				}
				break
			}
			if len(data) > limit || len(data) > len(wire) {
				t.Fatalf("%d bytes out of %d", len(data), len(wire))
			}
			if op.IsControl() && len(data) > 125 || op == ws.OpText && !utf8.Valid(data) {
				t.Fatalf("%x %q", op, data)
			}
		}
		if r.part != nil && cap(r.part.bytes) > 4*len(wire)+2*firstRead {
			t.Fatalf("%d bytes allocated for %d received", cap(r.part.bytes), len(wire))
		}
	})
}

// TestFrameReader_AnnouncedLength_NotAllocated checks that a header alone takes no memory. It
// is not parallel because it counts the allocations of the process.
//
//nolint:paralleltest // it counts allocations
func TestFrameReader_AnnouncedLength_NotAllocated(t *testing.T) {
	const limit = 1 << 30
	header := ws.Header{Fin: true, OpCode: ws.OpBinary, Masked: true, Length: limit}
	var head bytes.Buffer
	if err := ws.WriteHeader(&head, header); err != nil {
		t.Fatal(err)
	}

	for _, sent := range []int{0, 1, 100_000, 5_000_000} {
		r := readerOf(io.MultiReader(bytes.NewReader(head.Bytes()), io.LimitReader(zeros{}, int64(sent))), limit)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, end := r.next()
		runtime.ReadMemStats(&after)
		if end == nil || end.reason != ReasonTransportClose {
			t.Fatalf("got %v", end)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > uint64(8*sent+3*firstRead) || cap(r.part.bytes) > 2*sent+2*firstRead {
			t.Errorf("%d sent: %d bytes allocated, %d held", sent, got, cap(r.part.bytes))
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
