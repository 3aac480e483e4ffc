package pgadapter

import (
	"sync/atomic"
	"testing"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// retiring is the node of a server that is shut down while its DB is open.
type retiring struct {
	serving atomic.Bool
	expired atomic.Int64
}

func (*retiring) Checkpoint(adapter.Position) (adapter.Position, []recovery.Progress) { return 0, nil }

func (r *retiring) Serving() bool { return r.serving.Load() }

func (r *retiring) Expired(*recovery.Session) { r.expired.Add(1) }

// TestSweep_ServerShutDown: a session whose OnExpired cannot run on this node is left to another one.
func TestSweep_ServerShutDown_SessionIsLeftToOthers(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, nil)
	node := &retiring{}
	if err := db.Sessions().Bind(node); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, db, session("over"))
	if err := db.Sessions().End(session("over").Key, recovery.Release{Park: true}).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.exec(t, "update sessions set expires_at = now() - interval '1 second' where pid_hash = 'over'")
	for _, serving := range []bool{false, true} {
		node.serving.Store(serving)
		if err := db.sweeper.expire(t.Context()); err != nil {
			t.Fatal(err)
		}
		if serving {
			eventually(t, "the node is told", func() bool { return node.expired.Load() == 1 })
			continue
		}
		if n := b.int(t, "select count(*) from sessions where pid_hash = 'over'"); n != 1 || node.expired.Load() != 0 {
			t.Errorf("%d sessions, told of %d", n, node.expired.Load())
		}
	}
}
