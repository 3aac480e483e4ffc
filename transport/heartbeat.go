package transport

import (
	"sync"
	"time"
)

const (
	wheelSlots = 256
	// The wheel is as fine as a twentieth of the shorter of interval and timeout,
	// within these bounds. A session is looked at at most one tick late.
	finestTick   = 5 * time.Millisecond
	coarsestTick = time.Second
)

// wheel is the heartbeat of all sessions of a server: one goroutine and one
// ticker, instead of two timers per connection.
type wheel struct {
	tick time.Duration

	mu      sync.Mutex
	origin  time.Time // zero until the first session
	now     int64     // ticks since origin that are done
	slots   [wheelSlots]*Session
	once    sync.Once
	stop    chan struct{} // closed by halt
	stopped chan struct{} // closed by run
}

// seat is a session's place in the wheel: it hangs in a slot's list.
type seat struct {
	due        int64
	prev, next *Session
	taken      bool
	left       bool // for good
}

func newWheel(interval, timeout time.Duration) *wheel {
	tick := min(interval, timeout) / 20
	return &wheel{
		tick:    min(max(tick, finestTick), coarsestTick),
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
		go w.run() // owner: the server; ends in halt
	}
	w.putLocked(s, at)
}

// remove takes s out for good, also if it is being looked at.
func (w *wheel) remove(s *Session) {
	w.mu.Lock()
	defer w.mu.Unlock()

	if s.seat.taken {
		w.unlinkLocked(s)
	}
	s.seat.left = true
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

	ticker := time.NewTicker(w.tick)
	defer ticker.Stop()

	var due []*Session
	for {
		select {
		case <-w.stop:
			return
		case <-ticker.C:
			due = w.turn(time.Now(), due)
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

	from, to := w.now+1, int64(now.Sub(w.origin)/w.tick)
	w.now = max(w.now, to)
	for t := max(from, to-wheelSlots+1); t <= to; t++ { // ticks may have been missed
		for s := w.slots[t%wheelSlots]; s != nil; {
			next := s.seat.next
			if s.seat.due <= to {
				w.unlinkLocked(s)
				due = append(due, s)
			}
			s = next
		}
	}

	return due
}

func (w *wheel) putLocked(s *Session, at time.Time) {
	if s.seat.left {
		return
	}

	ticks := int64((at.Sub(w.origin) + w.tick - 1) / w.tick) // never too early
	s.seat.due = max(ticks, w.now+1)
	s.seat.taken = true

	head := &w.slots[s.seat.due%wheelSlots]
	s.seat.prev, s.seat.next = nil, *head
	if *head != nil {
		(*head).seat.prev = s
	}
	*head = s
}

func (w *wheel) unlinkLocked(s *Session) {
	if s.seat.prev != nil {
		s.seat.prev.seat.next = s.seat.next
	} else {
		w.slots[s.seat.due%wheelSlots] = s.seat.next
	}
	if s.seat.next != nil {
		s.seat.next.seat.prev = s.seat.prev
	}
	s.seat.prev, s.seat.next, s.seat.taken = nil, nil, false
}
