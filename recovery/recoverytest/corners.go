package recoverytest

import (
	"slices"
	"testing"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// roomLeftBeforeTheFirstRecord joins and leaves rooms at position zero, where every
// log begins: one by one, and as a session is opened.
func roomLeftBeforeTheFirstRecord(t *testing.T, c Cluster) {
	n := c.start(t)
	if n.position() != 0 {
		t.Skip("the log is not empty")
	}
	s := n.open(t, func(s *recovery.Session) {
		s.Rooms = []recovery.Stay{{Room: "before", Ended: true}, {Room: "stays"}}
	})
	n.change(t, s.Key, recovery.Change{Join: []string{"again", "once"}})
	n.change(t, s.Key, recovery.Change{Leave: []string{"again", "once"}})
	n.change(t, s.Key, recovery.Change{Join: []string{"again"}})
	joined := n.store.Change(s.Key, recovery.Change{Join: []string{"together"}})
	n.change(t, s.Key, recovery.Change{Leave: []string{"together"}})
	if err := joined.Wait(within(t)); err != nil {
		t.Fatal(err)
	}
	var in []string
	for _, stay := range n.resume(t, s.PIDHash, "").Rooms {
		if !stay.Ended {
			in = append(in, stay.Room)
		}
	}
	if slices.Sort(in); !slices.Equal(in, []string{"again", "stays"}) {
		t.Errorf("in rooms %q", in)
	}
}

// whatWasProvenOutlivesCuts has a client come back whose offset is trimmed, again and
// again, and cuts it off each time before it has processed what it was sent.
func whatWasProvenOutlivesCuts(t *testing.T, c Cluster) {
	n := c.start(t)
	for name, silent := range map[string]bool{"quiet": false, "silent": true} {
		s := n.open(t, nil)
		var last adapter.Offset
		if !silent {
			last = n.emit(t)
		}
		c.Trim(t)
		n.sync(t)
		n.park(t, s.Key, last)
		at := n.position()
		for round := range 5 {
			sent := n.emit(t)
			got := n.resume(t, s.PIDHash, last.String())
			if got.From != at || got.Last != last {
				t.Fatalf("%s, round %d: from %d, last %v; served up to %d", name, round, got.From, got.Last, at)
			}
			n.park(t, got.Key, sent)
		}
		// A client that has processed some of it goes on from there.
		processed := n.emit(t)
		n.emit(t)
		got := n.resume(t, s.PIDHash, processed.String())
		n.park(t, got.Key, n.emit(t))
		if got = n.resume(t, s.PIDHash, processed.String()); got.From != processed.Position {
			t.Errorf("%s: from %d, processed up to %d", name, got.From, processed.Position)
		}
	}
}
