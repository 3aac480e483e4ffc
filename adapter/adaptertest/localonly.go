package adaptertest

import (
	"slices"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/pgsocket/socketio/adapter"
)

// localOnly returns an event whose LocalOnly is the given function.
func localOnly(hint func() bool, format string, args ...any) *adapter.Envelope {
	e := Event(format, args...)
	e.LocalOnly = hint
	return e
}

func yes() bool { return true }

func localOnlyNotInRecord(t *testing.T, log Log) {
	a := log.Node(t)
	r, at := Bound(t, a)
	sent := localOnly(yes, "local")
	Publish(t, a, sent)
	got := r.Expect(t, 1)
	kept, err := Collect(a.Read(within(t), at.Position, got[0].Offset.Position))
	if err != nil || len(kept) != 1 {
		t.Fatalf("read %d deliveries, %v; want 1", len(kept), err)
	}
	for _, d := range append(kept, got...) {
		if d.LocalOnly != nil || string(d.Payload) != "local" {
			t.Errorf("delivery %q has a LocalOnly: %v", d.Payload, d.LocalOnly != nil)
		}
	}
	if sent.LocalOnly == nil {
		t.Error("Publish changed the envelope")
	}
}

func localOnlyOrder(t *testing.T, log Log) {
	a, b := log.Node(t), log.Node(t)
	ra, _ := Bound(t, a)
	rb, _ := Bound(t, b)
	const n = 200
	for i := range n {
		for k, node := range []adapter.Adapter{a, b} {
			e := Event("%d %d", k, i)
			if i%(2+k) == 0 {
				e = localOnly(yes, "%d %d", k, i)
			}
			receipt := Publish(t, node, e)
			if i%5 == 4 { // otherwise a few batches would hold most of them
				if err := receipt.Wait(within(t)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	// The last events notify every node, which then reads the earlier ones too.
	for k, node := range []adapter.Adapter{a, b} {
		Publish(t, node, Event("%d %d", k, n))
	}
	first := ra.Expect(t, 2*n+2)
	checkStorm(t, first, 2, n+1)
	if got := rb.Expect(t, 2*n+2); !slices.EqualFunc(got, first, same) {
		t.Error("two nodes received different orders")
	}
}

// The hint is true when the event is published, and false after its delivery.
func localOnlySocketMoved(t *testing.T, log Log) {
	a, b := log.Node(t), log.Node(t)
	Bound(t, a)
	r, _ := Bound(t, b)
	for i := range 10 {
		var asked atomic.Bool
		Publish(t, a, localOnly(func() bool { return !asked.Swap(true) }, "%d", i))
		if got := r.Expect(t, i+1); string(got[i].Payload) != strconv.Itoa(i) {
			t.Fatalf("delivered %q, want %d", got[i].Payload, i)
		}
	}
}
