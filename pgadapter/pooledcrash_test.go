package pgadapter

import (
	"testing"
	"time"

	"github.com/pgsocket/socketio/internal/pgserver"
	"github.com/pgsocket/socketio/pgtest"
)

// TestCheckpoint_PostgresLosesThatASessionWasParked_BehindAPooler: as without a pooler. One in transaction mode keeps
// the connection of the node while Postgres crashes, so nothing tells the node that it did but Postgres itself.
func TestCheckpoint_PostgresLosesThatASessionWasParked_BehindAPooler(t *testing.T) {
	t.Parallel()
	srv := newServer(t, "none", nil)
	b := newBench(t, pgtest.On(srv.DSN()))
	direct := b.dsn
	b.dsn = startPooler(t, b.dsn, pgserver.PoolerOptions{Mode: "transaction"})
	db := b.open(t, &Options{PollOnly: true, PollInterval: time.Minute})
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
	checkpoint() // the client is quiet
	b.exec(t, "create table kept as select * from sessions")
	g.Cut()
	eventually(t, "the session was parked", func() bool { return b.int(t, "select count(*) from sessions where node is null") == 1 })
	b.exec(t, "delete from sessions; insert into sessions select * from kept")
	b.exec(t, "checkpoint")
	if err := srv.Restart(t.Context(), pgserver.Immediate); err != nil {
		t.Fatal(err)
	}
	b.dsn = direct
	b.conn = b.connect(t)
	say(t, server, "2")
	eventually(t, "the node reads again", func() bool { return db.WaitDelivered(t.Context()) == nil })
	checkpoint()
	g.connect(t, server)
	if !g.recovered {
		t.Fatal("not recovered")
	}
	say(t, server, "end")
	g.wants(t, "2", "end")
	if lost := db.tail.connectionsLost.Load(); lost != 0 {
		t.Errorf("the connection was lost %d times: the test shows nothing", lost)
	}
}
