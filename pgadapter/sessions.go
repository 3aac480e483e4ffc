package pgadapter

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// Sessions is the recovery.Store of a DB. It has two goroutines: one makes writes
// durable, many per transaction; one claims sessions, many per transaction. Its methods
// are safe for concurrent use.
type Sessions struct {
	base
	owner owningNode
	log   localLog

	presenceChanged func() // called after writes that may have changed the presence of sessions

	writes  *keyedQueue[*write]
	claims  *keyedQueue[*claim]
	working sync.WaitGroup
	cancel  context.CancelFunc

	writing, resuming outage // of the goroutines that do it

	mu   sync.Mutex
	node recovery.Node // nil before Bind
}

// An owningNode is the node that owns the sessions of a store.
type owningNode interface {
	fence() fence
	// markFenced records that the row of an incarnation is missing.
	markFenced(id int64)
}

// A localLog is the part of the log that this node has read.
type localLog interface {
	// readableAfter returns the position after which this node can decode the log with the given number.
	readableAfter(log uint32) adapter.Position
	// ensureRead makes the node read the log up to p, which another node has already read.
	ensureRead(p adapter.Position)
}

// A write is a change to make durable: exactly one of open, change and release is
// set.
type write struct {
	key      recovery.Key
	open     *recovery.Session
	change   *recovery.Change
	more     []*write // with change: later changes that are merged into it
	release  *recovery.Release
	released bool // with release: keep the recorded checkpoint of the client
	repeated bool // the outcome of an earlier attempt is unknown
	timeline int  // the timeline of the log in which its positions were taken
	outcome  *adapter.Outcome
}

func newSessions(b base, owner owningNode, log localLog, presenceChanged func()) *Sessions {
	return &Sessions{
		base: b, owner: owner, log: log, presenceChanged: presenceChanged, writes: newKeyedQueue((*write).canMerge), claims: newKeyedQueue(func(_, _ *claim) bool { return false }),
		writing:  outage{logger: b.opts.Logger, begins: "sessions not written; retrying until Postgres answers", over: "sessions are written again"},
		resuming: outage{logger: b.opts.Logger, begins: "sessions not resumed; retrying until Postgres answers", over: "sessions are resumed again"},
	}
}

// start starts the goroutines, which end after close.
func (s *Sessions) start() {
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.Background())
	s.working.Go(func() { s.runClaims(ctx) })
	s.working.Go(func() { s.runWrites(ctx) })
}

// close completes what is queued, until ctx ends.
func (s *Sessions) close(ctx context.Context) {
	stop := context.AfterFunc(ctx, s.cancel)
	defer stop()
	s.claims.close()
	s.writes.close()
	s.working.Wait()
	s.cancel()
}

// Bind implements recovery.Store.
func (s *Sessions) Bind(n recovery.Node) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.node != nil {
		return errBound
	}
	s.node = n
	return nil
}

// bound implements sweptStore.
func (s *Sessions) bound() recovery.Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.node
}

// Retention implements recovery.Retainer: it is Options.Retention.
func (s *Sessions) Retention() time.Duration { return s.opts.Retention }

// Admit implements recovery.Store. It waits while Options.QueueWrites is reached.
func (s *Sessions) Admit(ctx context.Context) error {
	return s.writes.waitSpace(ctx, s.opts.QueueWrites)
}

// Open implements recovery.Store. It refuses a PIDHash that is not a hash of a private
// id.
func (s *Sessions) Open(session *recovery.Session) *adapter.Receipt {
	if !isPIDHash(session.PIDHash) {
		return adapter.Completed(errors.New("open session: PIDHash is not the hash of a private id"))
	}
	return s.write(&write{key: session.Key, open: session})
}

// Change implements recovery.Store.
func (s *Sessions) Change(k recovery.Key, c recovery.Change) *adapter.Receipt {
	return s.write(&write{key: k, change: &c})
}

// End implements recovery.Store.
func (s *Sessions) End(k recovery.Key, e recovery.Release) *adapter.Receipt {
	return s.write(&write{key: k, release: &e})
}

