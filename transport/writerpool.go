package transport

import (
	"runtime"
	"sync"
)

const (
	// sessionsPerWorker is the number of waiting sessions per worker beyond which another
	// worker is started.
	sessionsPerWorker = 256
	// chunksPerTask is the number of chunks that a worker writes for one session before
	// the session gets its own goroutine.
	chunksPerTask = 8
)

// A writerPool writes for the WebSockets of a server with nonblocking writes, in a few
// goroutines. (One goroutine per session would take a sixth more CPU time for a small
// event to all sessions.) A worker never waits for a peer: a connection that does not
// accept all of a chunk gets its own goroutine until its queue is empty.
type writerPool struct {
	mu      sync.Mutex
	ready   []task // oldest first
	taken   int    // how many of ready a worker has taken
	workers int    // running goroutines
}

// A task is a session whose queue is to be written.
type task struct {
	session   *Session
	transport *webSocket
}

// add adds a task, and starts a worker if needed.
func (c *writerPool) add(t task) {
	c.mu.Lock()
	c.ready = append(c.ready, t)
	waiting := len(c.ready) - c.taken
	spawn := c.workers == 0 || waiting > sessionsPerWorker*c.workers && c.workers < runtime.GOMAXPROCS(0)
	if spawn {
		c.workers++
	}
	c.mu.Unlock()

	if spawn {
		go c.work() // owner: the server; ends when no session is ready
	}
}

// next returns the oldest task. If there is none, the worker ends.
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
	if c.taken >= sessionsPerWorker && c.taken > len(c.ready)/2 { // ready may never become empty
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

// write writes the session's queue, or starts a goroutine that does.
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

// writeRest writes the rest of a chunk, and then the queue.
func (s *Session) writeRest(w *writer, c *webSocket, rest []byte) {
	if err := c.send(s, rest); err != nil {
		s.end(lostWrite(err))
	}
	s.writeOut(w)
}
