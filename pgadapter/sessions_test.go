package pgadapter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/adapter/adaptertest"
	"github.com/pgsocket/socketio/recovery"
)

// crash ends a node as SIGKILL does: it does not end itself in Postgres.
func (db *DB) crash() {
	db.stop()
	db.publisher.cancel()
	db.sessions.cancel()
	db.running.Wait()
}

func session(pid string) *recovery.Session {
	return &recovery.Session{Key: recovery.Key{PIDHash: pid, Epoch: 1}, ID: "sid of " + pid, Namespace: "/", Window: time.Minute}
}

func mustOpen(t *testing.T, db *DB, s *recovery.Session) {
	t.Helper()
	if err := db.Sessions().Open(s).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestDeadNode_SessionsAreParked(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, _ := b.nodes(t, 3, &Options{Lease: time.Second})
	s := session("p")
	s.Rooms = []recovery.RoomInterval{{Room: "r", Joined: 1}}
	mustOpen(t, dbs[0], s)
	dbs[0].crash()
	eventually(t, "the session was parked", func() bool {
		return b.int(t, "select count(*) from sessions where node is null and expires_at > now() and epoch = 2") == 1
	})
	got, err := dbs[1].Sessions().Resume(t.Context(), recovery.ResumeRequest{PIDHash: "p", Namespace: "/"})
	if err != nil || got.OwnedElsewhere || len(got.Rooms) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	// Another node may have been declared dead for a moment as well.
	eventually(t, "the other nodes are registered", func() bool { return b.int(t, "select count(*) from nodes") == 2 })
}

func TestDeadNode_Reregisters(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, recorders := b.nodes(t, 2, &Options{Lease: 5 * time.Second})
	id := dbs[0].node.id.Load()
	s := session("p")
	mustOpen(t, dbs[0], s)
	b.declareDead(t, dbs[1], id)
	adaptertest.Publish(t, dbs[1], adaptertest.Event("on"))

	// The next write or heartbeat finds the row missing.
	if err := dbs[0].Sessions().Open(session("q")).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := recorders[0].Await(t.Context(), func(_ []adapter.Delivery, resets []error) bool { return len(resets) == 1 })
	if err != nil {
		t.Fatal(err)
	}
	if dbs[0].node.id.Load() == id {
		t.Error("the incarnation has not changed")
	}
	if err := dbs[0].Sessions().Change(s.Key, recovery.Change{Join: []string{"r"}}).Wait(t.Context()); !errors.Is(err, recovery.ErrLost) {
		t.Errorf("a change of a session of the previous incarnation: %v", err)
	}
	if n := b.int(t, "select count(*) from sessions where pid_hash = 'q' and node = $1", dbs[0].node.id.Load()); n != 1 {
		t.Error("the new incarnation does not own what it opened")
	}
	for _, r := range recorders {
		r.Expect(t, 1)
	}
}

func TestClose_ParksSessions(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, nil)
	mustOpen(t, db, session("p"))
	r := adaptertest.Publish(t, db, adaptertest.Event("last words"))
	change := db.Sessions().Change(session("p").Key, recovery.Change{At: 1, Join: []string{"r"}})
	if err := db.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if err := change.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if n := b.int(t, "select count(*) from sessions join session_rooms using (pid_hash) where node is null"); n != 1 {
		t.Error("the session was not parked with its rooms")
	}
	if n := b.int(t, "select count(*) from nodes"); n != 0 {
		t.Errorf("%d nodes left", n)
	}
	if _, err := db.Publish(t.Context(), adaptertest.Event("x")); !errors.Is(err, adapter.ErrClosed) {
		t.Errorf("Publish: %v", err)
	}
	if err := db.WaitDelivered(t.Context()); err != nil && !errors.Is(err, adapter.ErrClosed) {
		t.Errorf("WaitDelivered: %v", err)
	}
	if err := db.Sessions().Open(session("q")).Wait(t.Context()); !errors.Is(err, adapter.ErrClosed) {
		t.Errorf("Open: %v", err)
	}
	if _, err := db.Sessions().Resume(t.Context(), recovery.ResumeRequest{PIDHash: "p", Namespace: "/"}); !errors.Is(err, adapter.ErrClosed) {
		t.Errorf("Resume: %v", err)
	}
}

