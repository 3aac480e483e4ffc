package pgadapter

import (
	"context"
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
	base
	isLeader func() bool // whether this node is the leader
	relayed  func()      // called when the outbox had events

	wakeup   chan struct{} // signaled when the outbox has events
	activity chan struct{} // signaled when the log had a relayed batch

	last atomic.Pointer[time.Time] // when the last relayed event was seen; nil: never

	// Of the goroutine.
	lastRun   time.Time // when it last checked the outbox
	emptyRuns int       // number of consecutive checks that found nothing
	outage    outage
}

func newRelay(b base, isLeader func() bool, relayed func()) *relay {
	return &relay{
		base: b, isLeader: isLeader, relayed: relayed, wakeup: make(chan struct{}, 1), activity: make(chan struct{}, 1),
		outage: outage{logger: b.opts.Logger, begins: "outbox relay failed; retrying", over: "outbox relay succeeded again"},
	}
}

// wake makes the relay check the outbox at once.
func (r *relay) wake() { wake(r.wakeup) }

// noteActivity records that SQL has emitted an event, and may emit more.
func (r *relay) noteActivity() {
	r.noteRelayed(time.Now())
	wake(r.activity)
}

func (r *relay) noteRelayed(at time.Time) { r.last.Store(&at) }

// run relays until ctx ends.
func (r *relay) run(ctx context.Context) {
	interval := r.opts.RelayInterval
	timer := time.NewTimer(interval)
	defer timer.Stop()
	timed, busy := true, 0
	for {
		select {
		case <-timer.C:
		case <-r.wakeup:
			if !r.awaitTurn(ctx) {
				return
			}
		case <-r.activity:
			if !timed && r.isLeader() {
				timer.Reset(interval)
				timed = true
			}
			continue
		case <-ctx.Done():
			return
		}
		// If appends hold the lock all the time, wait for it:
		// appends do not relay large transactions.
		n, err := r.drain(ctx, busy > 3)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			r.outage.failed(ctx, err)
		} else {
			r.outage.succeeded(ctx)
		}
		busy++
		if n != relayBusy {
			busy = 0
		}
		timer.Stop()
		var wait time.Duration
		if wait, timed = r.next(n, err); timed {
			timer.Reset(wait)
		}
	}
}

// awaitTurn delays the answer to a notification. It returns false if ctx ended meanwhile.
func (r *relay) awaitTurn(ctx context.Context) bool {
	interval := r.opts.RelayInterval
	if time.Since(r.lastRun) > interval {
		r.emptyRuns = 0
	}
	switch {
	case !r.isLeader():
		return pause(ctx, interval/2+rand.N(interval)) // the leader has the notification too, and goes first
	case r.emptyRuns > maxEmptyRuns:
		return pause(ctx, interval/5) // any role can send notifications for nothing
	default:
		return true
	}
}

// next returns the pause before the next check after one that found n, and whether to
// check without a wakeup.
func (r *relay) next(n int, err error) (time.Duration, bool) {
	interval := r.opts.RelayInterval
	switch {
	case err != nil:
		return max(interval, maxIdle), true
	case n == relayBusy:
		return interval, true
	case n > 0:
		return interval / 5, true // more may follow
	case !r.isLeader():
		return 0, false
	}
	last := r.last.Load()
	if last == nil {
		return 0, false
	}
	wait := max(interval, time.Since(*last)/backoffFactor)
	return wait, wait < maxIdle
}

func (r *relay) drain(ctx context.Context, wait bool) (n int, err error) {
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	err = r.pool.QueryRow(ctx, r.queries.relayOutbox, wait, true).Scan(&n)
	if queueFull(err) { // all nodes poll
		err = r.pool.QueryRow(ctx, r.queries.relayOutbox, wait, false).Scan(&n)
	}
	if err != nil {
		return 0, annotateSchemaErr(r.opts.Schema, err)
	}
	r.lastRun = time.Now()
	r.emptyRuns++
	if n > 0 {
		r.emptyRuns = 0
		r.noteRelayed(r.lastRun)
		r.relayed()
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
