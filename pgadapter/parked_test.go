package pgadapter

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// An expiryRecorder is a node that records which sessions have expired.
type expiryRecorder struct {
	mu   sync.Mutex
	pids []string
}

func (m *expiryRecorder) Checkpoint(adapter.Position) (adapter.Position, []recovery.Progress) {
	return 0, nil
}

func (*expiryRecorder) Serving() bool { return true }

func (m *expiryRecorder) Expired(s *recovery.Session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pids = append(m.pids, s.PIDHash)
}

func TestSweep_MoreSessionsParkedThanAllowed_TheOldestAreOver(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const limit = 5
	nodes := []*DB{b.open(t, &Options{MaxParked: limit, Lease: time.Hour}), b.open(t, &Options{MaxParked: limit, Lease: time.Hour})}
	told := []*expiryRecorder{{}, {}}
	for i, db := range nodes {
		if err := db.Sessions().Bind(told[i]); err != nil {
			t.Fatal(err)
		}
	}
	store := nodes[0].Sessions()
	park := func(i int) {
		s := session(fmt.Sprintf("p%04d", i))
		s.Rooms = []recovery.RoomInterval{{Room: "r", Joined: 1}}
		mustOpen(t, nodes[0], s)
		if err := store.End(s.Key, recovery.Release{Park: true}).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	mustOpen(t, nodes[0], session("connected"))
	sweep := func() {
		t.Helper()
		var both sync.WaitGroup
		for _, db := range nodes {
			both.Go(func() {
				if err := db.sweeper.expire(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
	}
	for i := range limit {
		park(i)
	}
	sweep()
	if n := b.int(t, "select count(*) from sessions where node is null"); n != limit {
		t.Errorf("%d sessions are parked, want all %d", n, limit)
	}
	for i := limit; i < 3*limit; i++ {
		park(i)
	}
	sweep()
	if n := b.int(t, "select count(*) from sessions where node is null and pid_hash >= 'p0010'"); n != limit {
		t.Errorf("%d of the latest sessions are parked, want %d", n, limit)
	}
	if n := b.int(t, "select count(*) from session_rooms"); n != limit {
		t.Errorf("%d rooms are left, want %d", n, limit)
	}
	if n := b.int(t, "select count(*) from sessions"); n != limit+1 {
		t.Errorf("%d sessions, want %d and the connected one", n, limit)
	}
	all := slices.Sorted(slices.Values(slices.Concat(told[0].pids, told[1].pids)))
	if len(all) != 2*limit || all[0] != "p0000" || all[2*limit-1] != "p0009" {
		t.Errorf("expired: %q", all)
	}
	if _, err := store.Resume(t.Context(), recovery.ResumeRequest{PIDHash: "p0000", Namespace: "/"}); recovery.RefusalReason(err) == nil {
		t.Errorf("resume of a deleted session: %v", err)
	}
}

// A thousand clients per second connect and disconnect.
func TestSweep_AThousandSessionsTooMany_AreEndedInOneSweep(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, &Options{MaxParked: 100, Lease: time.Hour})
	if err := db.Sessions().Bind(&expiryRecorder{}); err != nil {
		t.Fatal(err)
	}
	b.exec(t, `insert into sessions (epoch, opened, covered, expires_at, window_ms, known, checkpointed, pid_hash, sid, namespace, initial_offset, last)
		select 1, 0, 0, now() + interval '1 hour' + i * interval '1 ms', 1000, true, true, 'p' || i, 's' || i, '/', '', '' from generate_series(1, 2500) i`)
	if err := db.sweeper.expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := b.int(t, "select count(*) from sessions where substr(pid_hash, 2)::int > 2400"); n != 100 {
		t.Errorf("%d of the latest sessions are left, want 100", n)
	}
	if n := b.int(t, "select count(*) from sessions"); n != 100 {
		t.Errorf("%d sessions are left, want 100", n)
	}
}
