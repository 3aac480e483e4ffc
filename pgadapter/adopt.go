package pgadapter

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// adoptBell is what an emit from SQL rings with at the commit, if it was asked to.
const adoptBell = "adopt"

// adoptedOrigin is the origin of batches that were emitted from SQL.
const adoptedOrigin = -1

// adoptBusy is what the function adopt returns while somebody appends, who adopts
// as well.
const adoptBusy = -1

// slowAdoption is the longest pause between two looks for emits from SQL. Who
// would pause longer waits to be told: the tail looks with every poll.
const slowAdoption = time.Second

// lull is which part of the time since SQL emitted last goes by between two looks.
const lull = 20

// inVain is how many looks that found nothing may follow each other at once.
const inVain = 16

// adoptTimeout bounds one adoption. It moves at most 32 MiB.
const adoptTimeout = time.Minute

// An adopter sees to it that what was emitted from SQL gets into the log when no
// append takes it along. Every node has one. When something was emitted lately, of
// the nodes that live the one with the lowest id looks for more, and ever more
// seldom when nothing comes. Otherwise all wait for a bell or for what the tail
// finds when it polls.
type adopter struct {
	db    *DB
	bell  chan struct{} // rung when there is something
	awake chan struct{} // rung when there has been something

	last atomic.Pointer[time.Time] // when that was; nil: never

	// Of the goroutine.
	looked time.Time // when it looked last
	vain   int       // how many looks in a row found nothing
}

func newAdopter(db *DB) *adopter {
	return &adopter{db: db, bell: make(chan struct{}, 1), awake: make(chan struct{}, 1)}
}

// nudge makes the adopter look at once.
func (a *adopter) nudge() { ring(a.bell) }

// wake tells the adopter that there was an emit from SQL, and may be more.
func (a *adopter) wake() {
	a.note(time.Now())
	ring(a.awake)
}

func (a *adopter) note(at time.Time) { a.last.Store(&at) }

// run adopts until ctx ends.
func (a *adopter) run(ctx context.Context) {
	interval := a.db.opts.AdoptInterval
	timer := time.NewTimer(interval)
	defer timer.Stop()
	looking, busy, failed := true, 0, false
	for {
		select {
		case <-timer.C:
		case <-a.bell:
			if !a.rung(ctx) {
				return
			}
		case <-a.awake:
			if !looking && a.db.node.first.Load() {
				timer.Reset(interval)
				looking = true
			}
			continue
		case <-ctx.Done():
			return
		}
		// While others hold the lock all the time it has to be waited for:
		// they leave what is too much for them.
		n, err := a.adopt(ctx, busy > 3)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failed {
			a.db.opts.Logger.WarnContext(ctx, "what was emitted from SQL not adopted; trying again", slog.Any("error", err))
		}
		failed = err != nil
		busy++
		if n != adoptBusy {
			busy = 0
		}
		timer.Stop()
		var wait time.Duration
		if wait, looking = a.next(n, err); looking {
			timer.Reset(wait)
		}
	}
}

// rung waits until a bell is to be followed. It returns false if ctx ended meanwhile.
func (a *adopter) rung(ctx context.Context) bool {
	interval := a.db.opts.AdoptInterval
	if time.Since(a.looked) > interval {
		a.vain = 0
	}
	switch {
	case !a.db.node.first.Load():
		return pause(ctx, interval/2+rand.N(interval)) // the first of the nodes has heard it too, and is faster
	case a.vain > inVain:
		return pause(ctx, interval/5) // anybody can ring, for nothing too
	default:
		return true
	}
}

// next returns when to look again after a look that found n, and whether to do so
// before somebody rings.
func (a *adopter) next(n int, err error) (time.Duration, bool) {
	interval := a.db.opts.AdoptInterval
	switch {
	case err != nil:
		return max(interval, slowAdoption), true
	case n == adoptBusy:
		return interval, true
	case n > 0:
		return interval / 5, true // more may be coming
	case !a.db.node.first.Load():
		return 0, false
	}
	last := a.last.Load()
	if last == nil {
		return 0, false
	}
	wait := max(interval, time.Since(*last)/lull)
	return wait, wait < slowAdoption
}

func (a *adopter) adopt(ctx context.Context, wait bool) (n int, err error) {
	ctx, cancel := context.WithTimeout(ctx, adoptTimeout)
	defer cancel()
	if err := a.db.pool.QueryRow(ctx, a.db.queries.adopt, wait, true).Scan(&n); err != nil {
		return 0, explain(a.db.opts.Schema, err)
	}
	a.looked = time.Now()
	a.vain++
	if n > 0 {
		a.vain = 0
		a.note(a.looked)
		a.db.tail.nudge()
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
