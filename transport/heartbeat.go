package transport

import (
	"sync"
	"time"
)

const (
	// tick is as exact as the heartbeat is: a session is looked at when its time has come,
	// at most a tick later.
	tick = time.Millisecond
	// wheelSlots are what one turn of the wheel has. A session that is due in a later turn
	// than this one hangs in the same list, and is passed over.
	wheelSlots = 1 << 14
)

// wheel is the heartbeat of all sessions of a server: one goroutine and one timer, which
// is set to the next time at which a session is due, instead of two timers for each.
type wheel struct {
	bell chan struct{} // a session is due earlier than the timer is set to

	mu      sync.Mutex
	origin  time.Time // zero until the first session
	now     int64     // ticks since origin that are done
	wakeAt  int64     // the tick that the timer is set to; 0 while it is not set
	slots   []*Session
	once    sync.Once
	stop    chan struct{} // closed by halt
	stopped chan struct{} // closed by run
}

// wheelSlot is a session's place in the wheel: it hangs in a slot's list.
type wheelSlot struct {
	due        int64
	prev, next *Session
	taken      bool
	left       bool // for good
}

func newWheel() *wheel {
	return &wheel{
		bell:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
		stopped: make(chan struct{}),
	}
}

// add has s looked at when it is time. The first session starts the wheel.
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
		case w.bell <- struct{}{}:
		default: // it rings already
		}
	}
}

// remove takes s out for good, also if it is being looked at.
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
		case <-w.bell:
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

// turn looks after the sessions that are due. Their beats run without the
// wheel's lock; the slice is only there to be used again.
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
	w.wakeAt = to                                       // nothing that is added during the beats is earlier
	for t := max(from, to-wheelSlots+1); t <= to; t++ { // ticks may have been missed
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

// next returns when the next session is due, or no later than after a turn of the wheel.
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

	ticks := int64((at.Sub(w.origin) + tick - 1) / tick) // never too early
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
