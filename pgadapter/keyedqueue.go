package pgadapter

import (
	"context"
	"fmt"
	"sync"
)

// wake wakes whoever waits for the bell, a channel with room for one; once is enough.
func wake(bell chan<- struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}

// keyedQueue queue work by session: of one session one piece at a time, in order, or
// several that go together; of different sessions many at once.
type keyedQueue[T any] struct {
	canBatch func(first, next T) bool
	wakeup   chan struct{} // rung when something waits, or the end has come

	mu      sync.Mutex
	waiting map[string][]T // by pid
	working map[string]int // how many at the beginning of a lane are in work
	ready   []string       // the lanes of which nothing is in work, oldest first
	size    int            // how much waits or is in work
	space   chan struct{}  // closed when some of it was done; nil if nobody waits
	closed  bool
}

// newKeyedQueue returns lanes in which a piece is done with those before it as far as
// together says that they can be.
func newKeyedQueue[T any](together func(first, next T) bool) *keyedQueue[T] {
	return &keyedQueue[T]{
		canBatch: together, wakeup: make(chan struct{}, 1),
		waiting: make(map[string][]T), working: make(map[string]int),
	}
}

// maxBatch bounds the pieces of one session that are done together.
const maxBatch = 256

// batchable returns how many pieces at the beginning of a lane are done together.
func (l *keyedQueue[T]) batchable(lane []T) int {
	n := 1
	for n < min(len(lane), maxBatch) && l.canBatch(lane[0], lane[n]) {
		n++
	}
	return n
}

// add queues work for a session and reports whether it did: not after close.
func (l *keyedQueue[T]) add(pid string, work T) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	if _, busy := l.waiting[pid]; !busy {
		l.ready = append(l.ready, pid)
	}
	l.waiting[pid] = append(l.waiting[pid], work)
	l.size++
	wake(l.wakeup)
	return true
}

// take waits for work and returns that of up to most sessions, for each what is
// done together. It returns none when the lanes are closed and empty.
func (l *keyedQueue[T]) take(most int) (pids []string, work [][]T) {
	for {
		l.mu.Lock()
		n := min(most, len(l.ready))
		if n > 0 || l.closed && len(l.waiting) == 0 {
			pids = append(pids, l.ready[:n]...)
			l.ready = l.ready[n:]
			for _, pid := range pids {
				lane := l.waiting[pid]
				run := l.batchable(lane)
				l.working[pid] = run
				work = append(work, lane[:run:run])
			}
			l.mu.Unlock()
			return pids, work
		}
		l.mu.Unlock()
		<-l.wakeup // close rings it as well
	}
}

// done says that what take returned for these sessions is finished.
func (l *keyedQueue[T]) done(pids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.space != nil {
		close(l.space)
		l.space = nil
	}
	for _, pid := range pids {
		l.size -= l.working[pid]
		rest := l.waiting[pid][l.working[pid]:]
		delete(l.working, pid)
		if len(rest) == 0 {
			delete(l.waiting, pid)
			continue
		}
		l.waiting[pid] = rest
		l.ready = append(l.ready, pid)
	}
}

// last returns the newest piece of a session's lane, if there is any.
func (l *keyedQueue[T]) last(pid string) (work T, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lane := l.waiting[pid]
	if len(lane) == 0 {
		return work, false
	}
	return lane[len(lane)-1], true
}

// latest returns the newest piece of each lane that has any.
func (l *keyedQueue[T]) latest() []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]T, 0, len(l.waiting))
	for _, lane := range l.waiting {
		all = append(all, lane[len(lane)-1])
	}
	return all
}

// len returns how much work waits or is being done.
func (l *keyedQueue[T]) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}

// waitSpace waits until less than most waits or is being done. It keeps no place for who
// adds next: callers that come at once may go a little beyond.
func (l *keyedQueue[T]) waitSpace(ctx context.Context, most int) error {
	for {
		l.mu.Lock()
		size := l.size
		if size < most {
			l.mu.Unlock()
			return nil
		}
		if l.space == nil {
			l.space = make(chan struct{})
		}
		space := l.space
		l.mu.Unlock()
		select {
		case <-space:
		case <-ctx.Done():
			return fmt.Errorf("%d changes of sessions wait to be written: %w", size, context.Cause(ctx))
		}
	}
}

// close refuses further work.
func (l *keyedQueue[T]) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	wake(l.wakeup)
}
