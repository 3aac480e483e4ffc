package adaptertest

import (
	"slices"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/pgsocket/socketio/adapter"
)

// near returns an event whose Here reports what is given.
func near(here func() bool, format string, args ...any) *adapter.Envelope {
	e := Event(format, args...)
	e.LocalOnly = here
	return e
}

func yes() bool { return true }

func hereIsNoPartOfTheRecord(t *testing.T, log Log) {
	a := log.Node(t)
	r, at := Bound(t, a)
	sent := near(yes, "near")
	Publish(t, a, sent)
	got := r.Expect(t, 1)
	kept, err := Collect(a.Read(within(t), at.Position, got[0].Offset.Position))
	if err != nil || len(kept) != 1 {
		t.Fatalf("read %d, %v", len(kept), err)
	}
	for _, d := range append(kept, got...) {
		if d.LocalOnly != nil || string(d.Payload) != "near" {
			t.Errorf("%q has a Here: %v", d.Payload, d.LocalOnly != nil)
		}
	}
	if sent.LocalOnly == nil {
		t.Error("the envelope was changed")
	}
}

func whatIsNearKeepsTheOneOrder(t *testing.T, log Log) {
	a, b := log.Node(t), log.Node(t)
	ra, _ := Bound(t, a)
	rb, _ := Bound(t, b)
	const n = 200
	for i := range n {
		for k, node := range []adapter.Adapter{a, b} {
			e := Event("%d %d", k, i)
			if i%(2+k) == 0 {
				e = near(yes, "%d %d", k, i)
			}
			receipt := Publish(t, node, e)
			if i%5 == 4 { // else most would gather in a few batches
				if _, err := receipt.Wait(within(t)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	// The last ones are for all, and bring along what the others have not read yet.
	for k, node := range []adapter.Adapter{a, b} {
		Publish(t, node, Event("%d %d", k, n))
	}
	first := ra.Expect(t, 2*n+2)
	checkStorm(t, first, 2, n+1)
	if got := rb.Expect(t, 2*n+2); !slices.EqualFunc(got, first, same) {
		t.Error("two nodes saw different orders")
	}
}

// Who is meant was on the node when the event was published, and is elsewhere when
// it is delivered.
func whoHasLeftIsToldElsewhere(t *testing.T, log Log) {
	a, b := log.Node(t), log.Node(t)
	Bound(t, a)
	r, _ := Bound(t, b)
	for i := range 10 {
		var asked atomic.Bool
		Publish(t, a, near(func() bool { return !asked.Swap(true) }, "%d", i))
		if got := r.Expect(t, i+1); string(got[i].Payload) != strconv.Itoa(i) {
			t.Fatalf("delivered %q", got[i].Payload)
		}
	}
}