func TestClose_ContextEnds(t *testing.T) {
	t.Parallel()
	plain := newBench(t)
	b, w := plain.through(t)
	db := b.open(t, nil)
	w.sever(true)
	r := adaptertest.Publish(t, db, adaptertest.Event("stuck"))
	change := db.Sessions().Change(session("p").Key, recovery.Change{Join: []string{"r"}})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := db.Close(ctx); err == nil {
		t.Error("closed in order without Postgres")
	}
	if err := r.Wait(t.Context()); !errors.Is(err, adapter.ErrClosed) {
		t.Errorf("receipt: %v", err)
	}
	if err := change.Wait(t.Context()); !errors.Is(err, adapter.ErrClosed) {
		t.Errorf("change: %v", err)
	}
}

func TestSessions_RefusedWrite_FailsAlone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, nil)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			s := session(fmt.Sprint(i))
			if i == 17 {
				s.Data = map[string]json.RawMessage{"k": json.RawMessage("not JSON")}
			}
			if err := db.Sessions().Open(s).Wait(t.Context()); (err != nil) != (i == 17) {
				t.Errorf("session %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if n := b.int(t, "select count(*) from sessions"); n != 49 {
		t.Errorf("%d sessions", n)
	}
}

func TestSessions_WritesDuringOutage(t *testing.T) {
	t.Parallel()
	plain := newBench(t)
	b, w := plain.through(t)
	db := b.open(t, nil)
	s := session("p")
	mustOpen(t, db, s)
	w.sever(true)
	change := db.Sessions().Change(s.Key, recovery.Change{At: 1, Join: []string{"r"}})
	end := db.Sessions().End(s.Key, recovery.Release{Park: true, At: 1})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := change.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("during the outage: %v", err)
	}
	if _, err := db.Sessions().Resume(ctx, recovery.ResumeRequest{PIDHash: "p", Namespace: "/"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("during the outage: %v", err)
	}
	w.sever(false)
	if err := errors.Join(change.Wait(t.Context()), end.Wait(t.Context())); err != nil {
		t.Error(err)
	}
	if n := b.int(t, "select count(*) from session_rooms where left_at is null"); n != 1 {
		t.Error("the change was not made")
	}
}

func TestSessions_WritesTerminatedConnections(t *testing.T) {
	t.Parallel()
	b := newBench(t).named(t)
	dbs, _ := b.nodes(t, 2, nil)
	_, stop := b.kill(t, "", "select coalesce(sum(epoch), 0) from sessions")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			key := session(fmt.Sprint(i)).Key
			mustOpen(t, dbs[0], session(key.PIDHash))
			for round := range 10 {
				from, to := dbs[round%2], dbs[(round+1)%2]
				room := fmt.Sprint(round)
				err := from.Sessions().Change(key, recovery.Change{At: adapter.Position(round + 1), Join: []string{room}}).Wait(t.Context())
				if err != nil {
					t.Errorf("Change: %v", err)
					return
				}
				if round%3 == 0 {
					if err := from.Sessions().End(key, recovery.Release{Park: true, At: 1}).Wait(t.Context()); err != nil {
						t.Errorf("End: %v", err)
						return
					}
				}
				got, err := to.Sessions().Resume(t.Context(), recovery.ResumeRequest{PIDHash: key.PIDHash, Namespace: "/"})
				if err != nil || len(got.Rooms) != round+1 || got.OwnedElsewhere != (round%3 != 0) {
					t.Errorf("Resume in round %d: %+v, %v", round, got, err)
					return
				}
				key = got.Key
			}
		})
	}
	wg.Wait()
	stop()
}

