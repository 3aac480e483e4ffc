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
func (q *keyedQueue[T]) batchable(queue []T) int {
	n := 1
	for n < min(len(queue), maxBatch) && q.canBatch(queue[0], queue[n]) {
		n++
	}
	return n
}

// add queues work for a session. It returns false after close.
func (q *keyedQueue[T]) add(pid string, work T) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	if _, busy := q.waiting[pid]; !busy {
		q.ready = append(q.ready, pid)
	}
	q.waiting[pid] = append(q.waiting[pid], work)
	q.size++
	wake(q.wakeup)
	return true
}

// take waits for work and returns that of up to most sessions, one batch for each. It
// returns none when the queue is closed and empty.
func (q *keyedQueue[T]) take(most int) (pids []string, work [][]T) {
	for {
		q.mu.Lock()
		n := min(most, len(q.ready))
		if n > 0 || q.closed && len(q.waiting) == 0 {
			pids = append(pids, q.ready[:n]...)
			q.ready = q.ready[n:]
			for _, pid := range pids {
				queue := q.waiting[pid]
				run := q.batchable(queue)
				q.working[pid] = run
				work = append(work, queue[:run:run])
			}
			q.mu.Unlock()
			return pids, work
		}
		q.mu.Unlock()
		<-q.wakeup // close signals it as well
	}
}

// done reports that the work that take returned for these sessions is done.
func (q *keyedQueue[T]) done(pids []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.space != nil {
		close(q.space)
		q.space = nil
	}
	for _, pid := range pids {
		q.size -= q.working[pid]
		rest := q.waiting[pid][q.working[pid]:]
		delete(q.working, pid)
		if len(rest) == 0 {
			delete(q.waiting, pid)
			continue
		}
		q.waiting[pid] = rest
		q.ready = append(q.ready, pid)
	}
}

// last returns the newest item of a session, if there is one.
func (q *keyedQueue[T]) last(pid string) (work T, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	queue := q.waiting[pid]
	if len(queue) == 0 {
		return work, false
	}
	return queue[len(queue)-1], true
}

// latest returns the newest item of each session that has one.
func (q *keyedQueue[T]) latest() []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := make([]T, 0, len(q.waiting))
	for _, queue := range q.waiting {
		all = append(all, queue[len(queue)-1])
	}
	return all
}

// len returns the number of items that wait or are not done.
func (q *keyedQueue[T]) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.size
}

// waitSpace waits until fewer than most items wait or are not done. It reserves nothing:
// concurrent callers may exceed most by a few.
func (q *keyedQueue[T]) waitSpace(ctx context.Context, most int) error {
	for {
		q.mu.Lock()
		size := q.size
		if size < most {
			q.mu.Unlock()
			return nil
		}
		if q.space == nil {
			q.space = make(chan struct{})
		}
		space := q.space
		q.mu.Unlock()
		select {
		case <-space:
		case <-ctx.Done():
			return fmt.Errorf("%d changes of sessions wait to be written: %w", size, context.Cause(ctx))
		}
	}
}

// close refuses further work.
func (q *keyedQueue[T]) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	wake(q.wakeup)
}
