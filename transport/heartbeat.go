package transport

import (
	"sync"
	"sync/atomic"
	"time"
)

// heartbeat is the state of one session's heartbeat. It has no timer: the wheel calls
// beat when it is time.
//
//	resting ──interval over: PING──▶ awaiting ──PONG──▶ resting
//	                                    └──timeout over──▶ give up
//
// While reading is paused (suspend, proceed) it does not give up, and PINGs continue.
type heartbeat struct {
	awaiting atomic.Bool // a PONG; set under mu, read without it for every packet

	mu       sync.Mutex
	next     time.Time // PING, while resting
	deadline time.Time // of the PONG, while awaiting
	extended bool      // the deadline was extended in this cycle

	suspended bool      // reading is paused
	since     time.Time // if suspended: the start of the time that extends the deadline
	repeats   bool      // the PONG may be unread: PINGs continue without it
}

// todo is the action that a beat requires.
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

// beat returns what to do now and when to call it again. While a PONG is awaited that
// is at least once per interval, because a PONG does not notify the wheel: it only sets
// the time of the next PING, one interval later.
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

// suspend is called when reading is paused. The peer's PONG may be unread, so that the
// time until proceed does not count.
func (p *heartbeat) suspend(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.suspended, p.since, p.repeats = true, now, true
}

// proceed is called when reading resumes.
func (p *heartbeat) proceed(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.suspended = false
	if p.awaiting.Load() {
		p.deadline = p.deadline.Add(now.Sub(p.since))
	}
}

// pong is called for a PONG. An unsolicited one has no effect.
func (p *heartbeat) pong(now time.Time, interval time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()

	if p.awaiting.Load() {
		p.awaiting.Store(false)
		p.next = now.Add(interval)
	}
}

// extend is called for any other packet: it extends the deadline once, because the peer
// may be busy sending (as in engine.io 6.6.11).
func (p *heartbeat) extend(timeout time.Duration) {
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

// beat sends a PING or ends the session if it is time, and returns when to call it again.
func (s *Session) beat(now time.Time) (again time.Time) {
	todo, again := s.heartbeat.beat(now, s.server.opts.PingInterval, s.server.opts.PingTimeout)
	switch todo {
	case sendPing:
		s.urge(urgentPing, s.server.ping)
	case giveUp:
		s.end(&ending{reason: ReasonPingTimeout, cause: errPingTimeout, mode: discard})
	case wait:
	}
	return again
}
