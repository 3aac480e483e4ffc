package pgadapter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// A sweeper keeps house: checkpoints of this node's sessions, sessions whose
// clients stayed away, sessions of dead nodes, and the partitions of the log.
type sweeper struct {
	db *DB

	mu              sync.Mutex
	node            recovery.Node // nil until sessions are bound
	position        adapter.Position
	connectionsLost int64                        // how often the tail had lost its connection at the last checkpoint
	unwritten       map[string]recovery.Progress // by pid; of checkpoints that could not be written
}

func newSweeper(db *DB) *sweeper {
	return &sweeper{db: db, unwritten: make(map[string]recovery.Progress)}
}

// run sweeps until ctx ends.
func (s *sweeper) run(ctx context.Context) {
	checkpoints := time.NewTicker(s.db.opts.Retention / 4)
	defer checkpoints.Stop()
	sweeps := time.NewTicker(min(s.db.opts.Lease, s.db.opts.Retention/4))
	defer sweeps.Stop()
	for {
		var err error
		select {
		case <-checkpoints.C:
			err = s.checkpoint(ctx)
		case <-sweeps.C:
			err = s.sweep(ctx)
		case <-ctx.Done():
			return
		}
		if err != nil && ctx.Err() == nil {
			s.db.opts.Logger.WarnContext(ctx, "sweep broke off; the next one goes on", slog.Any("error", err))
		}
	}
}

// checkpoint writes down how far the sessions of this node have come.
func (s *sweeper) checkpoint(ctx context.Context) error {
	s.mu.Lock()
	node := s.node
	s.mu.Unlock()
	if node == nil {
		return nil
	}
	before := s.db.node.fence()
	quiet, lines := s.position, s.db.tail.connectionsLost.Load()
	anew := lines != s.connectionsLost
	if anew { // Postgres may have crashed, or be another server, and lack writes that it had acknowledged
		quiet = recovery.All
		clear(s.unwritten)
	}
	at, standings := node.Checkpoint(quiet)
	s.position = at
	for _, standing := range standings {
		s.unwritten[standing.PIDHash] = standing
	}
	// What the sessions became up to that position, or that they ended, may not be
	// written yet; whoever reads the checkpoint takes it for complete.
	if err := s.waitWritten(ctx); err != nil {
		return fmt.Errorf("checkpoint: sessions not written: %w", err)
	}
	h := s.db.node.fence() // its cursor is not before at
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

func (s *sweeper) waitWritten(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*answerTimeout)
	defer cancel()
	return s.db.sessions.flushBarrier(ctx)
}

func (s *sweeper) writeCheckpoint(ctx context.Context, h fence, at adapter.Position, anew bool) error {
	n := len(s.unwritten)
	pids, epochs := make([]string, 0, n), make([]int64, 0, n)
	known, last := make([]bool, 0, n), make([]string, 0, n)
	for pid, standing := range s.unwritten {
		pids, epochs = append(pids, pid), append(epochs, standing.Epoch)
		known, last = append(known, !standing.Busy), append(last, standing.Last.String())
	}
	var b pgx.Batch
	h.queue(&b, s.db.queries)
	if anew {
		b.Queue(s.db.queries.checkpointReset, h.node)
	}
	if n > 0 {
		b.Queue(s.db.queries.checkpointSessions, h.node, int64(at), pids, epochs, known, last)
	}
	b.Queue(s.db.queries.checkpointNode, h.node, int64(at))
	ctx, cancel := context.WithTimeout(ctx, 2*answerTimeout)
	defer cancel()
	if err := s.db.pool.SendBatch(ctx, &b).Close(); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// sweep ends sessions and rotates the log. Every node does; each row and each
// partition is taken by one of them.
func (s *sweeper) sweep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*answerTimeout)
	defer cancel()
	return errors.Join(s.expire(ctx), s.rotate(ctx))
}

// expire ends the sessions whose clients stayed away for too long, and then those of
// clients that are away beyond Options.MaxParked.
func (s *sweeper) expire(ctx context.Context) error {
	if _, err := s.end(ctx, func(b *pgx.Batch) *pgx.QueuedQuery { return b.Queue(s.db.queries.sweepExpired) }); err != nil {
		return fmt.Errorf("expire sessions: %w", err)
	}
	n, err := s.end(ctx, func(b *pgx.Batch) *pgx.QueuedQuery {
		b.Queue(s.db.queries.sweepTurn)
		return b.Queue(s.db.queries.sweepParked, s.db.opts.MaxParked)
	})
	if n > 0 {
		s.db.opts.Logger.WarnContext(ctx, "more clients are away than Options.MaxParked; the sessions that would expire first are over",
			slog.Int("ended", n), slog.Int("max_parked", s.db.opts.MaxParked))
	}
	if err != nil {
		return fmt.Errorf("bound parked sessions: %w", err)
	}
	return nil
}

