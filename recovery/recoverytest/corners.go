package recoverytest

import (
	"slices"
	"testing"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// changeLeaveBeforeFirstRecord joins and leaves rooms at position zero, where every
// log begins: in single changes, and when a session is opened.
func changeLeaveBeforeFirstRecord(t *testing.T, c Cluster) {
	n := c.start(t)
	if n.position() != 0 {
		t.Skip("the log is not empty")
	}
	s := n.open(t, func(s *recovery.Session) {
		s.Rooms = []recovery.RoomInterval{{Room: "before", Ended: true}, {Room: "kept"}}
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
	for _, interval := range n.resume(t, s.PIDHash, "").Rooms {
		if !interval.Ended {
			in = append(in, interval.Room)
		}
	}
	if slices.Sort(in); !slices.Equal(in, []string{"again", "kept"}) {
		t.Errorf("in rooms %q, want again and kept", in)
	}
}

// trimRepeatedDisconnects repeatedly resumes with an offset that is trimmed; the
// client loses each connection before it has processed an event.
func trimRepeatedDisconnects(t *testing.T, c Cluster) {
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
		// A client that has processed some events continues after them.
		processed := n.emit(t)
		n.emit(t)
		got := n.resume(t, s.PIDHash, processed.String())
		n.park(t, got.Key, n.emit(t))
		if got = n.resume(t, s.PIDHash, processed.String()); got.From != processed.Position {
			t.Errorf("%s: from %d, processed up to %d", name, got.From, processed.Position)
		}
	}
}

// resumeLateOlderOffset resumes with offsets from before the last event that the client
// received, and parks the session at the beginning of each replay. The checkpoint and the
// rooms of the session must not regress: they are needed once the log is trimmed beyond
// those offsets.
func resumeLateOlderOffset(t *testing.T, c Cluster) {
	n := c.start(t)
	s := n.open(t, nil)
	older := []adapter.Offset{n.emit(t), n.emit(t), n.emit(t)}
	last := n.emit(t)
	n.emit(t) // not addressed to the session, as its node reports below
	served := n.position()
	end := func(k recovery.Key, at adapter.Position, last adapter.Offset) {
		if err := n.store.End(k, recovery.Release{Park: true, At: at, Last: last}).Wait(within(t)); err != nil {
			t.Fatalf("End: %v", err)
		}
	}
	end(s.Key, served, last)
	for _, offset := range older {
		late := n.resume(t, s.PIDHash, offset.String())
		if late.From != offset.Position || late.Applied != served {
			t.Errorf("late request: from %d, rooms complete up to %d; want %d and %d", late.From, late.Applied, offset.Position, served)
		}
		end(late.Key, late.From, late.Last)
	}
	if got := n.resume(t, s.PIDHash, last.String()); got.From != served || got.Last != last || got.Applied < served {
		t.Errorf("from %d, last %v, rooms complete up to %d; served up to %d", got.From, got.Last, got.Applied, served)
	}
}
