package socketio

import "sync"

// maxFeed bounds what is kept for a function of the application that blocks.
const maxFeed = 1 << 16

// A feed tells the application of what happens, in order and one at a time, in a
// goroutine that exists while there is something to tell. Values may be pushed
// under a lock.
type feed[T any] struct {
	work   *tasks           // for Shutdown to wait
	tell   func(T)          // has the application's functions run behind the boundary
	missed func(values int) // that found no place

	mu      sync.Mutex
	waiting []T
	lost    int
	working bool
}

// push takes a value in.
func (f *feed[T]) push(v T) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.waiting) == maxFeed {
		f.lost++
		return
	}
	f.waiting = append(f.waiting, v)
	if !f.working {
		f.working = true
		f.work.start()
		go f.run() // owner: the server; ends when all is told
	}
}

func (f *feed[T]) run() {
	defer f.work.done()
	for {
		f.mu.Lock()
		batch, lost := f.waiting, f.lost
		f.waiting, f.lost = nil, 0
		f.working = len(batch) > 0
		f.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		for _, v := range batch {
			f.tell(v)
		}
		if lost > 0 {
			f.missed(lost)
		}
	}
}
