package pgadapter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/adapter"
)

// A node is this process as the others see it: a row that changes as long as it
// lives. When they thought it dead and removed the row, it begins another life
// under a new id, without sessions.
type node struct {
	db *DB
	id atomic.Int64 // changes only on the goroutine of the tail

	isRelayLeader atomic.Bool // of the nodes that live, as far as was seen, it has the lowest id

	mu        sync.Mutex
	confirmed time.Time // when the last heartbeat that Postgres confirmed was begun
	fenced    bool      // the row is

	// Of the goroutine that beats.
	peers    map[int64]peerState
	observed time.Time
}

// A peerState is what an observer knows of another node.
type peerState struct {
	name  string
	seen  string    // what the row said; only ever compared
	since time.Time // when the observer first saw it say so
}

func newNode(db *DB) *node {
	n := &node{db: db, peers: make(map[int64]peerState)}
	n.isRelayLeader.Store(true) // until others are seen
	return n
}

// register begins a life.
func (n *node) register(ctx context.Context, q querier, at adapter.Position) error {
	begun := time.Now()
	id := newIdentity()
	o := &n.db.opts
	_, err := q.Exec(ctx, n.db.queries.nodeRegister, id, toText(o.NodeName), int64(at),
		o.Retention.Milliseconds(), o.Lease.Milliseconds(), n.db.tail.server(), int16(o.frames))
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.id.Store(id)
	n.confirmed, n.fenced = begun, false
	return nil
}

