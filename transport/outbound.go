package transport

import (
	"errors"
	"fmt"
	"os"
	"time"
)

const (
	// maxWrite bounds the bytes that one write call takes from the queue. With the
	// default write timeout a peer must read them in 15 s, at 4.4 KB/s.
	maxWrite = 64 << 10
	// maxUrgent bounds the urgent messages that a write call takes besides.
	maxUrgent = 256
)

// urgency is a kind of message that overtakes the queue. At most one message of each
// kind waits; a newer one replaces it, so that many pings take no memory.
type urgency int

const (
	urgentOpen  urgency = iota // the handshake packet, which is always first
	urgentPing                 // a PING
	urgentReply                // a pong frame
	urgencies
)

// writer is the state of a writer goroutine.
type writer struct {
	hand  *batch // taken from the queue; nil if none
	next  int    // the first message in hand that is not yet in a chunk
	chunk []*Message
}

// pushLocked queues messages, and returns the transport if it must be woken for them.
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

// weigh returns the bytes of Options.QueueBytes that the messages of one Send take. It is
// a quarter at most, so that a peer that reads can receive messages of any size.
func (s *Session) weigh(messages []*Message) int {
	size := 0
	for _, m := range messages {
		size += m.Len()
	}
	return min(size, max(1, s.server.opts.QueueBytes/4))
}

// idleLocked records that a writer is needed; it returns the transport if no writer runs.
func (s *Session) idleLocked() transport {
	if s.writing {
		return nil
	}
	s.writing = true
	return s.transport
}

// mayWrite reports whether there may be messages to write.
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

// dropLocked empties the queue. A writer drops its own batch.
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

// writeLoop is the writer goroutine. It ends when the queue is empty.
func (s *Session) writeLoop() { s.writeOut(s.server.pools.writer()) }

func (s *Session) writeOut(w *writer) {
	defer s.server.pools.putWriter(w)

	c := s.current() // does not change: an upgrade switches a session without a writer only
	for {
		if !s.take(w) {
			return
		}
		if err := c.write(s, w.chunk); err != nil {
			s.end(lostWrite(err))
		}
	}
}

// take completes the chunk that was written and fills the next one. If there is none, it
// returns false and the writer ends.
func (s *Session) take(w *writer) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()

	s.writtenLocked(w)
	if s.writeFailed || s.closed.Load() && !s.ending.mode.keeps() {
		s.dropHandLocked(w)
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

// writeBy returns the deadline of the next write. A message may take many writes, and the
// session may end in between, so it is called before each. For a nil session only the
// timeout counts.
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

// written completes a chunk that was written.
func (s *Session) written(w *writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writtenLocked(w)
}

func (s *Session) writtenLocked(w *writer) {
	s.writes = 0
	clear(w.chunk)
	w.chunk = w.chunk[:0]
}

// fillLocked fills a chunk with the urgent messages and up to maxWrite bytes of the
// queue, but at least one message.
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
		s.dropHandLocked(w)
	}
}

func (s *Session) dropHandLocked(w *writer) {
	if w.hand != nil {
		s.server.pools.putBatch(w.hand)
	}
	w.hand, w.next = nil, 0
}

// lostWrite returns the ending after a failed write. A peer that is gone is no transport
// error, as the reader may notice it first; a timeout is one.
func lostWrite(err error) *ending {
	reason := ReasonTransportClose
	if errors.Is(err, os.ErrDeadlineExceeded) {
		reason = ReasonTransportError
	}
	return &ending{reason: reason, cause: fmt.Errorf("write: %w", err), mode: cut}
}

// Send queues messages, all of them or none, with no other message in between.
// It never blocks. If the queue is full, it closes the session and returns
// ErrQueueFull; if the session has ended, it returns ErrClosed. A nil error does not
// mean that the peer received the messages.
func (s *Session) Send(messages ...*Message) error {
	s.mu.Lock()
	if s.closed.Load() {
		s.mu.Unlock()
		return ErrClosed
	}
	if !s.roomLocked(messages) {
		s.mu.Unlock()
		s.end(&ending{reason: ReasonSlowConsumer, cause: ErrQueueFull, mode: cut})
		return ErrQueueFull
	}
	idle := s.pushLocked(messages...)
	s.mu.Unlock()

	if idle != nil {
		idle.wake(s)
	}
	return nil
}

// TrySend queues messages only if the queue is empty and no write is in progress, and
// reports whether it did. It is for messages that may be lost. Over long-polling it
// also requires an open poll.
func (s *Session) TrySend(messages ...*Message) bool {
	s.mu.Lock()
	if s.closed.Load() || s.writing {
		s.mu.Unlock()
		return false
	}
	idle := s.pushLocked(messages...)
	s.mu.Unlock()

	if idle != nil {
		idle.wake(s)
	}
	return true
}
