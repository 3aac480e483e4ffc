package pgadapter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/stats"
)

// Stats are counts of one node's connection to the cluster.
type Stats struct {
	Position  adapter.Position // how far the node has read the log
	Listening bool             // it hears the bell, or polls as it was told to
	CaughtUp  time.Time        // when it last was at the head of the log
	Notified  time.Time        // when it last heard a bell; zero for never
	Confirmed time.Time        // when the last heartbeat was begun that Postgres has confirmed

	QueueEvents int             // published, and not in the log yet
	QueueBytes  int             //
	Appends     stats.Histogram // seconds from the first attempt of a batch to the answer
	Batches     stats.Histogram // events in a batch
	Retries     uint64          // appends that were sent again

	Writes int // changes of sessions that wait to be written
	Claims int // clients that come back and wait for their session

	Resets uint64 // times that the node had to cut its connections, see adapter.Local
}

// counters are the parts of Stats that only grow.
type counters struct {
	appends, batches *stats.Distribution
}

func newCounters() *counters {
	return &counters{appends: stats.Durations(), batches: stats.Sizes()}
}

// Stats returns the counts of this node. It asks nothing of Postgres.
func (db *DB) Stats() Stats {
	var s Stats
	t := db.tail
	t.mu.Lock()
	s.Position, s.Listening, s.CaughtUp, s.Notified, s.Resets = t.delivered, t.following, t.caughtUp, t.notified, t.resets
	t.mu.Unlock()
	db.node.mu.Lock()
	s.Confirmed = db.node.confirmed
	db.node.mu.Unlock()
	p := db.publisher
	p.mu.Lock()
	s.QueueEvents, s.QueueBytes = p.events, p.bytes
	p.mu.Unlock()
	s.Appends, s.Batches, s.Retries = p.counters.appends.Histogram(), p.counters.batches.Histogram(), p.retries.Load()
	s.Writes, s.Claims = db.sessions.writes.len(), db.sessions.claims.len()
	return s
}

// Health returns nil while the node is in the cluster and reads the log: what a
// readiness probe asks. It returns an error for the Retention after the node met a batch
// of the log that it cannot decode, as a later version of this package may write during
// a rolling upgrade: clients that need it start anew here. After a failure of Postgres it returns an error within two
// heartbeats (see Options.Heartbeat), and nil again when all is well. It also returns an
// error while notifications do not arrive, see Options.ListenDSN. Clients stay
// connected meanwhile. It asks nothing of Postgres.
func (db *DB) Health() error {
	s := db.Stats()
	now := time.Now()
	var errs []error
	if age := elapsed(s.Confirmed, now); age > db.opts.Heartbeat+db.opts.Heartbeat*3/4 {
		errs = append(errs, fmt.Errorf("no heartbeat was confirmed by Postgres for %v", age.Round(time.Millisecond)))
	}
	if err := db.tail.unreadable.health(now, db.opts.Retention); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(append(errs, db.tail.health())...)
}

// A ClusterStats is what the database says of the cluster.
type ClusterStats struct {
	Nodes     int
	Live      int              // sessions that a node holds
	Parked    int              // sessions whose clients are away
	Expired   int              // sessions that are over and not removed yet
	Low, High adapter.Position // the newest position that is no longer kept, and the newest of all
	Batches   int64            // in the log, at most
	Bytes     int64            // of the log on disk
	Outbox    int64            // events that SQL has committed and that are not in the log yet
	NotifyUse float64          // of Postgres's queue of notifications, from 0 to 1
}

// ClusterStats asks the database about the cluster. It counts sessions, which takes a
// while when they are many: once a minute is often enough.
func (db *DB) ClusterStats(ctx context.Context) (ClusterStats, error) {
	var s ClusterStats
	err := db.pool.QueryRow(ctx, db.queries.clusterStats).Scan(&s.Nodes, &s.Live, &s.Parked, &s.Expired, &s.Low, &s.High,
		&s.Batches, &s.Bytes, &s.Outbox, &s.NotifyUse)
	if err != nil {
		return s, fmt.Errorf("pgadapter: survey: %w", annotateSchemaErr(db.opts.Schema, err))
	}
	return s, nil
}
