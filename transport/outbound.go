package transport

import (
	"errors"
	"fmt"
	"os"
	"time"
)

const (
	// maxWrite bounds what one write call takes from the queue. At the default
	// write timeout it is what a peer must take in 15 s: 4.4 KB/s.
	maxWrite = 64 << 10
	// maxUrgent is what may come on top.
	maxUrgent = 256
)

// urgency is a place for one message that overtakes the queue. A newer message
// replaces one that still waits, so that a flood of pings grows nothing.
type urgency int

const (
	urgentOpen  urgency = iota // the handshake, before which nothing may come
	urgentPing                 // the heartbeat
	urgentReply                // what the carrier must answer
	urgencies
)

// writer is what a writer goroutine works with.
type writer struct {
	hand  *batch // taken from the queue; nil if none
	next  int    // the first message in hand that is not in a chunk yet
	chunk []*Message
}

// pushLocked queues messages and returns the carrier if it must be woken for them.
func (s *Session) pushLocked(messages ...*Message) (idle transport) {
	if len(messages) == 0 {
		return nil
	}
	if s.queue == nil {
		s.queue = s.server.pools.batch()
	}
	weight := s.weigh(messages)
	s.count += len(messages)
	s.bytes += weight
	for _, m := range messages {
		part := min(m.Len(), weight)
		s.queue.messages = append(s.queue.messages, queued{m, part})
		weight -= part
	}

	return s.idleLocked()
}

// weigh returns the bytes that messages of one Send take of Options.QueueBytes. It is
// a quarter at most: a peer that reads gets messages of any size, whatever else is sent
// before and after.
func (s *Session) weigh(messages []*Message) int {
	size := 0
	for _, m := range messages {
		size += m.Len()
	}
	return min(size, max(1, s.server.opts.QueueBytes/4))
}

// idleLocked notes that somebody must write; it returns the carrier if that is
// news to it.
func (s *Session) idleLocked() transport {
	if s.writing {
		return nil
	}
	s.writing = true
	return s.transport
}

// mayWrite tells whether there may be something to write.
func (s *Session) mayWrite() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writing
}

func (s *Session) roomLocked(messages []*Message) bool {
	if s.count == 0 {
		return true
	}
	return s.count+len(messages) <= s.server.opts.QueueMessages && s.bytes+s.weigh(messages) <= s.server.opts.QueueBytes
}

func (s *Session) lowLocked() bool {
	return s.count <= s.server.opts.QueueMessages/4 && s.bytes <= s.server.opts.QueueBytes/4
}

func (s *Session) wakeLocked() {
	if s.low != nil {
		close(s.low)
		s.low = nil
	}
}

// dropLocked empties the queue; a writer drops what it has in hand by itself.
func (s *Session) dropLocked() {
	if s.queue != nil {
		s.server.pools.putBatch(s.queue)
		s.queue = nil
	}
	s.urgent = [urgencies]*Message{}
}

// urge sends a message ahead of the queue.
func (s *Session) urge(u urgency, m *Message) {
	s.mu.Lock()
	if s.closed.Load() {
		s.mu.Unlock()
		return
	}
	s.urgent[u] = m
	idle := s.idleLocked()
	s.mu.Unlock()

	if idle != nil {
		idle.wake(s)
	}
}

// writeLoop is the writer goroutine. It ends as soon as nothing waits.
func (s *Session) writeLoop() { s.writeOut(s.server.pools.writer()) }

func (s *Session) writeOut(w *writer) {
	defer s.server.pools.putWriter(w)

	c := s.current() // the last that there will be: only a session without a writer changes it
	for {
		if !s.take(w) {
			return
		}
		if err := c.write(s, w.chunk); err != nil {
			s.end(lostWrite(err))
		}
	}
}

// take settles the chunk that was written and fills the next one. If there is
// none the writer has ended.
func (s *Session) take(w *writer) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()

	s.settleLocked(w)
	if s.writeFailed || s.closed.Load() && !s.ending.mode.keeps() {
		s.layDownLocked(w)
	} else {
		s.fillLocked(w)
	}

	if len(w.chunk) > 0 {
		return true
	}
	s.writing = false
	if s.closed.Load() {
		close(s.flushed)
	}
	return false
}

// writeBy returns until when the next write may last. A message may take many writes, and
// the session may end in between, so it is asked before each. Nil is no session, and ends
// nothing.
func (s *Session) writeBy(timeout time.Duration) time.Time {
	by := time.Now().Add(timeout)
	if s == nil {
		return by
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() && s.flushBy.Before(by) {
		return s.flushBy
	}
	return by
}

// settle notes that a chunk was written.
func (s *Session) settle(w *writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settleLocked(w)
}

func (s *Session) settleLocked(w *writer) {
	s.writes = 0
	clear(w.chunk)
	w.chunk = w.chunk[:0]
}

// fillLocked makes a chunk of what is urgent and of up to maxWrite bytes of the
// queue, at least one message, which does not wait any more then.
func (s *Session) fillLocked(w *writer) {
	s.gatherLocked(w)
	if s.low != nil && s.lowLocked() {
		s.wakeLocked()
	}
}

func (s *Session) gatherLocked(w *writer) {
	for u, m := range s.urgent {
		if m != nil {
			w.chunk = append(w.chunk, m)
			s.urgent[u] = nil
		}
	}

	size := 0
	for {
		if w.hand == nil {
			if s.queue == nil {
				return
			}
			w.hand, s.queue = s.queue, nil
		}

		for ; w.next < len(w.hand.messages); w.next++ {
			m := w.hand.messages[w.next]
			if len(w.chunk) > 0 && size+m.Len() > maxWrite {
				return
			}
			w.chunk = append(w.chunk, m.Message)
			size += m.Len()
			s.bytes -= m.weight
			s.count--
			s.writes++
		}
		s.layDownLocked(w)
	}
}

func (s *Session) layDownLocked(w *writer) {
	if w.hand != nil {
		s.server.pools.putBatch(w.hand)
	}
	w.hand, w.next = nil, 0
}

// lostWrite is the ending after a write that failed. That a peer has gone is no
// error of the transport, and the reader may notice it first; that it is stuck is.
func lostWrite(err error) *ending {
	reason := ReasonTransportClose
	if errors.Is(err, os.ErrDeadlineExceeded) {
		reason = ReasonTransportError
	}
	return &ending{reason: reason, cause: fmt.Errorf("write: %w", err), mode: cut}
}
