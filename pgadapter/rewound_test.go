package pgadapter

import (
	"testing"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// TestLogTruncated_ReleasedSession_NotAhead: Postgres loses what came after a client's last event, and the client
// disconnects before the log has anything new. Its session must not have a checkpoint beyond the end of the log, or it
// would miss what the log has there later.
func TestLogTruncated_ReleasedSession_NotAhead(t *testing.T) {
	t.Parallel()
	for name, checkpoint := range map[string]bool{"recorded": true, "not recorded": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			leaveAfterALostEnd(t, checkpoint)
		})
	}
}

// leaveAfterALostEnd makes the node record the progress of the client, or not, before the
// end of the log is lost.
func leaveAfterALostEnd(t *testing.T, checkpoint bool) {
	b := newBench(t).named(t)
	db := b.open(t, &Options{PollInterval: 100 * time.Millisecond})
	server := serve(t, db)
	var g testClient
	g.connect(t, server)
	say(t, server, "1")
	g.wants(t, "1")
	for range 5 {
		if err := said.Emit(t.Context(), server.To("nobody"), "lost"); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.WaitDelivered(t.Context()); err != nil {
		t.Fatal(err)
	}
	held, err := adapter.ParseOffset(g.offset)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // a client is idle from the second checkpoint on; the sweeper itself runs minutes later
		if !checkpoint {
			break
		}
		if err := db.sweeper.checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	b.loseFrom(t, batchID(held.Position)+1)
	eventually(t, "the node rewound", func() bool { return db.tail.position() == held.Position })
	g.Cut()
	eventually(t, "the session was parked", func() bool { return b.int(t, "select count(*) from sessions where node is null") == 1 })

	missed := []string{"2", "3", "4", "5", "6", "7", "8", "9"}
	for _, text := range missed {
		say(t, server, text)
	}
	g.connect(t, server)
	if !g.recovered {
		t.Fatal("not recovered")
	}
	say(t, server, "end")
	g.wants(t, append(missed, "end")...)
}

// TestFreeze_InTransaction_BlocksNoNode: a node freezes between the two round trips of a claim, with its locks.
func TestFreeze_InTransaction_BlocksNoNode(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, _ := b.nodes(t, 2, nil)
	mustOpen(t, dbs[0], session("p1"))
	mustOpen(t, dbs[0], session("p2"))
	claim1 := &claim{ResumeRequest: recovery.ResumeRequest{PIDHash: "p1", Namespace: "/"}}
	e := resumeTx{sessions: make(map[string]*sessionRow), batches: make(map[int64]batchPos)}
	frozen := b.connect(t)
	if err := frozen.SendBatch(t.Context(), e.lockBatch(dbs[1].queries, dbs[1].node.fence(), []*claim{claim1})).Close(); err != nil {
		t.Fatal(err)
	}
	if tx := frozen.PgConn().TxStatus(); tx != 'T' || e.sessions["p1"] == nil {
		t.Fatalf("not in a transaction with the session: %c", tx)
	}
	for _, pid := range []string{"p1", "p2"} {
		if _, err := dbs[0].Sessions().Resume(t.Context(), recovery.ResumeRequest{PIDHash: pid, Namespace: "/"}); err != nil {
			t.Errorf("%s: %v", pid, err)
		}
	}
	if _, err := frozen.Exec(t.Context(), "commit"); err == nil {
		t.Error("the transaction of the frozen node could still be committed")
	}
}

// TestCheckpoint_PostgresLosesThatASessionWasParked: a client disconnects, and Postgres loses the write. No later checkpoint
// may cover the session, because the node no longer serves it.
func TestCheckpoint_PostgresLosesThatASessionWasParked(t *testing.T) {
	t.Parallel()
	b := newBench(t).named(t)
	db := b.open(t, &Options{PollInterval: 100 * time.Millisecond})
	b.loseParking(t, db, func() { b.terminate(t, "") })
}

// loseParking lets a client of db disconnect, takes the write that parks its session back, and breaks connections or
// Postgres. Then the client must not miss what is emitted before it returns.
func (b *bench) loseParking(t *testing.T, db *DB, crash func()) {
	t.Helper()
	server := serve(t, db)
	checkpoint := func() {
		t.Helper()
		eventually(t, "a checkpoint", func() bool { return db.sweeper.checkpoint(t.Context()) == nil })
	}
	var g testClient
	g.connect(t, server)
	say(t, server, "1")
	g.wants(t, "1")
	checkpoint()
	checkpoint() // the client is idle
	b.exec(t, "create table kept as select * from sessions")
	g.Cut()
	eventually(t, "the session was parked", func() bool { return b.int(t, "select count(*) from sessions where node is null") == 1 })
	b.exec(t, "delete from sessions; insert into sessions select * from kept")
	crash()
	say(t, server, "2")
	eventually(t, "the node reads again", func() bool { return db.WaitDelivered(t.Context()) == nil })
	checkpoint()
	g.connect(t, server)
	if !g.recovered {
		t.Fatal("not recovered")
	}
	say(t, server, "end")
	g.wants(t, "2", "end")
}
