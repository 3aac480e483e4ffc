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

func resumeOtherNode(t *testing.T, c Cluster) {
	a, b := c.start(t), c.start(t)
	s := a.open(t, nil)
	o := a.emit(t)
	got := b.resume(t, s.PIDHash, o.String())
	if !got.OwnedElsewhere || got.From != o.Position {
		t.Errorf("OwnedElsewhere %v, from %d; want true, %d", got.OwnedElsewhere, got.From, o.Position)
	}
	if err := a.store.Change(s.Key, recovery.Change{Join: []string{"r"}}).Wait(within(t)); !errors.Is(err, recovery.ErrLost) {
		t.Errorf("Change by the former owner: %v", err)
	}
	if err := a.store.Change(got.Key, recovery.Change{Join: []string{"r"}}).Wait(within(t)); !errors.Is(err, recovery.ErrLost) {
		t.Errorf("Change by a node that does not own the session: %v", err)
	}
	if err := b.log.WaitDelivered(within(t)); err != nil {
		t.Fatal(err)
	}
	b.park(t, got.Key, o)
	if back := a.resume(t, s.PIDHash, o.String()); back.OwnedElsewhere {
		t.Error("OwnedElsewhere of a parked session")
	}
}

func expiryReportedOnce(t *testing.T, c Cluster) {
	a, b := c.start(t), c.start(t)
	const n = 100
	for range n {
		s := a.open(t, func(s *recovery.Session) { s.Window = time.Millisecond })
		a.park(t, s.Key, adapter.Offset{})
	}
	reported := func() int { return len(a.ended()) + len(b.ended()) }
	for deadline := time.Now().Add(patience); reported() < n && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	seen := make(map[string]bool)
	for _, s := range append(a.ended(), b.ended()...) {
		if seen[s.PIDHash] {
			t.Errorf("Expired was called twice for %s", s.PIDHash)
		}
		seen[s.PIDHash] = true
	}
	if len(seen) != n {
		t.Errorf("Expired was called for %d sessions, want %d", len(seen), n)
	}
}

func resumeConnectionStorm(t *testing.T, c Cluster) {
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
				t.Errorf("resumed session %+v, want one room and OwnedElsewhere", got)
			}
			if err := b.store.Change(got.Key, recovery.Change{At: 1, Join: []string{"x"}}).Wait(t.Context()); err != nil {
				t.Errorf("Change: %v", err)
			}
		})
	}
	wg.Wait()
}
