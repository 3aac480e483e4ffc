package recoverytest

import (
	"slices"
	"testing"

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
	for _, stay := range n.resume(t, s.PID, "").Rooms {
		if !stay.Ended {
			in = append(in, stay.Room)
		}
	}
	if slices.Sort(in); !slices.Equal(in, []string{"again", "stays"}) {
		t.Errorf("in rooms %q", in)
	}
}
