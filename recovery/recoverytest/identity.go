package recoverytest

import (
	"errors"
	"testing"

	"github.com/pgsocket/socketio/recovery"
)

func identityCompared(t *testing.T, c Cluster) {
	n := c.start(t)
	alice, mallory := recovery.HashIdentity("secret", "alice"), recovery.HashIdentity("secret", "mallory")
	s := n.open(t, func(s *recovery.Session) { s.Identity = alice })
	request := func(identity string) recovery.ResumeRequest {
		return recovery.ResumeRequest{PIDHash: s.PIDHash, Namespace: "/", Identity: identity}
	}
	refused := func() {
		t.Helper()
		for _, other := range []string{mallory, "", alice + "x", alice[:1]} {
			n.refused(t, request(other), recovery.ErrIdentity)
		}
	}
	refused()
	n.change(t, s.Key, recovery.Change{At: n.position(), Join: []string{"r"}}) // still owned
	n.park(t, s.Key, n.emit(t))
	refused()
	for range 2 {
		got, err := n.store.Resume(within(t), request(alice))
		if err != nil || got.Identity != alice {
			t.Fatalf("Resume: %+v, %v", got, err)
		}
		sameRooms(t, got.Rooms, []recovery.RoomInterval{{Room: "r", Joined: s.Opened}})
		refused()
	}
}

func identityBoundToFirst(t *testing.T, c Cluster) {
	n := c.start(t)
	s := n.open(t, nil)
	n.resume(t, s.PIDHash, "")
	alice := recovery.HashIdentity("secret", "alice")
	got, err := n.store.Resume(within(t), recovery.ResumeRequest{PIDHash: s.PIDHash, Namespace: "/", Identity: alice})
	if err != nil || got.Identity != alice {
		t.Fatalf("Resume: %+v, %v", got, err)
	}
	if _, err := n.store.Resume(within(t), recovery.ResumeRequest{PIDHash: s.PIDHash, Namespace: "/"}); !errors.Is(err, recovery.ErrIdentity) {
		t.Errorf("Resume without identity: %v", err)
	}
}
