package transport

import (
	"sync"
	"sync/atomic"
	"time"
)

// heartbeat is one session's heartbeat as a state machine without a timer: the wheel
// asks it now and then what there is to do.
//
//	resting ──interval over: PING──▶ awaiting ──PONG──▶ resting
//	                                    └──timeout over──▶ give up
//
// While nothing is read (suspend, proceed) it does not give up, and PINGs go on.
type heartbeat struct {
	awaiting atomic.Bool // a PONG; set under mu, read without it for every packet

	mu       sync.Mutex
	next     time.Time // PING, while resting
	deadline time.Time // of the PONG, while awaiting
	extended bool      // the deadline was, in this cycle

	suspended bool      // nothing is read at the moment
	since     time.Time // then: from when on that extends the deadline
	repeats   bool      // the PONG may wait to be read: PINGs go on without it
}

// todo is what a beat asks for.
type todo uint8

const (
	wait todo = iota
	sendPing
	giveUp
)

func (p *heartbeat) start(now time.Time, interval time.Duration) (again time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()

	p.next = now.Add(interval)
	return p.next
}

// beat returns what to do now and when to ask again. While a PONG is awaited that
// is at least once per interval, for a PONG does not call the wheel: it only sets
// the next PING, an interval away.
func (p *heartbeat) beat(now time.Time, interval, timeout time.Duration) (do todo, again time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()

	switch {
	case !p.awaiting.Load():
		if now.Before(p.next) {
			return wait, p.next
		}
		do = sendPing
		p.awaiting.Store(true)
		p.extended, p.repeats = false, p.suspended
		p.deadline, p.since = now.Add(timeout), now
	case !p.suspended && !now.Before(p.deadline):
		return giveUp, p.deadline
	case p.repeats && !now.Before(p.next):
		do = sendPing
	}
	if do == sendPing {
		p.next = now.Add(interval)
	}

	again = now.Add(interval)
	if p.repeats && p.next.Before(again) {
		again = p.next
	}
	if !p.suspended && p.deadline.Before(again) {
		again = p.deadline
	}
	return do, again
}

// suspend notes that nothing is read from now on. The peer may have answered, so
// the time until proceed does not count.
func (p *heartbeat) suspend(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.suspended, p.since, p.repeats = true, now, true
}

// proceed notes that reading goes on.
func (p *heartbeat) proceed(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.suspended = false
	if p.awaiting.Load() {
		p.deadline = p.deadline.Add(now.Sub(p.since))
	}
}

// pong notes a PONG. One that was not awaited changes nothing.
func (p *heartbeat) pong(now time.Time, interval time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()

	if p.awaiting.Load() {
		p.awaiting.Store(false)
		p.next = now.Add(interval)
	}
}

// heard notes any other packet: a peer that is busy sending gets the timeout once
// more (engine.io 6.6.11).
func (p *heartbeat) heard(timeout time.Duration) {
	if !p.awaiting.Load() {
		return
	}

	p.mu.Lock()
	defer p.mu.Unlock()

	if p.awaiting.Load() && !p.extended {
		p.extended = true
		p.deadline = time.Now().Add(timeout)
	}
}
