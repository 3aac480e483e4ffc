package transport

import (
	"sync"
	"time"
)

const (
	// tick is the precision of the heartbeat: a session's beat runs at most one tick late.
	tick = time.Millisecond
	// wheelSlots is the number of slots of the wheel. A slot's list also contains sessions
	// that are due in a later turn, which are skipped.
	wheelSlots = 1 << 14
)

// wheel is a timer wheel for the heartbeats of all sessions of a server: one goroutine
// and one timer, set to the next time at which a session is due.
type wheel struct {
	earlier chan struct{} // notifies run that a session is due before the timer expires

	mu      sync.Mutex
	origin  time.Time // zero until the first session
	now     int64     // the last tick that was processed, since origin
	wakeAt  int64     // the tick that the timer is set to; 0 while it is not set
	slots   []*Session
	once    sync.Once
	stop    chan struct{} // closed by halt
	stopped chan struct{} // closed by run
}

// wheelSlot links a session into the list of its slot.
type wheelSlot struct {
	due        int64 // the tick
	prev, next *Session
	taken      bool // it is in a list
	left       bool // the session was removed and is not added again
}

func newWheel() *wheel {
	return &wheel{
		earlier: make(chan struct{}, 1),
		stop:    make(chan struct{}),
		stopped: make(chan struct{}),
	}
}

// add schedules the next beat of s. The first session starts the wheel.
func (w *wheel) add(s *Session, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()

	if w.origin.IsZero() {
		w.origin = time.Now()
		w.slots = make([]*Session, wheelSlots)
		go w.run() // owner: the server; ends in halt
	}
	w.putLocked(s, at)
	if s.slot.taken && (w.wakeAt == 0 || s.slot.due < w.wakeAt) {
		select {
		case w.earlier <- struct{}{}:
		default: // already notified
		}
	}
}

// remove removes s, even while its beat runs; it is not added again.
func (w *wheel) remove(s *Session) {
	w.mu.Lock()
	defer w.mu.Unlock()

	if s.slot.taken {
		w.unlinkLocked(s)
	}
	s.slot.left = true
}

// halt ends the wheel's goroutine and waits for it.
func (w *wheel) halt() {
	w.mu.Lock()
	running := !w.origin.IsZero()
	w.mu.Unlock()

	w.once.Do(func() { close(w.stop) })
	if running {
		<-w.stopped
	}
}

func (w *wheel) run() {
	defer close(w.stopped)

	timer := time.NewTimer(0)
	defer timer.Stop()

	var due []*Session
	for {
		select {
		case <-w.stop:
			return
		case <-w.earlier:
		case <-timer.C:
		}
		due = w.turn(time.Now(), due)
		if next, ok := w.next(); ok {
			timer.Reset(time.Until(next))
		} else {
			timer.Stop()
		}
	}
}

// turn runs the beats of the sessions that are due, without the wheel's lock. It uses
// the slice due as a buffer, and returns it for the next call.
func (w *wheel) turn(now time.Time, due []*Session) []*Session {
	due = w.collect(now, due[:0])
	for _, s := range due {
		w.add(s, s.beat(now))
	}

	clear(due)
	return due
}

func (w *wheel) collect(now time.Time, due []*Session) []*Session {
	w.mu.Lock()
	defer w.mu.Unlock()

	from, to := w.now+1, int64(now.Sub(w.origin)/tick)
	w.now = max(w.now, to)
	w.wakeAt = to                                       // sessions added during the beats are due later
	for t := max(from, to-wheelSlots+1); t <= to; t++ { // several ticks may have passed
		for s := w.slots[t%wheelSlots]; s != nil; {
			next := s.slot.next
			if s.slot.due <= to {
				w.unlinkLocked(s)
				due = append(due, s)
			}
			s = next
		}
	}

	return due
}

// next returns when the next session is due, but at most one turn of the wheel ahead.
func (w *wheel) next() (at time.Time, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()

	later := false
	for t := w.now + 1; t <= w.now+wheelSlots; t++ {
		for s := w.slots[t%wheelSlots]; s != nil; s = s.slot.next {
			if s.slot.due <= t {
				return w.wakeLocked(t), true
			}
			later = true
		}
	}
	if !later {
		w.wakeAt = 0
		return at, false
	}
	return w.wakeLocked(w.now + wheelSlots), true
}

func (w *wheel) wakeLocked(t int64) time.Time {
	w.wakeAt = t
	return w.origin.Add(time.Duration(t) * tick)
}

func (w *wheel) putLocked(s *Session, at time.Time) {
	if s.slot.left {
		return
	}

	ticks := int64((at.Sub(w.origin) + tick - 1) / tick) // rounds up: never too early
	s.slot.due = max(ticks, w.now+1)
	s.slot.taken = true

	head := &w.slots[s.slot.due%wheelSlots]
	s.slot.prev, s.slot.next = nil, *head
	if *head != nil {
		(*head).slot.prev = s
	}
	*head = s
}

func (w *wheel) unlinkLocked(s *Session) {
	if s.slot.prev != nil {
		s.slot.prev.slot.next = s.slot.next
	} else {
		w.slots[s.slot.due%wheelSlots] = s.slot.next
	}
	if s.slot.next != nil {
		s.slot.next.slot.prev = s.slot.prev
	}
	s.slot.prev, s.slot.next, s.slot.taken = nil, nil, false
}