func (s *Sessions) write(w *write) *adapter.Receipt {
	w.outcome = adapter.NewOutcome()
	w.timeline = s.owner.fence().timeline.number
	switch {
	case !isPIDHash(w.key.PIDHash):
		w.outcome.Complete(recovery.ErrLost)
	case !s.writes.add(w.key.PIDHash, w):
		w.outcome.Complete(adapter.ErrClosed)
	}
	return w.outcome.Receipt(0)
}

// canMerge reports whether next can be made durable together with w in one transaction:
// both are changes of the same session in the same epoch.
func (w *write) canMerge(next *write) bool {
	return w.change != nil && next.change != nil && w.key == next.key && w.timeline == next.timeline
}

// complete sets the outcome of the write and of those merged into it.
func (w *write) complete(err error) {
	w.outcome.Complete(err)
	for _, later := range w.more {
		later.outcome.Complete(err)
	}
}

// maxWrites bounds the writes of one transaction.
const maxWrites = 1000

func (s *Sessions) runWrites(ctx context.Context) {
	for {
		pids, runs := s.writes.take(maxWrites)
		if len(runs) == 0 {
			return
		}
		writes := make([]*write, len(runs))
		for i, run := range runs {
			writes[i] = run[0]
			run[0].more = run[1:]
		}
		s.flushOrSplit(ctx, writes)
		s.writes.done(pids)
	}
}

// flushOrSplit makes writes of different sessions durable. If Postgres refuses the
// transaction for good, it halves it to find the write at fault, so that others succeed.
func (s *Sessions) flushOrSplit(ctx context.Context, writes []*write) {
	results, err := s.flushUntilAnswered(ctx, writes)
	switch {
	case err == nil:
		for i, w := range writes {
			w.complete(results[i])
		}
	case ctx.Err() != nil:
		for _, w := range writes {
			w.complete(err)
		}
	case len(writes) == 1:
		s.failWrite(ctx, writes[0], annotateSchemaErr(s.opts.Schema, err))
	default:
		half := len(writes) / 2
		s.flushOrSplit(ctx, writes[:half])
		s.flushOrSplit(ctx, writes[half:])
	}
}

// failWrite completes a write that Postgres will never accept. Without it the record of
// the session is wrong, so failWrite deletes the session: the client starts a new one
// when it returns.
func (s *Sessions) failWrite(ctx context.Context, w *write, cause error) {
	if w.open == nil {
		s.opts.Logger.ErrorContext(ctx, "change of a session refused; the session is deleted", slog.Any("error", cause))
		_, err := s.flushUntilAnswered(ctx, []*write{{key: w.key, release: &recovery.Release{}, timeline: w.timeline}})
		if err != nil {
			s.opts.Logger.ErrorContext(ctx, "session not deleted", slog.Any("error", err))
		}
	}
	w.complete(cause)
}

// flushBarrier waits until everything that was written before the call has an outcome.
// It returns an error only if ctx ends first.
func (s *Sessions) flushBarrier(ctx context.Context) error {
	for _, w := range s.writes.latest() {
		if err := w.outcome.Receipt(0).Wait(ctx); err != nil && ctx.Err() != nil {
			return err
		}
	}
	return nil
}

// maxAttempts is how often a transaction of several writes or claims is tried before it
// is halved, if it may be too large for Postgres.
const maxAttempts = 3

// flushUntilAnswered makes writes durable, and retries while the error is transient. It
// returns the error of a transaction of several writes that may be too large.
func (s *Sessions) flushUntilAnswered(ctx context.Context, writes []*write) ([]error, error) {
	pause := backoff{low: 20 * time.Millisecond, high: time.Second}
	for attempt := 1; ; attempt++ {
		results, err := s.flush(ctx, writes)
		switch {
		case err == nil:
			s.writing.succeeded(ctx)
			return results, nil
		case ctx.Err() != nil:
			return nil, adapter.ErrClosed
		case !errors.Is(err, errNodeGone) && !isTransient(err):
			return nil, err
		}
		s.writing.failed(ctx, err)
		for _, w := range writes {
			w.repeated = true
		}
		if len(writes) > 1 && attempt >= maxAttempts && exceedsResources(err) {
			return nil, err // half of it may succeed
		}
		pause.wait(ctx)
	}
}
