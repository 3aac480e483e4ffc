package pgadapter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/adapter"
)

// A node is the row of this process in the table nodes, which other nodes observe. If
// they declared it dead and removed the row, it registers again under a new id, without
// sessions.
type node struct {
	base
	log       followedLog
	setFrames func(version byte) // receives the newest frame version that all nodes read

	id atomic.Int64 // changes only on the goroutine of the tail

	isRelayLeader atomic.Bool // no live peer has a lower id

	mu        sync.Mutex
	server    string    // the name of the server; "" before bind
	confirmed time.Time // when the last heartbeat that Postgres confirmed began
	fenced    bool      // the row is missing

	// Of the heartbeat goroutine.
	peers            map[int64]peerState
	observed         time.Time
	beating, parking outage
}

// A peerState is what this node has observed of another node.
type peerState struct {
	name  string
	seen  string    // the row's value of seen; only compared for equality
	since time.Time // when this value was first observed
}

// A followedLog is the log as this node has read it.
type followedLog interface {
	// position returns the position up to which the log was delivered.
	position() adapter.Position
	// current returns the last batch that was delivered, or is being delivered, and its timeline.
	current() (batchPos, timeline)
}

func newNode(b base, log followedLog, setFrames func(version byte)) *node {
	n := &node{
		base: b, log: log, setFrames: setFrames, peers: make(map[int64]peerState),
		beating: outage{logger: b.opts.Logger, begins: "heartbeat not confirmed", over: "heartbeat confirmed again"},
		parking: outage{logger: b.opts.Logger, begins: "sessions of a dead node not parked; the next heartbeat retries", over: "sessions of dead nodes are parked again"},
	}
	n.isRelayLeader.Store(true) // until peers are observed
	return n
}

// register inserts the row of a new incarnation, within answerTimeout.
func (n *node) register(ctx context.Context, q querier, at adapter.Position) error {
	begun := time.Now()
	id := newIdentity()
	o := n.opts
	host, version := hostAndVersion()
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	_, err := q.Exec(ctx, n.queries.nodeRegister, id, toText(o.NodeName), int64(at),
		o.Retention.Milliseconds(), o.Lease.Milliseconds(), n.serverName(), int16(o.frames),
		toText(host), int32(os.Getpid()), toText(version))
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.id.Store(id)
	n.confirmed, n.fenced = begun, false
	return nil
}

// hostAndVersion returns the host name of this machine or container, and the version of this
// module in the program; each may be empty.
func hostAndVersion() (host, version string) {
	host, _ = os.Hostname()
	if info, ok := debug.ReadBuildInfo(); ok {
		version = moduleVersion(info)
	}
	return host, version
}

// moduleVersion returns the version of this module in a program.
func moduleVersion(info *debug.BuildInfo) string {
	const path = "github.com/pgsocket/socketio"
	for _, m := range append([]*debug.Module{&info.Main}, info.Deps...) {
		switch {
		case m.Path != path:
		case m.Replace != nil && m.Replace.Version != "":
			return m.Replace.Version
		default:
			return m.Version
		}
	}
	return ""
}

