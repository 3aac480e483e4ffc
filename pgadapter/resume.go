package pgadapter

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// A claim is the resume request of a client that waits for its session.
type claim struct {
	recovery.ResumeRequest

	offset    adapter.Offset // ResumeRequest.Offset; zero if malformed
	answer    chan resumed   // receives one answer, unless abandoned
	state     atomic.Int32
	unwanted  atomic.Bool // the caller does not wait beyond the attempt in flight
	epochs    []int64     // of attempts to take the session whose outcome is unknown
	elsewhere bool        // an attempt found the session owned by another node
}

// An attempt in flight is waited for even if the client is gone: the caller must
// notify the previous owner of a session that was claimed.
const (
	claimWaits int32 = iota
	claimTried
	claimAnswered
	claimAbandoned
)

type resumed struct {
	session *recovery.Session
	err     error
}

// Resume implements recovery.Store. It waits while Options.QueueWrites is reached.
func (s *Sessions) Resume(ctx context.Context, rc recovery.ResumeRequest) (*recovery.Session, error) {
	if !isPIDHash(rc.PIDHash) {
		return nil, recovery.ErrUnknown
	}
	if err := s.Admit(ctx); err != nil {
		return nil, err
	}
	if w, waits := s.writes.last(rc.PIDHash); waits {
		_ = w.outcome.Receipt(0).Wait(ctx) // earlier writes of this node to the session come first, and may delete it
	}
	c := &claim{ResumeRequest: rc, answer: make(chan resumed, 1)}
	c.offset, _ = adapter.ParseOffset(rc.Offset) // recovery.ContinuityCheck refuses malformed offsets
	if !s.claims.add(rc.PIDHash, c) {
		return nil, adapter.ErrClosed
	}
	select {
	case r := <-c.answer:
		return r.session, r.err
	case <-ctx.Done():
		c.unwanted.Store(true)
		if c.state.CompareAndSwap(claimWaits, claimAbandoned) {
			return nil, context.Cause(ctx)
		}
		r := <-c.answer
		if r.err == errUnwanted { //nolint:errorlint // only this package returns it, unwrapped
			r.err = context.Cause(ctx)
		}
		return r.session, r.err
	}
}

// errUnwanted completes a claim whose caller has gone and that is undecided.
var errUnwanted = errors.New("claim not decided in time")

// begin starts an attempt. It returns false if no caller waits for the claim and no
// earlier attempt has an unknown outcome.
func (c *claim) begin() bool {
	return c.state.CompareAndSwap(claimWaits, claimTried) || len(c.epochs) > 0
}

// failed ends an attempt whose outcome is unknown.
func (c *claim) failed() {
	if c.state.CompareAndSwap(claimTried, claimWaits) && c.unwanted.Load() && c.state.CompareAndSwap(claimWaits, claimAbandoned) {
		c.answer <- resumed{err: errUnwanted}
	}
}

// completeClaim answers a claim. It releases a session whose caller no longer waits, and
// one that is refused now if an earlier attempt may have taken it.
func (s *Sessions) completeClaim(c *claim, r resumed) {
	if r.session == nil {
		for _, epoch := range c.epochs {
			s.write(&write{key: recovery.Key{PIDHash: c.PIDHash, Epoch: epoch}, release: &recovery.Release{}, released: true})
		}
	}
	if c.state.CompareAndSwap(claimTried, claimAnswered) {
		c.answer <- r
		return
	}
	if r.session != nil {
		s.write(&write{key: r.session.Key, release: &recovery.Release{}, released: true})
	}
}

// maxClaims bounds the claims of one transaction.
const maxClaims = 500

func (s *Sessions) runClaims(ctx context.Context) {
	for {
		pids, runs := s.claims.take(maxClaims)
		if len(runs) == 0 {
			return
		}
		s.resume(ctx, slices.Concat(runs...))
		s.claims.done(pids)
	}
}

// resume answers claims of different sessions.
func (s *Sessions) resume(ctx context.Context, claims []*claim) {
	pause := backoff{low: 20 * time.Millisecond, high: time.Second}
	for attempt := 1; ; attempt++ {
		claims = slices.DeleteFunc(claims, func(c *claim) bool { return !c.begin() })
		if len(claims) == 0 {
			return
		}
		answers, err := s.tryResume(ctx, claims)
		if err == nil {
			s.resuming.succeeded(ctx)
			s.answerClaims(claims, answers)
			return
		}
		if ctx.Err() != nil {
			err = adapter.ErrClosed
		} else if errors.Is(err, errNodeGone) || isTransient(err) {
			s.claimsFailed(ctx, claims, err)
			if attempt >= maxAttempts && exceedsResources(err) && len(claims) > 1 {
				s.resumeHalves(ctx, claims)
				return
			}
			pause.wait(ctx)
			continue
		}
		s.failClaims(claims, annotateSchemaErr(s.opts.Schema, err))
		return
	}
}

