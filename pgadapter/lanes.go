package pgadapter

import "sync"

// lanes queue work by session: of one session one piece at a time, in order; of
// different sessions many at once.
type lanes[T any] struct {
	bell chan struct{} // rung when something waits, or the end has come

	mu      sync.Mutex
	waiting map[string][]T // by pid; the first of each lane may be in work
	ready   []string       // the lanes whose first piece is not in work, oldest first
	closed  bool
}

func newLanes[T any]() *lanes[T] {
	return &lanes[T]{bell: make(chan struct{}, 1), waiting: make(map[string][]T)}
}

// add queues work for a session and reports whether it did: not after close.
func (l *lanes[T]) add(pid string, work T) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	if _, busy := l.waiting[pid]; !busy {
		l.ready = append(l.ready, pid)
	}
	l.waiting[pid] = append(l.waiting[pid], work)
	l.ring()
	return true
}

func (l *lanes[T]) ring() {
	select {
	case l.bell <- struct{}{}:
	default:
	}
}

// take waits for work and returns up to most pieces of different sessions. It
// returns none when the lanes are closed and empty.
func (l *lanes[T]) take(most int) (pids []string, work []T) {
	for {
		l.mu.Lock()
		n := min(most, len(l.ready))
		if n > 0 || l.closed && len(l.waiting) == 0 {
			pids = append(pids, l.ready[:n]...)
			l.ready = l.ready[n:]
			for _, pid := range pids {
				work = append(work, l.waiting[pid][0])
			}
			l.mu.Unlock()
			return pids, work
		}
		l.mu.Unlock()
		<-l.bell // close rings it as well
	}
}

// done says that what take returned for these sessions is finished.
func (l *lanes[T]) done(pids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, pid := range pids {
		rest := l.waiting[pid][1:]
		if len(rest) == 0 {
			delete(l.waiting, pid)
			continue
		}
		l.waiting[pid] = rest
		l.ready = append(l.ready, pid)
	}
}

// latest returns the newest piece of each lane that has any.
func (l *lanes[T]) latest() []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]T, 0, len(l.waiting))
	for _, lane := range l.waiting {
		all = append(all, lane[len(lane)-1])
	}
	return all
}

// len returns how much work waits or is being done.
func (l *lanes[T]) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, lane := range l.waiting {
		n += len(lane)
	}
	return n
}

// close refuses further work.
func (l *lanes[T]) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.ring()
}
