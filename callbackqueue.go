package socketio

import "sync"

// maxCallbacks bounds the values that wait for a function of the application that blocks.
const maxCallbacks = 1 << 16

// A callbackQueue passes values to the application, in order and one at a time, in a goroutine
// that exists while values wait. Values may be pushed under a lock.
type callbackQueue[T any] struct {
	work    *tasks           // for Shutdown to wait
	call    func(T)          // calls the application's functions through package boundary
	dropped func(values int) // called with the number of dropped values

	mu      sync.Mutex
	waiting []T
	lost    int
	working bool
}

// push queues a value, or drops it if the queue is full.
func (f *callbackQueue[T]) push(v T) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.waiting) == maxCallbacks {
		f.lost++
		return
	}
	f.waiting = append(f.waiting, v)
	if !f.working {
		f.working = true
		f.work.start()
		go f.run() // owner: the server; ends when the queue is empty
	}
}

func (f *callbackQueue[T]) run() {
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
			f.call(v)
		}
		if lost > 0 {
			f.dropped(lost)
		}
	}
}
