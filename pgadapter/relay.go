package pgadapter

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// relayNotification is what an emit from SQL rings with at the commit, if it was asked to.
const relayNotification = "relay"

// relayedOrigin is the origin of batches that were emitted from SQL.
const relayedOrigin = -1

// relayBusy is what the function adopt returns while somebody appends, who adopts
// as well.
const relayBusy = -1

// maxIdle is the longest pause between two looks for emits from SQL. Who
// would pause longer waits to be told: the tail looks with every poll.
const maxIdle = time.Second

// backoffFactor is which part of the time since SQL emitted last goes by between two looks.
const backoffFactor = 20

// maxEmptyRuns is how many looks that found nothing may follow each other at once.
const maxEmptyRuns = 16

// relayTimeout bounds one adoption. It moves at most 32 MiB.
const relayTimeout = time.Minute

// An relay sees to it that what was emitted from SQL gets into the log when no
// append takes it along. Every node has one. When something was emitted lately, of
// the nodes that live the one with the lowest id looks for more, and ever more
// seldom when nothing comes. Otherwise all wait for a bell or for what the tail
// finds when it polls.
type relay struct {
	db       *DB
	wakeup   chan struct{} // rung when there is something
	activity chan struct{} // rung when there has been something

	last atomic.Pointer[time.Time] // when that was; nil: never

	// Of the goroutine.
	lastRun   time.Time // when it looked last
	emptyRuns int       // how many looks in a row found nothing
}

func newRelay(db *DB) *relay {
	return &relay{db: db, wakeup: make(chan struct{}, 1), activity: make(chan struct{}, 1)}
}

// wake makes the adopter look at once.
func (a *relay) wake() { wake(a.wakeup) }

// noteActivity tells the adopter that there was an emit from SQL, and may be more.
func (a *relay) noteActivity() {
	a.noteRelayed(time.Now())
	wake(a.activity)
}

func (a *relay) noteRelayed(at time.Time) { a.last.Store(&at) }

// run adopts until ctx ends.
func (a *relay) run(ctx context.Context) {
	interval := a.db.opts.RelayInterval
	timer := time.NewTimer(interval)
	defer timer.Stop()
	looking, busy, failed := true, 0, false
	for {
		select {
		case <-timer.C:
		case <-a.wakeup:
			if !a.awaitTurn(ctx) {
				return
			}
		case <-a.activity:
			if !looking && a.db.node.isRelayLeader.Load() {
				timer.Reset(interval)
				looking = true
			}
			continue
		case <-ctx.Done():
			return
		}
		// While others hold the lock all the time it has to be waited for:
		// they leave what is too much for them.
		n, err := a.drain(ctx, busy > 3)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failed {
			a.db.opts.Logger.WarnContext(ctx, "what was emitted from SQL not adopted; trying again", slog.Any("error", err))
		}
		failed = err != nil
		busy++
		if n != relayBusy {
			busy = 0
		}
		timer.Stop()
		var wait time.Duration
		if wait, looking = a.next(n, err); looking {
			timer.Reset(wait)
		}
	}
}

// awaitTurn waits until a bell is to be followed. It returns false if ctx ended meanwhile.
func (a *relay) awaitTurn(ctx context.Context) bool {
	interval := a.db.opts.RelayInterval
	if time.Since(a.lastRun) > interval {
		a.emptyRuns = 0
	}
	switch {
	case !a.db.node.isRelayLeader.Load():
		return pause(ctx, interval/2+rand.N(interval)) // the first of the nodes has heard it too, and is faster
	case a.emptyRuns > maxEmptyRuns:
		return pause(ctx, interval/5) // anybody can ring, for nothing too
	default:
		return true
	}
}

// next returns when to look again after a look that found n, and whether to do so
// before somebody rings.
func (a *relay) next(n int, err error) (time.Duration, bool) {
	interval := a.db.opts.RelayInterval
	switch {
	case err != nil:
		return max(interval, maxIdle), true
	case n == relayBusy:
		return interval, true
	case n > 0:
		return interval / 5, true // more may be coming
	case !a.db.node.isRelayLeader.Load():
		return 0, false
	}
	last := a.last.Load()
	if last == nil {
		return 0, false
	}
	wait := max(interval, time.Since(*last)/backoffFactor)
	return wait, wait < maxIdle
}

func (a *relay) drain(ctx context.Context, wait bool) (n int, err error) {
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	if err := a.db.pool.QueryRow(ctx, a.db.queries.relayOutbox, wait, true).Scan(&n); err != nil {
		return 0, annotateSchemaErr(a.db.opts.Schema, err)
	}
	a.lastRun = time.Now()
	a.emptyRuns++
	if n > 0 {
		a.emptyRuns = 0
		a.noteRelayed(a.lastRun)
		a.db.tail.wakeIfPolling()
	}
	return n, nil
}

// pause returns false if ctx ended meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