// maxEnded is how many sessions the statements of end end at most.
const maxEnded = 1000

// end runs a statement that ends sessions until there is nothing left for it to do, and
// returns how many they were.
func (s *sweeper) end(ctx context.Context, queue func(*pgx.Batch) *pgx.QueuedQuery) (ended int, err error) {
	for {
		s.mu.Lock()
		node := s.node
		s.mu.Unlock()
		if node == nil || !node.Serving() {
			return ended, nil // nobody to tell: another node will
		}
		var b pgx.Batch
		var over []*recovery.Session
		b.Queue(s.db.queries.byKey)
		queue(&b).Query(func(rows pgx.Rows) (err error) {
			over, err = pgx.CollectRows(rows, scanExpired)
			return err
		})
		if err := s.db.pool.SendBatch(ctx, &b).Close(); err != nil {
			return ended, err
		}
		for _, session := range over {
			node.Expired(session)
		}
		ended += len(over)
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
	var stays [][3]json.RawMessage
	values := make(map[string]json.RawMessage)
	if err := errors.Join(json.Unmarshal(rooms, &stays), json.Unmarshal(data, &values)); err != nil {
		return nil, err
	}
	for _, stay := range stays {
		var room string
		var joined adapter.Position
		var left *adapter.Position
		if err := errors.Join(json.Unmarshal(stay[0], &room), json.Unmarshal(stay[1], &joined), json.Unmarshal(stay[2], &left)); err != nil {
			return nil, err
		}
		s.Rooms = append(s.Rooms, stayOf(room, joined, left))
	}
	for key, value := range values {
		setData(&s, key, value)
	}
	return &s, nil
}

// setData sets a value under a key as the table has it.
func setData(s *recovery.Session, key string, value []byte) {
	if s.Data == nil {
		s.Data = make(map[string]json.RawMessage)
	}
	s.Data[fromText(key)] = value
}

// rotate goes on to the next partition of the log when it is time, and drops what
// nothing in the log refers to any more.
func (s *sweeper) rotate(ctx context.Context) error {
	retention := s.db.opts.Retention.Milliseconds()
	var empty, switched bool
	err := s.db.pool.QueryRow(ctx, s.db.queries.sweepEmpty, retention).Scan(&empty)
	if sqlState(err) == "55P03" {
		return nil // somebody reads it; the current partition grows until the next sweep
	}
	if err == nil && empty {
		err = s.db.pool.QueryRow(ctx, s.db.queries.sweepSwitch, retention).Scan(&switched)
	}
	if err == nil && switched {
		_, err = s.db.pool.Exec(ctx, s.db.queries.sweepRooms)
	}
	if err == nil {
		_, err = s.db.pool.Exec(ctx, s.db.queries.sweepOutbox, retention)
	}
	if err != nil {
		return fmt.Errorf("rotate the log: %w", err)
	}
	return nil
}

// reapDeadNode parks the sessions of a node that has not moved since it was sighted.
func (s *sweeper) reapDeadNode(ctx context.Context, id int64, as peerState) {
	parked, err := s.db.endNode(ctx, id, &as.seen) // not if it moved, or another node was faster
	switch {
	case err != nil:
		s.db.opts.Logger.WarnContext(ctx, "sessions of a dead node not parked; the next heartbeat tries again", slog.String("node", as.name), slog.Any("error", err))
	case parked:
		s.db.opts.Logger.WarnContext(ctx, "a node is dead; its sessions were parked", slog.String("node", as.name))
	}
}

// endNode ends a life, if the node was last seen then, or in any case, and reports
// whether it did. While Postgres has no room for notifications it does so without a bell.
func (db *DB) endNode(ctx context.Context, id int64, seen *string) (ended bool, err error) {
	for !ended && err == nil {
		ended, err = db.endPortion(ctx, id, seen)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return ended, err
}

// endPortion parks some of the sessions of a life that ends, and reports whether these
// were the last.
func (db *DB) endPortion(ctx context.Context, id int64, seen *string) (ended bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*answerTimeout)
	defer cancel()
	for _, ring := range [...]bool{true, false} {
		err = db.pool.QueryRow(ctx, db.queries.nodeEnd, id, ring, seen).Scan(&ended)
		if !queueFull(err) {
			break
		}
	}
	return ended, err
}
