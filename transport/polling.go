package transport

import (
	"net/http"
	"sync"
	"time"

	"github.com/pgsocket/socketio/transport/frame"
)

// noopAfter is how long a poll stays open while the peer upgrades: the peer stops
// polling only after its last poll is answered.
const noopAfter = 100 * time.Millisecond

// polling is the transport over HTTP requests: the answer to the peer's next GET takes
// the queued messages; POSTs contain the peer's messages. All work is done in the
// goroutines of the requests; between them the session has none.
type polling struct {
	changed chan struct{} // notifies the open poll that there may be packets for it
	ended   chan struct{} // closed by stopReading
	closing chan struct{} // closed when a poll was answered with the end of the session
	gone    chan struct{} // closed by close

	// out holds a token. Its owner may answer a poll, or end the polling.
	out    chan struct{}
	writer *writer // used by the owner of the token; nil unless it has a batch in hand

	mu       sync.Mutex
	getting  bool // a GET is open
	posting  bool // a POST is being read
	probed   bool // the peer has begun to upgrade
	retired  bool // the peer has upgraded
	answered bool // a poll is being or was answered with the end of the session
	closed   bool // gone is closed
	claimed  bool // by a probe
	probe    *webSocket
}

func newPolling() *polling {
	p := &polling{
		changed: make(chan struct{}, 1),
		out:     make(chan struct{}, 1),
		ended:   make(chan struct{}),
		closing: make(chan struct{}),
		gone:    make(chan struct{}),
	}
	p.giveBack()
	return p
}

func (p *polling) giveBack() { p.out <- struct{}{} }

func (p *polling) wake(*Session) { p.notify() }

func (p *polling) notify() {
	select {
	case p.changed <- struct{}{}:
	default: // already notified
	}
}

// write is never called: polls take the queue, see reply.
func (*polling) write(*Session, []*Message) error { return ErrClosed }

func (p *polling) stopReading() { close(p.ended) }

// finish waits until polls, or a WebSocket after an upgrade, have taken the queue, and a
// poll was answered with the end of the session. Without a flush it does not wait; then
// only a poll that is already open is answered so.
func (p *polling) finish(s *Session, e *ending) {
	if e.mode != flush {
		return
	}

	if s.unsent() && !p.awaitEnd(s, s.flushed, time.Until(s.flushBy)) {
		return
	}
	p.awaitEnd(s, p.closing, closeLinger)
}

// awaitEnd waits for one step of the end, and reports whether the next one follows.
func (p *polling) awaitEnd(s *Session, step <-chan struct{}, patience time.Duration) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()

	select {
	case <-step:
	case <-p.gone:
	case <-timer.C:
		s.breakOff()
	}
	return s.current() == transport(p) && s.intact()
}

func (p *polling) close() {
	p.mu.Lock()
	defer p.mu.Unlock()

	if p.closed {
		return
	}
	p.closed = true
	close(p.gone)
	if p.probe != nil {
		p.probe.close()
	}
}

// enter begins a GET or a POST, and reports whether it is the only one.
func (p *polling) enter(kind *bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()

	if *kind {
		return false
	}
	*kind = true
	return true
}

// leave ends a request. It is called before the last byte of the answer is written:
// after that byte the peer may send its next request, on another connection.
func (p *polling) leave(kind *bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*kind = false
}

func (p *polling) mark(state *bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*state = true
}

func (p *polling) is(state *bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return *state
}

// get serves a poll: it waits until there are packets for the peer, and answers with
// them. A poll that arrives during an upgrade is refused if the upgrade completes before
// there are packets, as it would be a moment later.
func (p *polling) get(s *Session, a *answer) {
	a.late, a.last = p.is(&p.probed), s.closed.Load()
	if !p.enter(&p.getting) {
		s.end(&ending{reason: ReasonTransportError, cause: errOverlap, mode: discard})
		a.empty(http.StatusBadRequest)
		return
	}

	for !p.reply(s, a) {
		if !p.await(s, a) {
			return
		}
	}
}

