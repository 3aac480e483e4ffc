package transport

import (
	"net/http"
	"sync"
	"time"

	"github.com/pgsocket/socketio/transport/frame"
)

// noopAfter is how long a poll is kept open while the peer upgrades: it stops
// polling only when its last poll is answered.
const noopAfter = 100 * time.Millisecond

// polling carries a session over HTTP requests: what is queued waits for the
// peer's next GET and leaves with its answer; what the peer sends comes with
// POSTs. All of it happens in the goroutines of the requests; between them the
// session has none.
type polling struct {
	bell  chan struct{} // there is something new for the open poll to see
	ended chan struct{} // closed by interrupt
	told  chan struct{} // closed when a poll has told the peer of the end
	gone  chan struct{} // closed by close

	// out holds a token: who has taken it may answer a poll, or end the polling.
	out    chan struct{}
	writer *writer // whose user has the token; nil unless a batch is in hand

	mu      sync.Mutex
	getting bool // a GET is open
	posting bool // a POST is being read
	probed  bool // the peer has begun to upgrade
	retired bool // and done so
	said    bool // a poll is answered with the end, or was
	closed  bool // gone is closed
	claimed bool // by a probe
	probe   *webSocket
}

func newPolling() *polling {
	p := &polling{
		bell:  make(chan struct{}, 1),
		out:   make(chan struct{}, 1),
		ended: make(chan struct{}),
		told:  make(chan struct{}),
		gone:  make(chan struct{}),
	}
	p.giveBack()
	return p
}

func (p *polling) giveBack() { p.out <- struct{}{} }

func (p *polling) wake(*Session) { p.ring() }

func (p *polling) ring() {
	select {
	case p.bell <- struct{}{}:
	default: // it rings already
	}
}

// write is never called: a poll takes what is queued, see reply.
func (*polling) write(*Session, []*Message) error { return ErrClosed }

func (p *polling) stopReading() { close(p.ended) }

// finish waits until polls, or a WebSocket after an upgrade, have taken what is
// queued, and a poll has told the peer of the end. Without a flush only a poll
// that is open already is told, and nobody waits for that.
func (p *polling) finish(s *Session, e *ending) {
	if e.mode != flush {
		return
	}

	if s.unsent() && !p.awaitEnd(s, s.flushed, time.Until(s.flushBy)) {
		return
	}
	p.awaitEnd(s, p.told, closeLinger)
}

// awaitEnd waits for one step of the end and tells whether the next is to follow.
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

// enter begins a request of one of the two kinds and tells whether it is the
// only one of its kind.
func (p *polling) enter(kind *bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()

	if *kind {
		return false
	}
	*kind = true
	return true
}

// leave ends a request. It comes before the last byte of the answer: after that
// byte the peer may send the next request, on another connection.
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

// get serves a poll: it waits until there is something to say, and says it. A poll that
// comes while the peer upgrades is refused if the upgrade is done before there is
// something to say, as it would have been a moment later.
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

// await waits for something that a poll may have to answer, and tells whether
// there still is an answer to give.
func (p *polling) await(s *Session, a *answer) bool {
	var noop <-chan time.Time
	if p.is(&p.probed) {
		timer := time.NewTimer(noopAfter)
		defer timer.Stop()
		noop = timer.C
	}

	select {
	case <-p.bell:
		return true
	case <-p.ended:
		return true
	case <-noop:
		<-p.out
		defer p.giveBack()
		p.say(s, a, frame.Noop)
		return false
	case <-a.r.Context().Done():
		p.leave(&p.getting)
		if !p.is(&p.retired) {
			s.end(&ending{reason: ReasonTransportError, cause: errPollAborted, mode: discard})
		}
		return false
	}
}

// reply answers a poll if there is anything to say. Whatever is said leaves in
// order, for one answer is written at a time.
func (p *polling) reply(s *Session, a *answer) (done bool) {
	<-p.out
	defer p.giveBack()

	if p.is(&p.retired) {
		if a.late {
			p.leave(&p.getting)
			s.server.refuse(a.w, a.r, badRequest("TRANSPORT_MISMATCH"))
			return true
		}
		p.say(s, a, frame.Noop)
		return true
	}

	more := p.take(s)
	if more {
		p.leave(&p.getting)
		if err := a.messages(s, p.writer.chunk); err != nil {
			s.end(lostAnswer(err))
		}
		s.settle(p.writer)
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
		p.mark(&p.said) // before the peer can know: what it asks for then is of no session
		p.say(s, a, goodbye(e, a.last)...)
		p.tell()
	}
	return e != nil
}

// take fills the writer with what is queued, if there is anything. A writer with
// a batch in hand is the one that the next poll goes on with.
func (p *polling) take(s *Session) (more bool) {
	if p.writer == nil {
		p.writer = s.server.pools.writer()
	}
	return s.mayWrite() && s.take(p.writer)
}

// say answers a poll with packets that say nothing but their type.
func (p *polling) say(s *Session, a *answer, types ...frame.Type) {
	p.leave(&p.getting)
	packets := make([]frame.Packet, len(types))
	for i, t := range types {
		packets[i].Type = t
	}
	payload, _ := frame.AppendPayload(nil, packets...) // fails for data only
	if err := a.body(nil, payload); err != nil && !p.is(&p.retired) {
		s.end(lostAnswer(err))
	}
}

func (p *polling) tell() {
	p.mu.Lock()
	defer p.mu.Unlock()

	select {
	case <-p.told: // another poll was under way
	default:
		close(p.told)
	}
}

// post takes what the peer sends.
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
	_ = a.control.SetReadDeadline(time.Time{}) // nothing is read while the reading is paused
	if e == nil && status == http.StatusOK {
		// Only a WebSocket that has taken over, or the end, can have the lock. What comes
		// after the end is dropped, whoever has the lock then.
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
