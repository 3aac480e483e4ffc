package pgadapter

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// relayNotification is the payload that an emit from SQL sends at the commit, if it asks for a notification.
const relayNotification = "relay"

// relayedOrigin is the origin of batches that come from the outbox.
const relayedOrigin = -1

// relayBusy is what the SQL function relay_outbox returns while an append holds the lock;
// that append relays as well.
const relayBusy = -1

// maxIdle is the longest pause between two checks of the outbox. Instead of a longer
// pause, the relay waits for a wakeup: the tail checks with every poll.
const maxIdle = time.Second

// backoffFactor divides the time since the last emit from SQL to give the pause between two checks.
const backoffFactor = 20

// maxEmptyRuns is how many empty checks may follow each other without a pause.
const maxEmptyRuns = 16

// relayTimeout bounds one run of the relay, which moves at most 32 MiB.
const relayTimeout = time.Minute

// A relay moves events that were emitted from SQL from the outbox to the log when no
// append does so. Every node has one. After a recent emit, the live node with the lowest
// id, the leader, checks for more, with growing pauses while it finds nothing. Otherwise
// all relays wait for a notification, or for the tail to find work when it polls.
type relay struct {
	db       *DB
	wakeup   chan struct{} // signaled when the outbox has events
	activity chan struct{} // signaled when the log had a relayed batch

	last atomic.Pointer[time.Time] // when the last relayed event was seen; nil: never

	// Of the goroutine.
	lastRun   time.Time // when it last checked the outbox
	emptyRuns int       // number of consecutive checks that found nothing
}

func newRelay(db *DB) *relay {
	return &relay{db: db, wakeup: make(chan struct{}, 1), activity: make(chan struct{}, 1)}
}

// wake makes the relay check the outbox at once.
func (a *relay) wake() { wake(a.wakeup) }

// noteActivity records that SQL has emitted an event, and may emit more.
func (a *relay) noteActivity() {
	a.noteRelayed(time.Now())
	wake(a.activity)
}

func (a *relay) noteRelayed(at time.Time) { a.last.Store(&at) }

// run relays until ctx ends.
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
		// If appends hold the lock all the time, wait for it:
		// appends do not relay large transactions.
		n, err := a.drain(ctx, busy > 3)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failed {
			a.db.opts.Logger.WarnContext(ctx, "outbox relay failed; retrying", slog.Any("error", err))
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

// awaitTurn delays the answer to a notification. It returns false if ctx ended meanwhile.
func (a *relay) awaitTurn(ctx context.Context) bool {
	interval := a.db.opts.RelayInterval
	if time.Since(a.lastRun) > interval {
		a.emptyRuns = 0
	}
	switch {
	case !a.db.node.isRelayLeader.Load():
		return pause(ctx, interval/2+rand.N(interval)) // the leader has the notification too, and goes first
	case a.emptyRuns > maxEmptyRuns:
		return pause(ctx, interval/5) // any role can send notifications for nothing
	default:
		return true
	}
}

// next returns the pause before the next check after one that found n, and whether to
// check without a wakeup.
func (a *relay) next(n int, err error) (time.Duration, bool) {
	interval := a.db.opts.RelayInterval
	switch {
	case err != nil:
		return max(interval, maxIdle), true
	case n == relayBusy:
		return interval, true
	case n > 0:
		return interval / 5, true // more may follow
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

// pause waits for d. It returns false if ctx ended meanwhile.
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
