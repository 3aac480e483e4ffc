package pgadapter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/stats"
)

// Stats are statistics of one node's connection to the cluster.
type Stats struct {
	Position  adapter.Position // position up to which the node has read the log
	Listening bool             // whether the log is followed, by notifications or by polling
	CaughtUp  time.Time        // when the node was last at the head of the log
	Notified  time.Time        // when the last notification arrived; zero for never
	Confirmed time.Time        // when the last heartbeat that Postgres confirmed began

	QueueEvents int             // published events that are not in the log yet
	QueueBytes  int             // size of these events
	Appends     stats.Histogram // seconds from the first attempt of a batch to the answer
	Batches     stats.Histogram // events in a batch
	Retries     uint64          // appends that were sent again

	Writes int // changes of sessions that wait to be written
	Claims int // returning clients that wait for their session

	Resets uint64 // number of times that the node cut its connections, see adapter.Local
}

// counters are the parts of Stats that only increase.
type counters struct {
	appends, batches *stats.Distribution
}

func newCounters() *counters {
	return &counters{appends: stats.Durations(), batches: stats.Sizes()}
}

// Stats returns the statistics of this node. It sends no query to Postgres. It is safe for
// concurrent use.
func (db *DB) Stats() Stats {
	var s Stats
	db.tail.addStats(&s)
	db.node.addStats(&s)
	db.publisher.addStats(&s)
	db.sessions.addStats(&s)
	return s
}

func (t *tail) addStats(s *Stats) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.Position, s.Listening, s.CaughtUp, s.Notified, s.Resets = t.delivered, t.following, t.caughtUp, t.notified, t.resets
}

func (n *node) addStats(s *Stats) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s.Confirmed = n.confirmed
}

func (p *publisher) addStats(s *Stats) {
	s.Appends, s.Batches, s.Retries = p.counters.appends.Histogram(), p.counters.batches.Histogram(), p.retries.Load()
	p.mu.Lock()
	defer p.mu.Unlock()
	s.QueueEvents, s.QueueBytes = p.events, p.bytes
}

func (s *Sessions) addStats(to *Stats) { to.Writes, to.Claims = s.writes.len(), s.claims.len() }

// Health returns nil while the node is in the cluster and reads the log, as a readiness
// probe needs. When Postgres fails, it returns an error within two heartbeats (see
// Options.Heartbeat), and nil again when the node has recovered. It also returns an error
// when the node has not read the log to its end for longer than Options.PollInterval and
// Options.Lease together: the connection that reads is dead, or the node does not keep up;
// while notifications do not arrive, see Options.ListenDSN; and for Options.Retention after
// the node read a batch that it cannot decode, which a later version of this package may
// write during a rolling upgrade: clients that need that batch start new sessions. Clients
// stay connected in all cases. It sends no query to Postgres.
func (db *DB) Health() error {
	s := db.Stats()
	now := time.Now()
	var errs []error
	if age := elapsed(s.Confirmed, now); age > db.opts.Heartbeat+db.opts.Heartbeat*3/4 {
		errs = append(errs, fmt.Errorf("no heartbeat confirmed by Postgres for %v", age.Round(time.Millisecond)))
	}
	if err := db.tail.unreadable.health(now, db.opts.Retention); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(append(errs, db.tail.health())...)
}

// ClusterStats are statistics of the whole cluster.
type ClusterStats struct {
	Nodes     int
	Live      int              // sessions that a node owns
	Parked    int              // sessions whose clients are disconnected
	Expired   int              // sessions whose window is over and that are not deleted yet
	Low, High adapter.Position // the position up to which the log is trimmed, and its newest position
	Batches   int64            // in the log, upper bound
	Bytes     int64            // of the log on disk
	Outbox    int64            // committed events from SQL that are not in the log yet
	NotifyUse float64          // used part of the notification queue of Postgres, from 0 to 1
}

// ClusterStats queries statistics of the cluster. It counts all sessions, which is slow
// for many: call it about once a minute.
func (db *DB) ClusterStats(ctx context.Context) (ClusterStats, error) {
	var s ClusterStats
	err := retryTransient(ctx, func() error {
		return db.pool.QueryRow(ctx, db.queries.clusterStats).Scan(&s.Nodes, &s.Live, &s.Parked, &s.Expired, &s.Low, &s.High,
			&s.Batches, &s.Bytes, &s.Outbox, &s.NotifyUse)
	})
	if err != nil {
		return s, fmt.Errorf("pgadapter: cluster stats: %w", annotateSchemaErr(db.opts.Schema, err))
	}
	return s, nil
}
