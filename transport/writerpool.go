package transport

import (
	"runtime"
	"sync"
)

const (
	// sessionsPerWorker is how many sessions wait for each member of a crew before it takes on
	// another.
	sessionsPerWorker = 256
	// chunksPerTask is how many a member writes for one session before that gets a
	// goroutine of its own.
	chunksPerTask = 8
)

// A writerPool writes for the WebSockets of a server that take at once what they are
// given, which is almost always: a few goroutines, however many the sessions. (To
// wake one for each is a sixth of the processor time of a small event to all.) No
// member waits for a peer. A connection that does not take all of a chunk gets a
// goroutine that does, until its queue is empty.
type writerPool struct {
	mu      sync.Mutex
	ready   []task // oldest first
	taken   int    // of these, by a member
	workers int    // the goroutines that run
}

// A task is a session that has become its carrier's to write.
type task struct {
	session   *Session
	transport *webSocket
}

// add has a member see to t soon.
func (c *writerPool) add(t task) {
	c.mu.Lock()
	c.ready = append(c.ready, t)
	waiting := len(c.ready) - c.taken
	hire := c.workers == 0 || waiting > sessionsPerWorker*c.workers && c.workers < runtime.GOMAXPROCS(0)
	if hire {
		c.workers++
	}
	c.mu.Unlock()

	if hire {
		go c.work() // owner: the server; ends when no session is ready
	}
}

// next returns the oldest task; without one the member's work is over.
func (c *writerPool) next() (t task, more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()

	if c.taken == len(c.ready) {
		c.workers--
		c.ready, c.taken = c.ready[:0], 0
		if cap(c.ready) > maxPooledBatch {
			c.ready = nil
		}
		return task{}, false
	}
	t, c.ready[c.taken] = c.ready[c.taken], task{}
	c.taken++
	if c.taken >= sessionsPerWorker && c.taken > len(c.ready)/2 { // there may be no end of tasks
		n := copy(c.ready, c.ready[c.taken:])
		clear(c.ready[n:])
		c.ready, c.taken = c.ready[:n], 0
	}
	return t, true
}

func (c *writerPool) work() {
	for t, more := c.next(); more; t, more = c.next() {
		t.write()
	}
}

// write writes what the session has queued, or starts a goroutine that does.
func (t task) write() {
	s, w := t.session, t.session.server.pools.writer()
	for range chunksPerTask {
		if !s.take(w) {
			s.server.pools.putWriter(w)
			return
		}
		rest, err := t.transport.writeSome(w.chunk)
		if err != nil {
			s.end(lostWrite(err))
		}
		if len(rest) > 0 {
			go s.writeRest(w, t.transport, rest) // owner: the session; ends when its queue is empty
			return
		}
	}
	go s.writeOut(w) // owner: the session; ends when its queue is empty
}

// writeRest writes what is left of a chunk, and whatever is queued.
func (s *Session) writeRest(w *writer, c *webSocket, rest []byte) {
	if err := c.send(s, rest); err != nil {
		s.end(lostWrite(err))
	}
	s.writeOut(w)
}