// claimsFailed ends an attempt of claims whose outcome is unknown.
func (s *Sessions) claimsFailed(ctx context.Context, claims []*claim, err error) {
	s.resuming.failed(ctx, err)
	for _, c := range claims {
		c.failed()
	}
}

func (s *Sessions) resumeHalves(ctx context.Context, claims []*claim) {
	half := len(claims) / 2
	s.resume(ctx, claims[:half:half])
	s.resume(ctx, claims[half:])
}

func (s *Sessions) answerClaims(claims []*claim, answers []resumed) {
	for i, c := range claims {
		s.completeClaim(c, answers[i])
	}
}

func (s *Sessions) failClaims(claims []*claim, err error) {
	for _, c := range claims {
		s.completeClaim(c, resumed{err: err})
	}
}

// tryResume decides claims in one transaction and two or three round trips.
func (s *Sessions) tryResume(ctx context.Context, claims []*claim) ([]resumed, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*answerTimeout)
	defer cancel()
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release() // the pool closes a connection with an open transaction

	h := s.owner.fence()
	node := h.node
	e := resumeTx{sessions: make(map[string]*sessionRow, len(claims)), batches: make(map[int64]batchPos)}
	err = conn.SendBatch(ctx, e.lockBatch(s.queries, h, claims)).Close()
	if isNodeGone(err) {
		s.owner.markFenced(node)
		return nil, errNodeGone
	}
	if err != nil {
		return nil, err
	}
	e.low = max(e.low, s.log.readableAfter(e.log))
	answers := make([]resumed, len(claims))
	var pids, last, identities []string
	var covered, from []int64
	for i, c := range claims {
		answers[i] = e.evaluate(c, node)
		if s := answers[i].session; s != nil {
			pids, last = append(pids, c.PIDHash), append(last, s.Last.String())
			identities = append(identities, s.Identity)
			covered, from = append(covered, int64(s.Applied)), append(from, int64(s.From))
			c.epochs, c.elsewhere = append(c.epochs, s.Epoch), s.OwnedElsewhere
		}
	}
	var b pgx.Batch
	if len(pids) > 0 {
		b.Queue(s.queries.resumeClaim, node, pids, covered, last, from, identities)
	}
	b.Queue("commit")
	if len(pids) > 0 {
		// The previous owner may have read batches that sent no notification to this node.
		s.log.ensureRead(e.head)
	}
	return answers, conn.SendBatch(ctx, &b).Close()
}

// A resumeTx is what the database contains for a set of claims, while their sessions are
// locked.
type resumeTx struct {
	sessions map[string]*sessionRow
	log      uint32
	low      adapter.Position
	head     adapter.Position
	batches  map[int64]batchPos
}

// A sessionRow is a row of the table sessions with its rooms and data.
type sessionRow struct {
	recovery.Session

	storedOffset string // InitialOffset as stored
	checkpoints  []recovery.Checkpoint
	node         int64
	expired      bool
}

// lockBatch begins a transaction and locks the claimed sessions.
func (e *resumeTx) lockBatch(q *queries, h fence, claims []*claim) *pgx.Batch {
	pids, ids := make([]string, len(claims)), make([]int64, len(claims))
	for i, c := range claims {
		pids[i], ids[i] = c.PIDHash, batchID(c.offset.Position)
	}
	b := &pgx.Batch{}
	b.Queue("begin isolation level read committed")
	h.queue(b, q)
	b.Queue(q.resumeSessions, pids).Query(e.readSessions)
	b.Queue(q.resumeRooms, pids).Query(e.readRooms)
	b.Queue(q.resumeData, pids).Query(e.readData)
	b.Queue(q.resumePresence, pids).Query(e.readPresence)
	b.Queue(q.resumeLog, ids).Query(e.readLog)
	return b
}

