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
	b.loseParking(t, db, func() {
		b.exec(t, "checkpoint")
		if err := srv.Restart(t.Context(), pgserver.Immediate); err != nil {
			t.Fatal(err)
		}
		b.dsn = direct
		b.conn = b.connect(t)
	})
	if lost := db.tail.connectionsLost.Load(); lost != 0 {
		t.Errorf("the connection was lost %d times: the test shows nothing", lost)
	}
}
