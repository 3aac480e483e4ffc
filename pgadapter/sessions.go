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

// Sessions is the recovery.Store of a DB. Two goroutines work for it: one makes
// writes durable, many per transaction; one claims sessions, many per
// transaction.
type Sessions struct {
	db      *DB
	writes  *keyedQueue[*write]
	claims  *keyedQueue[*claim]
	working sync.WaitGroup
	cancel  context.CancelFunc
}

// A write is one thing to make durable: exactly one of open, change and ending is
// set.
type write struct {
	key      recovery.Key
	open     *recovery.Session
	change   *recovery.Change
	more     []*write // with change: later changes that are made together with it
	ending   *recovery.Release
	released bool // with ending: what is recorded of the client stands
	repeated bool // an attempt was made whose outcome is not known
	timeline int  // of the log, on which its positions were taken
	outcome  *recovery.Outcome
}

func newSessions(db *DB) *Sessions {
	return &Sessions{db: db, writes: newKeyedQueue((*write).canMerge), claims: newKeyedQueue(func(_, _ *claim) bool { return false })}
}

// start starts the goroutines; they end when close was called.
func (s *Sessions) start() {
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.Background())
	s.working.Go(func() { s.runClaims(ctx) })
	s.working.Go(func() { s.runWrites(ctx) })
}

// close finishes what was begun, until ctx ends.
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
	w := s.db.sweeper
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.node != nil {
		return errors.New("store is bound to a server already")
	}
	w.node = n
	return nil
}

// Admit implements recovery.Store. It waits beyond Options.QueueWrites.
func (s *Sessions) Admit(ctx context.Context) error {
	return s.writes.waitSpace(ctx, s.db.opts.QueueWrites)
}

// Open implements recovery.Store. What cannot be the hash of a private id is
// refused.
func (s *Sessions) Open(session *recovery.Session) *recovery.Outcome {
	if !isPIDHash(session.PIDHash) {
		return recovery.Completed(errors.New("open session: not the hash of a private id"))
	}
	return s.write(&write{key: session.Key, open: session})
}

// Change implements recovery.Store.
func (s *Sessions) Change(k recovery.Key, c recovery.Change) *recovery.Outcome {
	return s.write(&write{key: k, change: &c})
}

// End implements recovery.Store.
func (s *Sessions) End(k recovery.Key, e recovery.Release) *recovery.Outcome {
	return s.write(&write{key: k, ending: &e})
}

func (s *Sessions) write(w *write) *recovery.Outcome {
	w.outcome = recovery.NewOutcome()
	w.timeline = s.db.node.fence().timeline.number
	switch {
	case !isPIDHash(w.key.PIDHash):
		w.outcome.Complete(recovery.ErrLost)
	case !s.writes.add(w.key.PIDHash, w):
		w.outcome.Complete(adapter.ErrClosed)
	}
	return w.outcome
}

// canMerge reports whether the write can be made in one transaction with an earlier one
// of its session, as if it were one: both are changes of the same tenure.
func (w *write) canMerge(next *write) bool {
	return w.change != nil && next.change != nil && w.key == next.key && w.timeline == next.timeline
}

// complete makes the outcome of the write, and of those made with it, known.
func (w *write) complete(err error) {
	w.outcome.Complete(err)
	for _, later := range w.more {
		later.outcome.Complete(err)
	}
}

// maxWrites bounds a transaction of the writer.
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

// flushOrSplit makes writes of different sessions durable. A write that Postgres
// refuses for good is found by halving, lest it takes its neighbors with it.
func (s *Sessions) flushOrSplit(ctx context.Context, writes []*write) {
	verdicts, err := s.flushUntilAnswered(ctx, writes)
	switch {
	case err == nil:
		for i, w := range writes {
			w.complete(verdicts[i])
		}
	case ctx.Err() != nil:
		for _, w := range writes {
			w.complete(err)
		}
	case len(writes) == 1:
		s.failWrite(ctx, writes[0], annotateSchemaErr(s.db.opts.Schema, err))
	default:
		half := len(writes) / 2
		s.flushOrSplit(ctx, writes[:half])
		s.flushOrSplit(ctx, writes[half:])
	}
}

// failWrite answers a write that Postgres will never take. Without it the record of
// its session is wrong, so the session is over: its client starts anew when it
// comes back.
func (s *Sessions) failWrite(ctx context.Context, w *write, cause error) {
	if w.open == nil {
		s.db.opts.Logger.ErrorContext(ctx, "a change of a session was refused; the session is over", slog.Any("error", cause))
		_, err := s.flushUntilAnswered(ctx, []*write{{key: w.key, ending: &recovery.Release{}, timeline: w.timeline}})
		if err != nil {
			s.db.opts.Logger.ErrorContext(ctx, "the session could not be ended", slog.Any("error", err))
		}
	}
	w.complete(cause)
}

// flushBarrier returns nil when everything that was written before the call has its
// outcome.
func (s *Sessions) flushBarrier(ctx context.Context) error {
	for _, w := range s.writes.latest() {
		if err := w.outcome.Wait(ctx); err != nil && ctx.Err() != nil {
			return err
		}
	}
	return nil
}

// maxAttempts is how often writes or claims are tried in one transaction that may be too
// large for Postgres, before they are halved.
const maxAttempts = 3

// flushUntilAnswered makes writes durable, and tries again as long as the failure may
// pass. Of several writes that may be too many at once it returns the error.
func (s *Sessions) flushUntilAnswered(ctx context.Context, writes []*write) ([]error, error) {
	pause := backoff{low: 20 * time.Millisecond, high: time.Second}
	for attempt := 1; ; attempt++ {
		verdicts, err := s.flush(ctx, writes)
		switch {
		case err == nil:
			return verdicts, nil
		case ctx.Err() != nil:
			return nil, adapter.ErrClosed
		case !errors.Is(err, errNodeGone) && !isTransient(err):
			return nil, err
		}
		if attempt == 1 {
			s.db.opts.Logger.WarnContext(ctx, "sessions not written; trying again until Postgres answers", slog.Any("error", err))
		}
		for _, w := range writes {
			w.repeated = true
		}
		if len(writes) > 1 && attempt >= maxAttempts && exceedsResources(err) {
			return nil, err // half of it may do
		}
		pause.wait(ctx)
	}
}
