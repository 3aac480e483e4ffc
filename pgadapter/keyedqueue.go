package pgadapter

import (
	"context"
	"fmt"
	"sync"
)

// wake signals the goroutine that waits on c, a channel with a buffer of one.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// A keyedQueue queues work by session: the work of one session is taken in order, as one
// batch at a time; the work of many sessions is taken at once.
type keyedQueue[T any] struct {
	canBatch func(first, next T) bool
	wakeup   chan struct{} // signaled when work is added, and by close

	mu      sync.Mutex
	waiting map[string][]T // by pid
	working map[string]int // number of items of a session that were taken and are not done
	ready   []string       // sessions with waiting and without taken work, oldest first
	size    int            // number of items that wait or are not done
	space   chan struct{}  // closed when items are done; nil if no caller waits
	closed  bool
}

// newKeyedQueue returns an empty queue. Items of a session are taken together with the first
// one as long as canBatch returns true.
func newKeyedQueue[T any](canBatch func(first, next T) bool) *keyedQueue[T] {
	return &keyedQueue[T]{
		canBatch: canBatch, wakeup: make(chan struct{}, 1),
		waiting: make(map[string][]T), working: make(map[string]int),
	}
}

// maxBatch bounds the items of one session that are taken together.
const maxBatch = 256

// batchable returns how many items at the front of a session's queue can be taken together.
func (l *keyedQueue[T]) batchable(queue []T) int {
	n := 1
	for n < min(len(queue), maxBatch) && l.canBatch(queue[0], queue[n]) {
		n++
	}
	return n
}

// add queues work for a session. It returns false after close.
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

// take waits for work and returns that of up to most sessions, one batch for each. It
// returns none when the queue is closed and empty.
func (l *keyedQueue[T]) take(most int) (pids []string, work [][]T) {
	for {
		l.mu.Lock()
		n := min(most, len(l.ready))
		if n > 0 || l.closed && len(l.waiting) == 0 {
			pids = append(pids, l.ready[:n]...)
			l.ready = l.ready[n:]
			for _, pid := range pids {
				queue := l.waiting[pid]
				run := l.batchable(queue)
				l.working[pid] = run
				work = append(work, queue[:run:run])
			}
			l.mu.Unlock()
			return pids, work
		}
		l.mu.Unlock()
		<-l.wakeup // close signals it as well
	}
}

// done reports that the work that take returned for these sessions is done.
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

// last returns the newest item of a session, if there is one.
func (l *keyedQueue[T]) last(pid string) (work T, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	queue := l.waiting[pid]
	if len(queue) == 0 {
		return work, false
	}
	return queue[len(queue)-1], true
}

// latest returns the newest item of each session that has one.
func (l *keyedQueue[T]) latest() []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]T, 0, len(l.waiting))
	for _, queue := range l.waiting {
		all = append(all, queue[len(queue)-1])
	}
	return all
}

// len returns the number of items that wait or are not done.
func (l *keyedQueue[T]) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}

// waitSpace waits until fewer than most items wait or are not done. It reserves nothing:
// concurrent callers may exceed most by a few.
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
