package recoverytest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

func anyNodeTakesOver(t *testing.T, c Cluster) {
	a, b := c.start(t), c.start(t)
	s := a.open(t, nil)
	o := a.emit(t)
	got := b.resume(t, s.PIDHash, o.String())
	if !got.OwnedElsewhere || got.From != o.Position {
		t.Errorf("elsewhere %v, from %d", got.OwnedElsewhere, got.From)
	}
	if err := a.store.Change(s.Key, recovery.Change{Join: []string{"r"}}).Wait(within(t)); !errors.Is(err, recovery.ErrLost) {
		t.Errorf("the former holder's change: %v", err)
	}
	if err := a.store.Change(got.Key, recovery.Change{Join: []string{"r"}}).Wait(within(t)); !errors.Is(err, recovery.ErrLost) {
		t.Errorf("a change by a node that does not hold it: %v", err)
	}
	if err := b.log.WaitDelivered(within(t)); err != nil {
		t.Fatal(err)
	}
	b.park(t, got.Key, o)
	if back := a.resume(t, s.PIDHash, o.String()); back.OwnedElsewhere {
		t.Error("a parked session is elsewhere")
	}
}

func oneNodeIsToldOfTheEnd(t *testing.T, c Cluster) {
	a, b := c.start(t), c.start(t)
	const n = 100
	for range n {
		s := a.open(t, func(s *recovery.Session) { s.Window = time.Millisecond })
		a.park(t, s.Key, adapter.Offset{})
	}
	told := func() int { return len(a.ended()) + len(b.ended()) }
	for deadline := time.Now().Add(patience); told() < n && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	seen := make(map[string]bool)
	for _, s := range append(a.ended(), b.ended()...) {
		if seen[s.PIDHash] {
			t.Errorf("%s was told twice", s.PIDHash)
		}
		seen[s.PIDHash] = true
	}
	if len(seen) != n {
		t.Errorf("told of %d sessions, want %d", len(seen), n)
	}
}

func aStormIsServed(t *testing.T, c Cluster) {
	a, b := c.start(t), c.start(t)
	const n = 1500
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			s := a.session()
			s.PIDHash = fmt.Sprintf("storm-%d-%s", i, s.PIDHash)
			s.Rooms = []recovery.RoomInterval{{Room: "r", Joined: s.Opened}}
			if err := a.store.Open(s).Wait(t.Context()); err != nil {
				t.Errorf("Open: %v", err)
				return
			}
			got, err := b.store.Resume(t.Context(), recovery.ResumeRequest{PIDHash: s.PIDHash, Namespace: "/"})
			if err != nil {
				t.Errorf("Resume: %v", err)
				return
			}
			if len(got.Rooms) != 1 || !got.OwnedElsewhere {
				t.Errorf("%+v", got)
			}
			if err := b.store.Change(got.Key, recovery.Change{At: 1, Join: []string{"x"}}).Wait(t.Context()); err != nil {
				t.Errorf("Change: %v", err)
			}
		})
	}
	wg.Wait()
}