// bind publishes the server of this node. If the row is missing, because the node was
// declared dead, it waits for the next incarnation.
func (n *node) bind(ctx context.Context, server string, at adapter.Position) error {
	n.mu.Lock()
	n.server = server // before the first attempt: a row that is registered meanwhile has it
	n.mu.Unlock()
	pause := backoff{low: 10 * time.Millisecond, high: 200 * time.Millisecond}
	for {
		tag, err := n.pool.Exec(ctx, n.queries.nodeBind, n.id.Load(), server, int64(at))
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

func (n *node) serverName() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.server
}

// list returns the nodes that have a server, this one first.
func (n *node) list(ctx context.Context) ([]adapter.Node, error) {
	var nodes []adapter.Node
	err := retryTransient(ctx, func() error {
		rows, err := n.pool.Query(ctx, n.queries.nodeList, n.serverName())
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

// run sends heartbeats until ctx ends, and reaps nodes that have stopped sending
// theirs.
func (n *node) run(ctx context.Context) {
	ticker := time.NewTicker(n.opts.Heartbeat)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		peers, err := n.beat(ctx, n.pool)
		switch {
		case err == nil:
			n.beating.succeeded(ctx)
		case ctx.Err() == nil:
			n.beating.failed(ctx, err)
		}
		for _, dead := range n.observe(peers, err) {
			n.reapDeadNode(ctx, dead.id, dead.peerState)
		}
	}
}

// A fence is what a transaction must find in the database for the writes of this node
// to be valid.
type fence struct {
	node     int64
	cursor   batchPos
	timeline timeline
}

// fence returns the fence for the current state.
func (n *node) fence() fence {
	id := n.id.Load()
	cursor, on := n.log.current()
	return fence{id, cursor, on}
}

// queue adds the statement that fails if the fence does not match. The statements that
// follow find the rows of sessions by their keys.
func (f fence) queue(b *pgx.Batch, q *queries) {
	b.Queue(q.byKey)
	b.Queue(q.checkFence, f.node, f.cursor.id, f.cursor.origin, f.cursor.seq)
}

// A peer is the row of another node.
type peer struct {
	id    int64
	name  string
	seen  string
	lease time.Duration
}

// beat confirms that the node is alive and returns its peers.
func (n *node) beat(ctx context.Context, q querier) ([]peer, error) {
	begun := time.Now()
	id := n.id.Load()
	ctx, cancel := context.WithTimeout(ctx, min(n.opts.Lease/4, answerTimeout))
	defer cancel()
	rows, err := q.Query(ctx, n.queries.nodeBeat, id, int64(n.log.position()))
	if err != nil {
		return nil, err
	}
	alive := false
	var peers []peer
	var other, lease *int64
	var name, seen *string
	var reads *int16
	frames := n.opts.frames
	_, err = pgx.ForEachRow(rows, []any{&alive, &other, &name, &seen, &lease, &reads}, func() error {
		if other != nil {
			frames = min(frames, byte(max(*reads, oldestFrame)))
			peers = append(peers, peer{*other, *name, *seen, time.Duration(*lease) * time.Millisecond})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if id != n.id.Load() {
		return peers, nil // says nothing about the new incarnation
	}
	if !alive {
		n.fenced = true
		return nil, errNodeGone
	}
	n.setFrames(frames)
	if begun.After(n.confirmed) {
		n.confirmed = begun
	}
	return peers, nil
}

// markFenced records that the row of an incarnation is missing.
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

// observe returns the peers whose row did not change for the length of their lease. It
// discards all peer states after a break in observing: a node that could not read the
// table cannot tell whether its peers were alive.
func (n *node) observe(peers []peer, err error) []deadNode {
	now := time.Now()
	if err != nil || elapsed(n.observed, now) > n.opts.Lease*3/4 {
		clear(n.peers)
	}
	n.observed = now
	if err != nil {
		n.isRelayLeader.Store(false)
		return nil
	}
	before := n.peers
	n.peers = make(map[int64]peerState, len(peers))
	var dead []deadNode
	first := true
	for _, other := range peers {
		s, known := before[other.id]
		if !known || s.seen != other.seen {
			s = peerState{other.name, other.seen, now}
		}
		n.peers[other.id] = s
		if other.id < n.id.Load() && now.Sub(s.since) <= min(other.lease, n.opts.Lease)/2 {
			first = false
		}
		if now.Sub(s.since) > other.lease {
			dead = append(dead, deadNode{other.id, s})
		}
	}
	n.isRelayLeader.Store(first)
	return dead
}

// ensureLease returns nil if this node certainly owns its sessions. When half of the
// lease is over, it renews the lease first: the heartbeats failed, or the process was
// frozen. If the lease was lost, it registers the node again, at the given position, and
// reports the loss.
//
// Only the goroutine of the tail calls it, on its connection.
func (n *node) ensureLease(ctx context.Context, q querier, at adapter.Position) (lost bool, err error) {
	n.mu.Lock()
	age, gone := elapsed(n.confirmed, time.Now()), n.fenced
	n.mu.Unlock()
	if !gone && age < n.opts.Lease/2 {
		return false, nil
	}
	if !gone {
		if _, err := n.beat(ctx, q); !errors.Is(err, errNodeGone) {
			return false, err
		}
	}
	if err := n.register(ctx, q, at); err != nil {
		return false, err
	}
	return true, nil
}

// elapsed returns the time between two moments, by the monotonic or the wall clock,
// whichever shows more: the monotonic one stops while a machine sleeps.
func elapsed(from, to time.Time) time.Duration {
	return max(to.Sub(from), to.Round(0).Sub(from.Round(0)))
}

// leave ends this incarnation. Its remaining sessions are parked.
func (n *node) leave(ctx context.Context) error {
	id := n.id.Load()
	pause := backoff{low: 20 * time.Millisecond, high: time.Second}
	for {
		_, err := n.end(ctx, id, nil)
		if err == nil || !isTransient(err) || !pause.wait(ctx) {
			return err
		}
	}
}

// reapDeadNode parks the sessions of a node whose row has not changed since it was observed.
func (n *node) reapDeadNode(ctx context.Context, id int64, as peerState) {
	parked, err := n.end(ctx, id, &as.seen) // no effect if the row changed or another node was faster
	switch {
	case err != nil:
		n.parking.failed(ctx, err, slog.String("node", as.name))
	case parked:
		n.parking.succeeded(ctx)
		n.opts.Logger.WarnContext(ctx, "dead node found; its sessions are parked", slog.String("node", as.name))
	}
}

// end ends an incarnation, if its row still has the given value of seen or seen is nil, and reports
// whether it did. While the notification queue of Postgres is full it sends no notification.
func (n *node) end(ctx context.Context, id int64, seen *string) (ended bool, err error) {
	for !ended && err == nil {
		ended, err = n.endPortion(ctx, id, seen)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return ended, err
}

// endPortion parks some of the sessions of an ending incarnation, and reports whether these
// were the last.
func (n *node) endPortion(ctx context.Context, id int64, seen *string) (ended bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*answerTimeout)
	defer cancel()
	for _, notify := range [...]bool{true, false} {
		err = n.pool.QueryRow(ctx, n.queries.nodeEnd, id, notify, seen).Scan(&ended)
		if !queueFull(err) {
			break
		}
	}
	return ended, err
}
