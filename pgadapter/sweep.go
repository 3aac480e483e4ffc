package pgadapter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// A sweeper runs the periodic maintenance: checkpoints of the sessions of this node,
// expired sessions, and the partitions of the log.
type sweeper struct {
	base
	store sweptStore
	fence func() fence
	lost  func() int64 // how often the connection that reads the log was lost

	presenceChanged func() // called after the end of sessions, which may have been present in rooms

	// Of the goroutine.
	sweeping, checkpointing outage
	position                adapter.Position
	connectionsLost         int64                        // at the last checkpoint
	unwritten               map[string]recovery.Progress // by pid_hash; of checkpoints that are not written yet
}

// A sweptStore is the store of the sessions of this node.
type sweptStore interface {
	// bound returns the server whose sessions the store has; nil before Bind.
	bound() recovery.Node
	// flushBarrier waits until everything that was written before the call has an outcome.
	flushBarrier(ctx context.Context) error
}

func newSweeper(b base, store sweptStore, fence func() fence, lost func() int64, presenceChanged func()) *sweeper {
	return &sweeper{
		base: b, store: store, fence: fence, lost: lost, presenceChanged: presenceChanged, unwritten: make(map[string]recovery.Progress),
		sweeping:      outage{logger: b.opts.Logger, begins: "sweep failed; the next one continues", over: "sweep succeeded again"},
		checkpointing: outage{logger: b.opts.Logger, begins: "checkpoint failed; the next one continues", over: "checkpoint succeeded again"},
	}
}

// run sweeps until ctx ends.
func (s *sweeper) run(ctx context.Context) {
	checkpoints := time.NewTicker(s.opts.Retention / 4)
	defer checkpoints.Stop()
	sweeps := time.NewTicker(min(s.opts.Lease, s.opts.Retention/4))
	defer sweeps.Stop()
	for {
		var err error
		var o *outage
		select {
		case <-checkpoints.C:
			o, err = &s.checkpointing, s.checkpoint(ctx)
		case <-sweeps.C:
			o, err = &s.sweeping, s.sweep(ctx)
		case <-ctx.Done():
			return
		}
		switch {
		case err == nil:
			o.succeeded(ctx)
		case ctx.Err() == nil:
			o.failed(ctx, err)
		}
	}
}

// checkpoint records the progress of the sessions of this node.
func (s *sweeper) checkpoint(ctx context.Context) error {
	node := s.store.bound()
	if node == nil {
		return nil
	}
	before := s.fence()
	since, lines := s.position, s.lost()
	marked, err := s.marked(ctx, before.node)
	if err != nil {
		return err
	}
	anew := !marked || lines != s.connectionsLost
	if anew { // Postgres may have crashed or been replaced, and lack acknowledged writes
		since = recovery.All
		clear(s.unwritten)
	}
	at, all := node.Checkpoint(since)
	s.position = at
	for _, progress := range all {
		s.unwritten[progress.PIDHash] = progress
	}
	// Queued writes up to that position must be durable first: a reader of the checkpoint
	// takes the rows for complete up to there.
	if err := s.waitWritten(ctx); err != nil {
		return fmt.Errorf("checkpoint: sessions not written: %w", err)
	}
	h := s.fence() // its cursor is not before at
	if h.node != before.node || h.timeline.number != before.timeline.number {
		return errors.New("checkpoint: the log or the node changed meanwhile")
	}
	if err := s.writeCheckpoint(ctx, h, at, anew); err != nil {
		return err
	}
	s.connectionsLost = lines
	clear(s.unwritten)
	return nil
}

// marked reports whether the last checkpoint of a node is still valid: false for the first
// one, and after a crash of Postgres or a promotion.
func (s *sweeper) marked(ctx context.Context, node int64) (marked bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if err := s.pool.QueryRow(ctx, s.queries.markLook, node).Scan(&marked); err != nil {
		return false, fmt.Errorf("checkpoint: %w", err)
	}
	return marked, nil
}

func (s *sweeper) waitWritten(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*answerTimeout)
	defer cancel()
	return s.store.flushBarrier(ctx)
}

func (s *sweeper) writeCheckpoint(ctx context.Context, h fence, at adapter.Position, anew bool) error {
	n := len(s.unwritten)
	pids, epochs := make([]string, 0, n), make([]int64, 0, n)
	known, last := make([]bool, 0, n), make([]string, 0, n)
	for pid, progress := range s.unwritten {
		pids, epochs = append(pids, pid), append(epochs, progress.Epoch)
		known, last = append(known, !progress.Busy), append(last, progress.Last.String())
	}
	var b pgx.Batch
	h.queue(&b, s.queries)
	if anew {
		b.Queue(s.queries.checkpointReset, h.node)
		b.Queue(s.queries.markSet, h.node)
	} else {
		b.Queue(s.queries.markCheck, h.node)
	}
	if n > 0 {
		b.Queue(s.queries.checkpointSessions, h.node, int64(at), pids, epochs, known, last)
	}
	b.Queue(s.queries.checkpointNode, h.node, int64(at))
	ctx, cancel := context.WithTimeout(ctx, 2*answerTimeout)
	defer cancel()
	if err := s.pool.SendBatch(ctx, &b).Close(); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// sweep deletes expired sessions, rotates the log, and deletes expired answers. Every node sweeps; one node handles
// each row and each partition.
func (s *sweeper) sweep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*answerTimeout)
	defer cancel()
	return errors.Join(s.expire(ctx), s.rotate(ctx), s.forget(ctx))
}