func TestResume_AbandonedClaim_IsReleased(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, nil)
	mustOpen(t, db, session("claimed"))
	b.exec(t, "begin")
	b.exec(t, "lock table sessions in exclusive mode")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	opened := session("opened")
	if err := db.Sessions().Open(opened).Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Open: %v", err)
	}
	db.Sessions().End(opened.Key, recovery.Release{})
	ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond) // long enough for an attempt to be in flight
	defer cancel()
	var got *recovery.Session
	var err error
	var resuming sync.WaitGroup
	resuming.Go(func() {
		got, err = db.Sessions().Resume(ctx, recovery.ResumeRequest{PIDHash: "claimed", Namespace: "/"})
	})
	<-ctx.Done()
	b.exec(t, "commit")
	resuming.Wait()
	switch {
	case err == nil: // it was in flight, and the caller must release it
		db.Sessions().End(got.Key, recovery.Release{Park: true})
	case errors.Is(err, context.DeadlineExceeded):
		db.Sessions().End(session("claimed").Key, recovery.Release{Park: true})
	default:
		t.Errorf("Resume: %v", err)
	}
	eventually(t, "the sessions are released", func() bool {
		return b.int(t, "select count(*) from sessions where node is not null") == 0 &&
			b.int(t, "select count(*) from sessions where pid_hash = 'opened'") == 0
	})
	if _, err := db.Sessions().Resume(t.Context(), recovery.ResumeRequest{PIDHash: "claimed", Namespace: "/"}); err != nil {
		t.Error(err)
	}
}

func TestSessions_LostTimeline_PositionsNotWritten(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, recorders := b.nodes(t, 1, &Options{PollInterval: 200 * time.Millisecond})
	mustOpen(t, dbs[0], session("p"))
	var offsets []adapter.Offset
	for i := range 6 {
		offsets = append(offsets, adaptertest.Append(t, dbs[0], adaptertest.Event("%d", i)))
	}
	recorders[0].Expect(t, 6)
	b.exec(t, "delete from log where id > $1", batchID(offsets[2].Position))
	change := recovery.Change{At: offsets[5].Position, Join: []string{"r"}}
	if err := dbs[0].Sessions().Change(session("p").Key, change).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if joined := b.int(t, "select joined_at from session_rooms"); joined != int64(offsets[2].Position) {
		t.Errorf("joined at %d, and the log ends at %d", joined, offsets[2].Position)
	}
}

func TestDeadNode_ObserverPaused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		opts := (&Options{Lease: 100 * time.Millisecond}).withDefaults()
		n := newNode(base{opts: &opts}, nil, nil)
		look := func(wait time.Duration, seen string) []deadNode {
			time.Sleep(wait)
			return n.observe([]peer{{1, "a", seen, 100 * time.Millisecond}}, nil)
		}
		for range 3 {
			if dead := look(40*time.Millisecond, "x"); len(dead) > 0 {
				t.Fatal("declared dead within the lease")
			}
		}
		if dead := n.observe(nil, errors.New("outage")); len(dead) > 0 {
			t.Fatal("declared dead by an outage")
		}
		for range 2 {
			if dead := look(40*time.Millisecond, "x"); len(dead) > 0 {
				t.Fatal("declared dead for the time of an outage")
			}
		}
		if dead := look(200*time.Millisecond, "x"); len(dead) > 0 {
			t.Fatal("declared dead after a pause of the observer")
		}
		var dead []deadNode
		for range 4 {
			dead = look(40*time.Millisecond, "x")
		}
		if !slices.ContainsFunc(dead, func(d deadNode) bool { return d.id == 1 }) {
			t.Error("not declared dead after the lease")
		}
	})
}

