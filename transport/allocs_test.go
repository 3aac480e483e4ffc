//go:build !race

// The race detector makes sync.Pool drop items at random, so allocations are counted
// without it. The tests are not parallel because they count those of the process.

package transport

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// TestRead_NoAllocations checks that small messages are returned in place, and larger
// ones in a pooled buffer.
//
//nolint:paralleltest // it counts allocations
func TestRead_NoAllocations(t *testing.T) {
	for _, size := range []int{1, 100, 512, 4000, 60_000} {
		wire := ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte(strings.Repeat("4", size)))))
		in := bytes.NewReader(wire)
		r := readerOf(in, 1<<20)
		read := func() {
			in.Reset(wire)
			r.in.Reset(in)
			if _, data, end := r.next(); end != nil || len(data) != size {
				t.Fatalf("got %d bytes, %v", len(data), end)
			}
			r.release()
		}
		read()
		if n := testing.AllocsPerRun(100, read); n >= 1 {
			t.Errorf("%d bytes: %v allocations", size, n)
		}
	}
}

// sink is a transport that reports its writes.
type sink struct{ wrote chan struct{} }

func (c *sink) wake(s *Session)                  { go s.work() }
func (c *sink) write(*Session, []*Message) error { c.wrote <- struct{}{}; return nil }
func (c *sink) stopReading()                     {}
func (c *sink) finish(*Session, *ending)         {}
func (c *sink) close()                           {}

//nolint:paralleltest // it counts allocations
func TestSend_NoAllocations(t *testing.T) {
	server, err := NewServer(nil, func(*Session, *http.Request) Receiver { return nil })
	if err != nil {
		t.Fatal(err)
	}
	c := &sink{wrote: make(chan struct{})}
	s := newSession(server, c, "", nil)
	go s.work()
	<-c.wrote // the handshake

	m := Text([]byte("hello"))
	send := func() {
		if err := s.Send(m); err != nil {
			t.Fatal(err)
		}
		<-c.wrote
	}
	for range 100 { // fill the pools
		send()
	}
	if n := testing.AllocsPerRun(1000, send); n >= 1 {
		t.Errorf("%v allocations per Send and write", n)
	}

	s.Abort(ReasonForcedClose)
}
