package pgadapter

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"
)

// adoptBell is what an emit from SQL rings with at the commit, if it was asked to.
const adoptBell = "adopt"

// What the function adopt returns for nothing adopted.
const (
	adoptBusy   = -1 // somebody appends, who adopts as well
	adoptUnused = -2 // nothing was ever emitted from SQL
)

// slowAdoption is how often a node looks for emits from SQL that is not the first
// to do so, or before there were any.
const slowAdoption = time.Second

// adoptTimeout bounds one adoption. It moves at most 32 MiB.
const adoptTimeout = time.Minute

// An adopter sees to it that what was emitted from SQL gets into the log when no
// append takes it along. Every node has one; of those that live the one with the
// lowest id is busy, the others look now and then in case it is not.
type adopter struct {
	db   *DB
	bell chan struct{} // rung by an emit that does not want to wait
}

func newAdopter(db *DB) *adopter { return &adopter{db: db, bell: make(chan struct{}, 1)} }

// nudge makes the adopter look at once.
func (a *adopter) nudge() {
	select {
	case a.bell <- struct{}{}:
	default:
	}
}

// run adopts until ctx ends.
func (a *adopter) run(ctx context.Context) {
	interval := a.db.opts.AdoptInterval
	timer := time.NewTimer(interval)
	defer timer.Stop()
	busy, failed := 0, false
	for {
		select {
		case <-timer.C:
		case <-a.bell:
			if !a.db.node.first.Load() && !pause(ctx, interval/2+rand.N(interval)) {
				return // the first of the nodes has heard it too, and is faster
			}
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
		timer.Reset(a.next(n, err))
	}
}

// next returns when to look again after a look that found n.
func (a *adopter) next(n int, err error) time.Duration {
	interval := a.db.opts.AdoptInterval
	switch {
	case err != nil, n == adoptUnused:
		return max(interval, slowAdoption)
	case n > 0:
		return interval / 5 // more may be coming
	case a.db.node.first.Load():
		return interval
	}
	return max(interval, slowAdoption)
}

func (a *adopter) adopt(ctx context.Context, wait bool) (n int, err error) {
	ctx, cancel := context.WithTimeout(ctx, adoptTimeout)
	defer cancel()
	if err := a.db.pool.QueryRow(ctx, a.db.queries.adopt, wait, true).Scan(&n); err != nil {
		return 0, explain(a.db.opts.Schema, err)
	}
	if n > 0 {
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