// exerciseSessions performs every operation on one session.
func exerciseSessions(t *testing.T, dbs []*DB) {
	t.Helper()
	a, b := dbs[0].Sessions(), dbs[1].Sessions()
	s := session("all \\ of ' it")
	s.Rooms = []recovery.RoomInterval{{Room: `a"\`, Joined: 1}, {Room: "b", Joined: 1}}
	s.Data = map[string]json.RawMessage{"x": json.RawMessage(`"it's"`), "y": json.RawMessage(`1`)}
	mustOpen(t, dbs[0], s)
	change := recovery.Change{At: 2, Join: []string{"c", "\x00"}, Leave: []string{"b"}, Data: map[string]json.RawMessage{"y": nil, "z": json.RawMessage(`[]`)}}
	if err := a.Change(s.Key, change).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := b.Resume(t.Context(), recovery.ResumeRequest{PIDHash: s.PIDHash, Namespace: "/"})
	if err != nil || len(got.Rooms) != 4 || len(got.Data) != 2 || !got.OwnedElsewhere {
		t.Fatalf("%+v, %v", got, err)
	}
	if err := b.End(got.Key, recovery.Release{Park: true, At: 3}).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err = a.Resume(t.Context(), recovery.ResumeRequest{PIDHash: s.PIDHash, Namespace: "/"}); err != nil {
		t.Fatal(err)
	}
	if err := a.End(got.Key, recovery.Release{}).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err = a.Resume(t.Context(), recovery.ResumeRequest{PIDHash: s.PIDHash, Namespace: "/"}); !errors.Is(err, recovery.ErrUnknown) {
		t.Errorf("after its end: %v", err)
	}
}

// Changes that wait while Postgres is slow are written together, with the same effect as
// one by one.
func TestSessions_WaitingChanges_OneTransaction(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, nil)
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 30 {
		s := session(fmt.Sprint("p", round))
		s.Rooms = []recovery.RoomInterval{{Room: "a"}, {Room: "b"}}
		mustOpen(t, db, s)
		slow, err := b.connect(t).Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := slow.Exec(t.Context(), "select from sessions where pid_hash = $1 for update", s.PIDHash); err != nil {
			t.Fatal(err)
		}
		var outcomes []*adapter.Receipt
		at := adapter.Position(1)
		for range 60 {
			at += adapter.Position(r.IntN(2)) // some at the same position
			c := randomChange(r, s, at)
			outcomes = append(outcomes, db.Sessions().Change(s.Key, c))
			s.ApplyChange(c)
		}
		if err := slow.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, out := range outcomes {
			if err := out.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		got, err := db.Sessions().Resume(t.Context(), recovery.ResumeRequest{PIDHash: s.PIDHash, Namespace: "/"})
		if err != nil {
			t.Fatal(err)
		}
		if want := canon(s); canon(got) != want {
			t.Fatalf("round %d:\ngot  %s\nwant %s", round, canon(got), want)
		}
	}
}

// randomChange returns a change that a server could make.
func randomChange(r *rand.Rand, s *recovery.Session, at adapter.Position) recovery.Change {
	c := recovery.Change{At: at}
	for _, room := range []string{"a", "b", "c"} {
		in := slices.ContainsFunc(s.Rooms, func(interval recovery.RoomInterval) bool { return interval.Room == room && interval.Left == 0 })
		switch {
		case r.IntN(2) == 0:
		case in:
			c.Leave = append(c.Leave, room)
		default:
			c.Join = append(c.Join, room)
		}
	}
	key := fmt.Sprint("k", r.IntN(3))
	switch r.IntN(3) {
	case 0:
		c.Data = map[string]json.RawMessage{key: nil}
	case 1:
		c.Data = map[string]json.RawMessage{key: json.RawMessage(fmt.Sprint(r.IntN(100)))}
	}
	return c
}

// canon returns the rooms and data of a session in a comparable form, without empty
// intervals.
func canon(s *recovery.Session) string {
	var lines []string
	for _, interval := range s.Rooms {
		if interval.Left != interval.Joined || interval.Left == 0 {
			lines = append(lines, fmt.Sprint(interval))
		}
	}
	for key, value := range s.Data {
		lines = append(lines, key+"="+string(value))
	}
	slices.Sort(lines)
	return strings.Join(lines, " ")
}
