package pgadapter

import (
	"errors"
	"fmt"
	"testing"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// insertSessions inserts n sessions of a node into the table.
func (b *bench) insertSessions(t *testing.T, node int64, n int) {
	t.Helper()
	b.exec(t, `insert into sessions (epoch, opened, covered, node, window_ms, known, checkpointed, pid_hash, sid, namespace, initial_offset, last)
		select 1, 0, 0, $1::bigint, 60000, false, false, 'p' || i, 's', '/', '', '' from generate_series(1, $2::int) i`, node, n)
}

func TestEndNode_ManySessions_AreParkedInPortions(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dead, by := b.open(t, &waits), b.open(t, &waits)
	id := dead.node.id.Load()
	b.insertSessions(t, id, 5)
	if done := b.int(t, "select end_node($1, false, 2)::int", id); done != 0 {
		t.Error("all was parked in a portion of 2")
	}
	if n := b.int(t, "select count(*) from sessions where node is null and epoch = 2"); n != 2 {
		t.Errorf("%d sessions are parked", n)
	}
	// The incarnation has ended: it cannot continue or take new sessions.
	if _, err := dead.node.beat(t.Context(), dead.pool); !errors.Is(err, errNodeGone) {
		t.Errorf("a heartbeat: %v", err)
	}
	if _, err := b.conn.Exec(t.Context(), "select check_fence($1, 0, 0, 0)", id); sqlState(err) != stateNodeGone {
		t.Errorf("check_fence: %v", err)
	}
	if nodes, err := by.Nodes(t.Context()); err != nil || len(nodes) != 0 {
		t.Errorf("%d nodes, %v", len(nodes), err)
	}
	// Another node continues, with as many portions as it takes.
	b.exec(t, "delete from sessions")
	b.insertSessions(t, id, 25000)
	b.declareDead(t, by, id)
	if n := b.int(t, "select count(*) from sessions where node is null and epoch = 2"); n != 25000 {
		t.Errorf("%d sessions are parked", n)
	}
}

// Writes that are too many for one transaction are halved, until Postgres accepts them.
func TestSessions_TransactionTooLarge_IsHalved(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, nil)
	b.exec(t, `create function few() returns trigger language plpgsql as $$ begin
		if (select count(*) from added) > 3 then raise exception 'too long' using errcode = '57014'; end if;
		return null;
	end $$`)
	b.exec(t, "create trigger few after insert on sessions referencing new table as added for each statement execute function few()")
	b.exec(t, "begin")
	b.exec(t, "lock table sessions in exclusive mode")
	var opened []*adapter.Receipt
	for i := range 20 {
		opened = append(opened, db.Sessions().Open(session(fmt.Sprint("p", i))))
	}
	b.exec(t, "commit")
	for _, o := range opened {
		if err := o.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// A claim may be committed although its answer was lost. If it is refused then, no node owns the session.
func TestClaim_RefusedAfterItWasTaken_IsReleased(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, nil)
	mustOpen(t, db, session("p"))
	b.exec(t, "update sessions set epoch = 3") // by the attempt whose answer was lost
	c := &claim{ResumeRequest: recovery.ResumeRequest{PIDHash: "p", Namespace: "/"}, answer: make(chan resumed, 1), epochs: []int64{2, 3}}
	if !c.begin() {
		t.Fatal("begin returned false")
	}
	db.Sessions().completeClaim(c, resumed{err: recovery.ErrTrimmed})
	if r := <-c.answer; !errors.Is(r.err, recovery.ErrTrimmed) {
		t.Errorf("answered %+v", r)
	}
	eventually(t, "the session is parked", func() bool {
		return b.int(t, "select count(*) from sessions where node is null and expires_at is not null") == 1
	})
}

func TestBranch_PositionFromBeforeTwoLosses_LiesBeforeBoth(t *testing.T) {
	t.Parallel()
	b := timeline{}.fork(100).fork(500) // the log grew beyond 500 in between
	for _, c := range []struct {
		p     adapter.Position
		taken int
		want  int64
	}{{300, 0, 100}, {50, 0, 50}, {300, 1, 300}, {700, 1, 500}, {700, 2, 700}} {
		if got := b.clamp(c.p, c.taken); got != c.want {
			t.Errorf("%d of timeline %d: %d, want %d", c.p, c.taken, got, c.want)
		}
	}
	if got := b.fork(200).clamp(300, 1); got != 200 {
		t.Errorf("after a third fork: %d", got)
	}
	for i := range 10 * maxForks {
		b = b.fork(adapter.Position(1000 + i))
	}
	if len(b.forks) > maxForks || b.clamp(300, 0) != 100 {
		t.Errorf("%d forks; %d", len(b.forks), b.clamp(300, 0))
	}
}