// expire deletes the sessions whose window is over, and then the parked sessions beyond
// Options.MaxParked.
func (s *sweeper) expire(ctx context.Context) error {
	if _, err := s.end(ctx, func(b *pgx.Batch) *pgx.QueuedQuery { return b.Queue(s.queries.sweepExpired) }); err != nil {
		return fmt.Errorf("expire sessions: %w", err)
	}
	n, err := s.end(ctx, func(b *pgx.Batch) *pgx.QueuedQuery {
		b.Queue(s.queries.sweepTurn)
		return b.Queue(s.queries.sweepParked, s.opts.MaxParked)
	})
	if n > 0 {
		s.opts.Logger.WarnContext(ctx, "more sessions are parked than Options.MaxParked; deleted those that would expire first",
			slog.Int("ended", n), slog.Int("max_parked", s.opts.MaxParked))
	}
	if err != nil {
		return fmt.Errorf("bound parked sessions: %w", err)
	}
	return nil
}

// forgetAtOnce is how many answers one statement of forget deletes at most.
const forgetAtOnce = 1000

// forget deletes the answers of Once whose window is over.
func (s *sweeper) forget(ctx context.Context) error {
	for {
		tag, err := s.pool.Exec(ctx, s.queries.sweepAnswers, forgetAtOnce)
		if err != nil {
			return fmt.Errorf("delete expired answers: %w", err)
		}
		if tag.RowsAffected() < forgetAtOnce {
			return nil
		}
	}
}

// maxEnded is how many sessions one run of a statement of end deletes at most.
const maxEnded = 1000

// end runs a statement that deletes sessions until nothing is left to delete, and returns
// their number.
func (s *sweeper) end(ctx context.Context, queue func(*pgx.Batch) *pgx.QueuedQuery) (ended int, err error) {
	for {
		node := s.store.bound()
		if node == nil || !node.Serving() {
			return ended, nil // OnExpired cannot run here; another node deletes them
		}
		var b pgx.Batch
		var over []*recovery.Session
		b.Queue(s.queries.byKey)
		queue(&b).Query(func(rows pgx.Rows) (err error) {
			over, err = pgx.CollectRows(rows, scanExpired)
			return err
		})
		if err := s.pool.SendBatch(ctx, &b).Close(); err != nil {
			return ended, err
		}
		for _, session := range over {
			node.Expired(session)
		}
		ended += len(over)
		if len(over) > 0 {
			s.presenceChanged()
		}
		if len(over) < maxEnded {
			return ended, nil
		}
	}
}

func scanExpired(r pgx.CollectableRow) (*recovery.Session, error) {
	var s recovery.Session
	var window int64
	var rooms, data []byte
	err := r.Scan(&s.PIDHash, &s.Epoch, &s.ID, &s.Namespace, &window, &s.Opened, &s.InitialOffset, &rooms, &data)
	if err != nil {
		return nil, err
	}
	s.ID, s.Namespace, s.InitialOffset = fromText(s.ID), fromText(s.Namespace), fromText(s.InitialOffset)
	s.Window = time.Duration(window) * time.Millisecond
	var intervals [][3]json.RawMessage
	values := make(map[string]json.RawMessage)
	if err := errors.Join(json.Unmarshal(rooms, &intervals), json.Unmarshal(data, &values)); err != nil {
		return nil, err
	}
	for _, interval := range intervals {
		var room string
		var joined adapter.Position
		var left *adapter.Position
		if err := errors.Join(json.Unmarshal(interval[0], &room), json.Unmarshal(interval[1], &joined), json.Unmarshal(interval[2], &left)); err != nil {
			return nil, err
		}
		s.Rooms = append(s.Rooms, roomIntervalOf(room, joined, left))
	}
	for key, value := range values {
		setData(&s, key, value)
	}
	return &s, nil
}

// rotate switches to the next partition of the log when it is due, and deletes rooms that
// no record in the log refers to.
func (s *sweeper) rotate(ctx context.Context) error {
	retention := s.opts.Retention.Milliseconds()
	var empty, switched bool
	err := s.pool.QueryRow(ctx, s.queries.sweepEmpty, retention).Scan(&empty)
	if sqlState(err) == "55P03" {
		return nil // a reader holds a lock; the current partition grows until the next sweep
	}
	if err == nil && empty {
		err = s.pool.QueryRow(ctx, s.queries.sweepSwitch, retention).Scan(&switched)
	}
	if err == nil && switched {
		_, err = s.pool.Exec(ctx, s.queries.sweepRooms)
	}
	if err == nil {
		_, err = s.pool.Exec(ctx, s.queries.sweepOutbox, retention)
	}
	if err == nil && switched {
		_, err = s.pool.Exec(ctx, s.queries.sweepPresence, 2*retention)
		if sqlState(err) == "55P03" {
			err = nil // the lock was busy for long; the next rotation forgets more
		}
	}
	if err != nil {
		return fmt.Errorf("rotate the log: %w", err)
	}
	return nil
}
