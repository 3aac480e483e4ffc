package adaptertest

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/pgsocket/socketio/adapter"
)

func readEveryRange(t *testing.T, log Log) {
	a := log.Node(t)
	r, at := Bound(t, a)
	for i := range 40 {
		Publish(t, a, Event("%d", i))
		if i%4 == 0 { // so that ranges begin and end within a batch and between two
			if err := a.WaitDelivered(within(t)); err != nil {
				t.Fatal(err)
			}
		}
	}
	checkReads(t, a, r.Expect(t, 40), at.Position)
}

// checkReads reads every range between two deliveries.
func checkReads(t *testing.T, a adapter.Adapter, all []adapter.Delivery, begin adapter.Position) {
	t.Helper()
	ends := []adapter.Position{begin}
	for _, d := range all {
		ends = append(ends, d.Offset.Position)
	}
	for i := range ends {
		for j := i; j < len(ends); j++ {
			got, err := Collect(a.Read(within(t), ends[i], ends[j]))
			if err != nil {
				t.Fatalf("(%d, %d]: %v", i, j, err)
			}
			if !slices.EqualFunc(got, all[i:j], same) {
				t.Fatalf("(%d, %d]: got %q, want %q", i, j, Payloads(got), Payloads(all[i:j]))
			}
		}
	}
}

func same(a, b adapter.Delivery) bool {
	return a.Offset == b.Offset && normal(a.Envelope) == normal(b.Envelope)
}

func readDuringPublish(t *testing.T, log Log) {
	a := log.Node(t)
	r, at := Bound(t, a)
	var wg sync.WaitGroup
	wg.Go(func() { storm(t, []adapter.Adapter{a}, 4, 300) })
	for len(r.Deliveries()) < 1200 {
		all := r.Deliveries()
		if len(all) == 0 {
			r.Expect(t, 1)
			continue
		}
		from := at.Position
		if n := len(all); n > 200 {
			from = all[n-200].Offset.Position
			all = all[n-199:]
		}
		got, err := Collect(a.Read(within(t), from, all[len(all)-1].Offset.Position))
		if err != nil || !slices.EqualFunc(got, all, same) {
			t.Fatalf("read %d, %v; delivered %d", len(got), err, len(all))
		}
		if t.Failed() {
			break
		}
	}
	wg.Wait()
}

func readAnotherNode(t *testing.T, log Log) {
	a := log.Node(t)
	r, at := Bound(t, a)
	for i := range 20 {
		Publish(t, a, Event("%d", i))
	}
	all := r.Expect(t, 20)
	late := log.Node(t) // bound after the events: reads them from the log
	Bound(t, late)
	checkReads(t, late, all, at.Position)
}

// A client that received a record from one node may return to another at once.
func readAfterReceiptOfAnotherNode(t *testing.T, log Log) {
	a, b := log.Node(t), log.Node(t)
	Bound(t, a)
	Bound(t, b)
	for i := range 20 {
		at := Append(t, a, Event("%d", i))
		got, err := Collect(b.Read(within(t), at.Position-1, at.Position))
		if err != nil || len(got) != 1 || got[0].Offset != at {
			t.Fatalf("after the receipt of record %d: %d records, %v", i, len(got), err)
		}
	}
}

func readTrimmed(t *testing.T, log Log) {
	a := log.Node(t)
	r, at := Bound(t, a)
	for i := range 10 {
		Publish(t, a, Event("%d", i))
	}
	old := r.Expect(t, 10)
	log.Trim(t)
	Publish(t, a, Event("kept"))
	if err := a.WaitDelivered(within(t)); err != nil {
		t.Fatal(err)
	}
	all := r.Deliveries()
	head := all[len(all)-1].Offset.Position
	for _, from := range []adapter.Position{at.Position, old[0].Offset.Position, old[8].Offset.Position} {
		yields := 0
		for ds, err := range a.Read(within(t), from, head) {
			yields++
			if len(ds) > 0 || !errors.Is(err, adapter.ErrTrimmed) {
				t.Errorf("read from %d: %d deliveries, %v", from, len(ds), err)
			}
		}
		if yields != 1 {
			t.Errorf("read from %d yielded %d times", from, yields)
		}
	}
	got, err := Collect(a.Read(within(t), all[len(all)-2].Offset.Position, head))
	if err != nil || len(got) != 1 || string(got[0].Payload) != "kept" {
		t.Errorf("read of the kept records: %q, %v", Payloads(got), err)
	}
	if resets := r.Resets(); len(resets) > 0 {
		t.Errorf("LogGap on a node that had read every record: %v", resets)
	}
}