func (e *resumeTx) readSessions(rows pgx.Rows) error {
	for rows.Next() {
		var r sessionRow
		var window int64
		var last string
		var seen []int64
		var before, proven *string
		var known bool
		var coveredBefore, coveredProven adapter.Position
		err := rows.Scan(&r.PIDHash, &r.Epoch, &r.Identity, &r.ID, &r.Namespace, &window, &r.Opened, &r.storedOffset, &seen,
			&last, &known, &r.Applied, &before, &coveredBefore, &proven, &coveredProven, &r.node, &r.expired)
		if err != nil {
			return err
		}
		r.ID, r.Namespace, r.InitialOffset = fromText(r.ID), fromText(r.Namespace), fromText(r.storedOffset)
		r.Skip = rangesOf(seen)
		r.Window = time.Duration(window) * time.Millisecond
		if known {
			r.addCheckpoint(last, r.Applied)
		}
		if before != nil {
			r.addCheckpoint(*before, coveredBefore)
		}
		if proven != nil {
			r.addCheckpoint(*proven, coveredProven)
		}
		e.sessions[r.PIDHash] = &r
	}
	return rows.Err()
}

// addCheckpoint adds a checkpoint of the row. It ignores an offset that this package
// cannot have written, which proves nothing.
func (r *sessionRow) addCheckpoint(last string, covered adapter.Position) {
	if o, err := adapter.ParseOffset(last); err == nil {
		r.checkpoints = append(r.checkpoints, recovery.Checkpoint{Last: o, Covered: covered})
	}
}

func (e *resumeTx) readRooms(rows pgx.Rows) error {
	var pid string
	var room string
	var joined adapter.Position
	var left *adapter.Position
	_, err := pgx.ForEachRow(rows, []any{&pid, &room, &joined, &left}, func() error {
		r := e.sessions[pid]
		r.Rooms = append(r.Rooms, roomIntervalOf(room, joined, left))
		return nil
	})
	return err
}

func (e *resumeTx) readData(rows pgx.Rows) error {
	var pid, key, value string
	_, err := pgx.ForEachRow(rows, []any{&pid, &key, &value}, func() error {
		setData(&e.sessions[pid].Session, key, json.RawMessage(value))
		return nil
	})
	return err
}

func (e *resumeTx) readPresence(rows pgx.Rows) error {
	var pid, state string
	var key recovery.PresenceKey
	_, err := pgx.ForEachRow(rows, []any{&pid, &key.Event, &key.Room, &state}, func() error {
		s := &e.sessions[pid].Session
		if s.Presence == nil {
			s.Presence = make(map[recovery.PresenceKey]json.RawMessage)
		}
		s.Presence[key] = json.RawMessage(state)
		return nil
	})
	return err
}

func (e *resumeTx) readLog(rows pgx.Rows) error {
	for rows.Next() {
		var number int64
		var newest bool
		var id, origin, seq *int64
		var packets *int
		if err := rows.Scan(&number, &e.low, &newest, &id, &origin, &seq, &packets); err != nil {
			return err
		}
		e.log = uint32(number)
		e.head = max(e.head, e.low)
		if id == nil {
			continue
		}
		m := batchPos{id: *id, origin: *origin, seq: *seq, packets: *packets}
		e.batches[m.id] = m
		if newest {
			e.head = max(e.head, m.position())
		}
	}
	return rows.Err()
}

// at returns the offset of the record at p, or the zero Offset if the log does not have it.
func (e *resumeTx) at(p adapter.Position) adapter.Offset {
	m, ok := e.batches[batchID(p)]
	if !ok || p > m.position() {
		return adapter.Offset{}
	}
	return adapter.Offset{Position: p, Log: e.log, Check: checkValue(e.log, m.origin, m.seq)}
}

// evaluate answers a claim as if the session were given to node.
func (e *resumeTx) evaluate(c *claim, node int64) resumed {
	r, ok := e.sessions[c.PIDHash]
	switch {
	case !ok || r.Namespace != c.Namespace:
		return resumed{err: recovery.ErrUnknown}
	case r.expired:
		return resumed{err: recovery.ErrExpired}
	}
	check := recovery.ContinuityCheck{
		ResumeRequest: c.ResumeRequest, Opened: r.Opened, Applied: r.Applied, InitialOffset: r.InitialOffset, BoundIdentity: r.Identity, Log: e.log, Low: e.low, Head: e.head,
		Checkpoints: r.checkpoints,
	}
	if offsetText(c.Offset) == r.storedOffset {
		check.InitialOffset = c.Offset // even if it was too long to be stored unchanged
	}
	from, last, err := check.Check(e.at)
	if err != nil {
		return resumed{err: err}
	}
	s := r.Session
	s.Epoch++
	s.Identity = c.Identity
	s.From, s.Last = from, last
	s.OwnedElsewhere = r.node != 0 && r.node != node || c.elsewhere
	return resumed{session: &s}
}