// bind makes the server on this node known to the others. While the node has no
// row, because it was thought dead, its next life is waited for.
func (n *node) bind(ctx context.Context, server string, at adapter.Position) error {
	pause := backoff{low: 10 * time.Millisecond, high: 200 * time.Millisecond}
	for {
		tag, err := n.db.pool.Exec(ctx, n.db.queries.nodeBind, n.id.Load(), server, int64(at))
		switch {
		case err == nil && tag.RowsAffected() == 1:
			return nil
		case err != nil && !isTransient(err):
			return err
		}
		if !pause.wait(ctx) {
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// list returns the nodes that have a server, this one first.
func (n *node) list(ctx context.Context) ([]adapter.Node, error) {
	var nodes []adapter.Node
	err := retryTransient(ctx, func() error {
		rows, err := n.db.pool.Query(ctx, n.db.queries.nodeList, n.db.tail.server())
		if err == nil {
			nodes, err = pgx.CollectRows(rows, scanNode)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the nodes: %w", err)
	}
	return nodes, nil
}

func scanNode(r pgx.CollectableRow) (adapter.Node, error) {
	var n adapter.Node
	var started, seen int64
	err := r.Scan(&n.ID, &n.Name, &started, &seen, &n.StartPosition, &n.ReadPosition)
	n.Name, n.Started, n.Seen = fromText(n.Name), time.UnixMicro(started), time.UnixMicro(seen)
	return n, err
}

// run beats until ctx ends, and has the sweeper take the sessions of nodes that
// do not.
func (n *node) run(ctx context.Context) {
	ticker := time.NewTicker(n.db.opts.Heartbeat)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		for _, dead := range n.observe(n.beat(ctx, n.db.pool)) {
			n.db.sweeper.reapDeadNode(ctx, dead.id, dead.peerState)
		}
		n.db.tail.evictExpired(time.Now())
	}
}

// A fence is what a transaction has to find in the database, if what this node
// writes is to make sense there.
type fence struct {
	node     int64
	cursor   batchPos
	timeline timeline
}

// fence returns what must be so now.
func (n *node) fence() fence {
	id := n.id.Load()
	n.db.tail.mu.Lock()
	defer n.db.tail.mu.Unlock()
	return fence{id, n.db.tail.cursor, n.db.tail.timeline}
}

// queue adds the statement that fails if it is not so. Those that follow find the
// rows of sessions by their keys.
func (h fence) queue(b *pgx.Batch, q *queries) {
	b.Queue(q.byKey)
	b.Queue(q.checkFence, h.node, h.cursor.id, h.cursor.origin, h.cursor.seq)
}

// A peer is another node as its row says.
type peer struct {
	id    int64
	name  string
	seen  string
	lease time.Duration
}

// beat confirms that the node is alive and returns its neighbors.
func (n *node) beat(ctx context.Context, q querier) ([]peer, error) {
	begun := time.Now()
	id := n.id.Load()
	ctx, cancel := context.WithTimeout(ctx, min(n.db.opts.Lease/4, answerTimeout))
	defer cancel()
	rows, err := q.Query(ctx, n.db.queries.nodeBeat, id, int64(n.db.tail.position()))
	if err != nil {
		return nil, err
	}
	alive := false
	var neighbors []peer
	var other, lease *int64
	var name, seen *string
	var reads *int16
	frames := n.db.opts.frames
	_, err = pgx.ForEachRow(rows, []any{&alive, &other, &name, &seen, &lease, &reads}, func() error {
		if other != nil {
			frames = min(frames, byte(max(*reads, oldestFrame)))
			neighbors = append(neighbors, peer{*other, *name, *seen, time.Duration(*lease) * time.Millisecond})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if id != n.id.Load() {
		return neighbors, nil // says nothing of the life that has begun since
	}
	if !alive {
		n.fenced = true
		return nil, errNodeGone
	}
	n.db.publisher.frames.Store(uint32(frames))
	if begun.After(n.confirmed) {
		n.confirmed = begun
	}
	return neighbors, nil
}

// markFenced notes that the row of a life was found missing.
func (n *node) markFenced(id int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if id == n.id.Load() {
		n.fenced = true
	}
}

type deadNode struct {
	id int64
	peerState
}

// observe returns the neighbors that have not moved for the length of their lease.
// A pause in observing begins all sightings anew: who could not look for a while
// knows nothing of the others.
func (n *node) observe(neighbors []peer, err error) []deadNode {
	now := time.Now()
	if err != nil || elapsed(n.observed, now) > n.db.opts.Lease*3/4 {
		clear(n.peers)
	}
	n.observed = now
	if err != nil {
		n.isRelayLeader.Store(false)
		n.db.opts.Logger.Warn("heartbeat not confirmed", slog.Any("error", err))
		return nil
	}
	before := n.peers
	n.peers = make(map[int64]peerState, len(neighbors))
	var dead []deadNode
	first := true
	for _, other := range neighbors {
		s, known := before[other.id]
		if !known || s.seen != other.seen {
			s = peerState{other.name, other.seen, now}
		}
		n.peers[other.id] = s
		if other.id < n.id.Load() && now.Sub(s.since) <= min(other.lease, n.db.opts.Lease)/2 {
			first = false
		}
		if now.Sub(s.since) > other.lease {
			dead = append(dead, deadNode{other.id, s})
		}
	}
	n.isRelayLeader.Store(first)
	return dead
}

// ensureLease returns nil when this node still holds its sessions for certain. When the
// lease is half over it is renewed first: then nothing else did, and the node may
// have been frozen. When it was lost, a new life begins and the server hears of
// it.
//
// Only the goroutine of the tail calls it, on its connection.
func (n *node) ensureLease(ctx context.Context, q querier, t *tail) error {
	n.mu.Lock()
	age, gone := elapsed(n.confirmed, time.Now()), n.fenced
	n.mu.Unlock()
	if !gone && age < n.db.opts.Lease/2 {
		return nil
	}
	if !gone {
		if _, err := n.beat(ctx, q); !errors.Is(err, errNodeGone) {
			return err
		}
	}
	if err := n.register(ctx, q, t.cursor.position()); err != nil {
		return err
	}
	t.reregistered(errNodeGone)
	return nil
}

// elapsed returns the time between two moments, by the clock that stood still
// less: the monotonic one stops while a machine sleeps.
func elapsed(from, to time.Time) time.Duration {
	return max(to.Sub(from), to.Round(0).Sub(from.Round(0)))
}

// leave ends this life in an orderly way. What sessions are left are parked.
func (n *node) leave(ctx context.Context) error {
	id := n.id.Load()
	pause := backoff{low: 20 * time.Millisecond, high: time.Second}
	for {
		_, err := n.db.endNode(ctx, id, nil)
		if err == nil || !isTransient(err) || !pause.wait(ctx) {
			return err
		}
	}
}
