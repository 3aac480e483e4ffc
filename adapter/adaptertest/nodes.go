package adaptertest

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/pgsocket/socketio/adapter"
)

func deliverEveryKindAndSize(t *testing.T, log Log) {
	a, b := log.Node(t), log.Node(t)
	Bound(t, a)
	r, _ := Bound(t, b)
	large := bytes.Repeat([]byte("0123456789abcdef"), 65_536)
	var sent []*adapter.Envelope
	kinds := []adapter.Kind{adapter.History, adapter.Watch}
	for kind := range adapter.NodeLeft {
		kinds = append(kinds, kind)
	}
	for _, kind := range kinds {
		for _, body := range [][]byte{nil, []byte("small"), large} {
			e := &adapter.Envelope{Kind: kind, Namespace: "/", Audience: adapter.Audience{Rooms: []string{"r"}}, Payload: body}
			if body != nil {
				e.Attachments = [][]byte{{0, 255}, body[:len(body)/2]}
			}
			sent = append(sent, e)
			Publish(t, a, e)
		}
	}
	for i, d := range r.Expect(t, len(sent)) {
		if normal(d.Envelope) != normal(sent[i]) {
			t.Errorf("envelope of kind %d with %d bytes was delivered changed", sent[i].Kind, len(sent[i].Payload))
		}
	}
}

func nodes(t *testing.T, a adapter.Adapter) []adapter.Node {
	t.Helper()
	ns, err := a.Nodes(within(t))
	if err != nil {
		t.Fatalf("Nodes: %v", err)
	}
	return ns
}

func ids(ns []adapter.Node) []string {
	var all []string
	for _, n := range ns {
		all = append(all, n.ID)
	}
	return all
}

func nodesBound(t *testing.T, log Log) {
	a := log.Node(t)
	if ns := nodes(t, a); len(ns) != 0 {
		t.Errorf("nodes before Bind: %v", ns)
	}
	before := time.Now()
	r, at := Bound(t, a)
	ns := nodes(t, a)
	if len(ns) != 1 || ns[0].ID != r.ID() || ns[0].StartPosition != at.Position || ns[0].Name == "" {
		t.Fatalf("bound as %s at %d: %+v", r.ID(), at.Position, ns)
	}
	// The log may have another clock, and the node may have started before Bind.
	if ns[0].Seen.Before(ns[0].Started) || ns[0].Started.Before(before.Add(-time.Hour)) {
		t.Errorf("started %v, seen %v", ns[0].Started, ns[0].Seen)
	}
}

func nodesSeveral(t *testing.T, log Log) {
	a, b, unbound := log.Node(t), log.Node(t), log.Node(t)
	ra, _ := Bound(t, a)
	Publish(t, a, Event("first"))
	rb, at := Bound(t, b)
	for of, want := range map[adapter.Adapter][]string{a: {ra.ID(), rb.ID()}, b: {rb.ID(), ra.ID()}} {
		ns := nodes(t, of)
		if !slices.Equal(ids(ns), want) {
			t.Fatalf("nodes %v, want %v", ids(ns), want)
		}
		for _, n := range ns {
			if n.ID == rb.ID() && n.StartPosition != at.Position {
				t.Errorf("bound at %d, listed with %d", at.Position, n.StartPosition)
			}
		}
	}
	if ns := nodes(t, unbound); len(ns) != 2 {
		t.Errorf("an unbound node lists %v, want 2 nodes", ids(ns))
	}
}

// three returns three bound nodes and the recorders of the first two.
func three(t *testing.T, log Log) (all []adapter.Adapter, rs []*Recorder, third string) {
	t.Helper()
	for range 3 {
		a := log.Node(t)
		r, _ := Bound(t, a)
		all, rs = append(all, a), append(rs, r)
	}
	return all, rs[:2], rs[2].ID()
}

// checkLeft checks that the other nodes receive one NodeLeft for the third node, and do
// not list it.
func checkLeft(t *testing.T, all []adapter.Adapter, rs []*Recorder, third string) {
	t.Helper()
	for i, r := range rs {
		if err := r.Await(within(t), func(got []adapter.Delivery, _ []error) bool { return len(departures(got)) > 0 }); err != nil {
			t.Fatalf("wait for NodeLeft: %v", err)
		}
		if ns := ids(nodes(t, all[i])); slices.Contains(ns, third) || len(ns) != 2 {
			t.Errorf("nodes %v, want two without %s", ns, third)
		}
	}
	// A second NodeLeft would be delivered before this event.
	Append(t, all[0], Event("end"))
	for i, r := range rs {
		if i == 0 {
			if err := all[0].WaitDelivered(within(t)); err != nil {
				t.Fatal(err)
			}
		}
		if got := departures(r.Deliveries()); len(got) != 1 || got[0] != third {
			t.Errorf("node %d received NodeLeft for %v, want %s once", i, got, third)
		}
	}
}

// departures returns the IDs in the NodeLeft envelopes among the deliveries.
func departures(ds []adapter.Delivery) []string {
	var left []string
	for _, d := range ds {
		if d.Kind == adapter.NodeLeft {
			left = append(left, string(d.Payload))
		}
	}
	return left
}

func nodeLeftClosed(t *testing.T, log Log) {
	all, rs, third := three(t, log)
	log.Close(t, all[2])
	checkLeft(t, all, rs, third)
}

func nodeLeftKilled(t *testing.T, log Log) {
	all, rs, third := three(t, log)
	log.Kill(t, all[2])
	checkLeft(t, all, rs, third)
}

func nodeLeftFrozen(t *testing.T, log Log) {
	all, rs, third := three(t, log)
	thaw := log.Freeze(t, all[2])
	checkLeft(t, all, rs, third)
	o := Append(t, all[0], Event("meanwhile"))
	thaw()
	for ctx := within(t); ; {
		ns := nodes(t, all[0])
		if i := slices.Index(ids(ns), third); i >= 0 {
			if ns[i].StartPosition > o.Position {
				t.Errorf("the node starts again after %d and misses %d", ns[i].StartPosition, o.Position)
			}
			return
		}
		if ctx.Err() != nil {
			t.Fatal("the node was not listed again")
		}
	}
}