// await waits until there may be packets for a poll, and reports whether the poll still
// needs an answer.
func (p *polling) await(s *Session, a *answer) bool {
	var noop <-chan time.Time
	if p.is(&p.probed) {
		timer := time.NewTimer(noopAfter)
		defer timer.Stop()
		noop = timer.C
	}

	select {
	case <-p.changed:
		return true
	case <-p.ended:
		return true
	case <-noop:
		<-p.out
		defer p.giveBack()
		p.answerTypes(s, a, frame.Noop)
		return false
	case <-a.r.Context().Done():
		p.leave(&p.getting)
		if !p.is(&p.retired) {
			s.end(&ending{reason: ReasonTransportError, cause: errPollAborted, mode: discard})
		}
		return false
	}
}

// reply answers a poll if there are packets for it. One answer is written at a time, so
// that messages stay in order.
func (p *polling) reply(s *Session, a *answer) (done bool) {
	<-p.out
	defer p.giveBack()

	if p.is(&p.retired) {
		if a.late {
			p.leave(&p.getting)
			s.server.refuse(a.w, a.r, badRequest("TRANSPORT_MISMATCH"))
			return true
		}
		p.answerTypes(s, a, frame.Noop)
		return true
	}

	more := p.take(s)
	if more {
		p.leave(&p.getting)
		if err := a.messages(s, p.writer.chunk); err != nil {
			s.end(lostAnswer(err))
		}
		s.written(p.writer)
	}
	if p.writer.hand == nil {
		s.server.pools.putWriter(p.writer)
		p.writer = nil
	}
	if more {
		return true
	}

	e := s.ended()
	if e != nil {
		p.mark(&p.answered) // before the peer receives the answer: its later requests are refused
		p.answerTypes(s, a, closePackets(e, a.last)...)
		p.closeAnswered()
	}
	return e != nil
}

// take fills the writer from the queue, and reports whether there is anything to write.
// A writer with a batch in hand is kept for the next poll.
func (p *polling) take(s *Session) (more bool) {
	if p.writer == nil {
		p.writer = s.server.pools.writer()
	}
	return s.mayWrite() && s.take(p.writer)
}

// answerTypes answers a poll with packets without data.
func (p *polling) answerTypes(s *Session, a *answer, types ...frame.Type) {
	p.leave(&p.getting)
	packets := make([]frame.Packet, len(types))
	for i, t := range types {
		packets[i].Type = t
	}
	payload, _ := frame.AppendPayload(nil, packets...) // fails only for data with a separator
	if err := a.body(nil, payload); err != nil && !p.is(&p.retired) {
		s.end(lostAnswer(err))
	}
}

func (p *polling) closeAnswered() {
	p.mu.Lock()
	defer p.mu.Unlock()

	select {
	case <-p.closing: // another poll was answered before
	default:
		close(p.closing)
	}
}

// post serves a POST.
func (p *polling) post(s *Session, a *answer) {
	if !p.enter(&p.posting) {
		s.end(&ending{reason: ReasonTransportError, cause: errOverlap, mode: discard})
		a.empty(http.StatusBadRequest)
		return
	}
	b := s.server.pools.buffer()
	defer s.server.pools.putBuffer(b)

	status, e := a.read(b)
	if status == http.StatusRequestEntityTooLarge {
		s.oversized()
	}
	_ = a.control.SetReadDeadline(time.Time{}) // processing may wait while reading is paused
	// If another goroutine has the lock, there is a message, which counts.
	if status == http.StatusRequestEntityTooLarge && s.reading.TryLock() {
		s.receive(func() *ending { return s.meter(len(b.bytes)) }, s.end)
	}
	if e == nil && status == http.StatusOK {
		// Only the WebSocket of a completed upgrade, or conclude, can have the lock. Packets
		// that arrive after the end of the session are dropped.
		switch {
		case s.reading.TryLock():
			s.receive(func() *ending { return s.payload(b.bytes) }, s.end)
		case p.is(&p.retired) || !s.closed.Load():
			status = http.StatusBadRequest
		}
	}
	if e != nil {
		s.end(e)
	}

	p.leave(&p.posting)
	if status != http.StatusOK {
		a.empty(status)
		return
	}
	a.ok()
}
