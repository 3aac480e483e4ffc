package transport

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pgsocket/socketio/internal/boundary"
	"github.com/pgsocket/socketio/transport/frame"
)

// A Receiver takes what a session's peer sends. Its methods are called one at a
// time, by the session's reader goroutine or by that of an HTTP request, and must
// not block: while they run, nothing is read. One that is told more than it can
// take calls Session.Pause. A panic, or an end of the goroutine, closes the session
// and is logged.
type Receiver interface {
	// Message takes one message. The data are valid only during the call. An
	// error closes the session with ReasonForcedClose.
	Message(data []byte, binary bool) error
	// Closed is called exactly once and last. The cause is nil if Close, Abort or
	// Shutdown ended the session.
	Closed(reason Reason, cause error)
}

// A Meter is a Receiver that bounds what a peer may send. Overhead is called for what
// costs the server a packet and is no message: control frames of a WebSocket, and packets
// of the protocol itself, with the bytes of their data. What holds for Message holds for
// it: an error closes the session, and it may call Session.Pause.
type Meter interface {
	Overhead(bytes int) error
}

// A Drainer is a Receiver that answers what it was given some time later. When the peer
// closes its WebSocket, or must be told that it broke the protocol, Settle is called
// before the session ends: it returns when all that came before has been answered, so
// that the answers go out before the close frame, or when ctx ends, a quarter of a second
// later. It is not called for connections that are lost.
type Drainer interface {
	Settle(ctx context.Context)
}

// A Lingerer is a Receiver that goes on working at what it was given when the session has
// ended. Linger is called last, after Closed, when the connection is gone: until it
// returns, the session keeps its place of Options.MaxConnections and
// MaxConnectionsPerAddress. Shutdown does not wait for it.
type Lingerer interface {
	Linger()
}

// settleWithin bounds Settle: until it returns, nobody hears that the peer has left.
const settleWithin = 250 * time.Millisecond

// A transport brings a session's packets to the peer and back.
type transport interface {
	// wake is called when something is queued and nobody sees to it.
	wake(*Session)
	// write sends messages of the session in as few calls as it can; a call may last for
	// the write timeout, and until the session's limit at most, which its end sets. It is
	// the writer's, if the carrier's wake starts one.
	write(*Session, []*Message) error
	// stopReading is called once, when the session ends: whoever reads must stop.
	stopReading()
	// finish waits, until the session's limit at most, for what the ending lets be
	// written; then it tells the peer, and waits a moment for it to leave.
	finish(*Session, *ending)
	// close drops the connection. It may be called more than once.
	close()
}

// A Session is one client's connection: a full-duplex stream of messages.
type Session struct {
	id       string
	remote   string
	address  string // that counts for Options.MaxConnectionsPerAddress; set once
	server   *Server
	receiver Receiver // set once, under mu
	work     func()   // s.writeLoop, bound once: starting a writer allocates nothing

	heartbeat heartbeat // has a lock of its own
	slot      wheelSlot // guarded by the server's wheel

	closed atomic.Bool  // set under mu; read without it where a stale answer does no harm
	paused atomic.Int32 // calls of Pause without their Resume

	reading sync.Mutex // held by whoever calls the receiver

	mu          sync.Mutex
	transport   transport // changes at most once, by an upgrade
	closer      bool      // there is, or will be, a goroutine that concludes the session
	queue       *batch    // nil while nothing waits
	bytes       int       // waiting, without urgent and what is being written; see weigh
	count       int       // waiting, in messages
	writes      int       // messages that are being written
	urgent      [urgencies]*Message
	writing     bool          // a writer runs, or will when the session starts
	low         chan struct{} // closed at the next low-water mark; nil if nobody waits
	ending      *ending
	writeFailed bool          // nothing more can be written
	flushBy     time.Time     // when an ending session stops writing
	flushed     chan struct{} // made by the ending, closed when no writer runs any more
	resumed     chan struct{} // closed when the reading goes on; nil if nobody waits for that
}

// newSession returns a session that holds messages back until start: whatever is
// sent while the receiver is being attached follows the handshake packet.
func newSession(server *Server, c transport, remote string, upgrades []string) *Session {
	s := &Session{id: newID(), remote: remote, server: server, transport: c, writing: true}
	s.work = s.writeLoop

	handshake := frame.AppendOpen(nil, frame.Handshake{
		SID:          s.id,
		Upgrades:     upgrades,
		PingInterval: server.opts.PingInterval.Milliseconds(),
		PingTimeout:  server.opts.PingTimeout.Milliseconds(),
		MaxPayload:   server.opts.MaxPayload,
	})
	s.urgent[urgentOpen] = newPacket(frame.Open, handshake[1:])

	return s
}

// newID returns 20 characters that nobody can guess: who knows a session's id
// may act for it. (The official ids spend 4 of the 15 bytes on a counter.)
func newID() string {
	var b [15]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// ID returns the Engine.IO session id. It is a secret between server and client.
func (s *Session) ID() string { return s.id }

// RemoteAddr returns the peer's address as the HTTP request had it.
func (s *Session) RemoteAddr() string { return s.remote }

// Transport returns what carries the session now: Polling, or WebSocket. An
// upgrade may change it from the one to the other.
func (s *Session) Transport() string {
	if _, ok := s.current().(*polling); ok {
		return Polling
	}
	return WebSocket
}

// start attaches the receiver and sets the heartbeat going.
func (s *Session) start(r Receiver) {
	s.mu.Lock()
	s.receiver = r
	conclude := s.mayConcludeLocked()
	s.mu.Unlock()

	s.server.wheel.add(s, s.heartbeat.start(time.Now(), s.server.opts.PingInterval))
	if conclude {
		go s.conclude() // owner: the session; ends with it
	}
}

// mayConcludeLocked tells whether a goroutine must be started that concludes the
// session: it has ended, its receiver is to hear of it, and nobody reads.
func (s *Session) mayConcludeLocked() bool {
	if !s.closed.Load() || s.receiver == nil || s.closer {
		return false
	}
	s.closer = true
	return true
}

func (s *Session) current() transport {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.transport
}

// switchTo makes c the carrier of a session that has no writer at the moment, and
// tells whether it did and whether c is to be read. A session that is ending takes
// it only if there is something left to write.
func (s *Session) switchTo(c transport) (taken, read bool) {
	s.mu.Lock()
	defer s.mu.Unlock()

	over := s.closed.Load()
	if over && (s.writeFailed || s.ending.mode != flush || !s.writing) {
		return false, false
	}
	s.transport, s.writing = c, true // the caller starts the writer
	if !over {
		s.closer = true
	}
	return true, !over
}

// Send queues messages, all of them or none, with no other message in between.
// It never blocks. A full queue closes the session and yields ErrQueueFull; a
// session that has ended yields ErrClosed. A nil error does not mean that the
// peer got anything.
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

// TrySend queues messages only if nothing waits or is being written, and tells
// whether it did. It is for what may get lost. Over long-polling a poll must be
// open.
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

// Drained waits until less than a quarter of the queue waits, and yields nil,
// the context's cause, or ErrClosed.
func (s *Session) Drained(ctx context.Context) error {
	for {
		low, err := s.lowWater()
		if low == nil {
			return err
		}

		select {
		case <-low:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Low reports whether less than a quarter of the queue waits, so that Drained
// would not.
func (s *Session) Low() bool {
	s.mu.Lock()
	defer s.mu.Unlock()

	return s.lowLocked()
}

// lowWater returns a channel to wait on, or nil if there is nothing to wait for.
func (s *Session) lowWater() (<-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()

	if s.closed.Load() {
		return nil, ErrClosed
	}
	if s.lowLocked() {
		return nil, nil
	}
	if s.low == nil {
		s.low = make(chan struct{})
	}
	return s.low, nil
}

// Close ends the session: what is queued is sent, for WriteTimeout at most, then
// the connection is closed. It returns at once and may be called repeatedly; the
// first ending wins.
func (s *Session) Close(reason Reason) { s.end(&ending{reason: reason, mode: flush}) }

// Abort ends the session without a goodbye: the queue is discarded and the
// connection dropped, also if the session is being closed already.
func (s *Session) Abort(reason Reason) { s.end(&ending{reason: reason, mode: cut}) }

// end is the one way into the end, from any goroutine; the first call counts.
func (s *Session) end(e *ending) {
	s.mu.Lock()
	first := !s.closed.Load()
	if first {
		s.closed.Store(true)
		s.ending = e
		s.flushBy = time.Now().Add(s.server.opts.WriteTimeout)
		s.flushed = make(chan struct{})
		if !s.writing {
			close(s.flushed)
		}
		s.wakeLocked()
		s.resumeLocked()
	}
	if e.mode == cut {
		s.writeFailed = true
	}
	if s.writeFailed || !s.ending.mode.keeps() {
		s.dropLocked()
	}
	c, conclude := s.transport, s.mayConcludeLocked()
	s.mu.Unlock()

	if first {
		s.server.wheel.remove(s)
		c.stopReading()
	}
	if e.mode == cut {
		c.close()
	}
	if conclude {
		go s.conclude() // owner: the session; ends with it
	}
}

// readLoop is the reader goroutine of a WebSocket, which concludes the session.
func (s *Session) readLoop(c *webSocket) {
	defer s.conclude() // also if the receiver ends the goroutine
	s.reading.Lock()
	s.receive(func() *ending { return c.receive(s) }, func(e *ending) {
		if e.cause == errMessageLimit { //nolint:errorlint // of the methods of a Receiver's error nothing may be called
			s.oversized()
		}
		if !s.closed.Load() { // else it was interrupted, and what it says means nothing
			s.letSettle(e)
			s.end(e)
		}
	})
}

// letSettle gives the receiver time for the answers that still go out.
func (s *Session) letSettle(e *ending) {
	r, ok := s.receiver.(Drainer)
	if !ok || !e.mode.keeps() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), settleWithin)
	defer cancel()
	_ = s.server.guard("Receiver.Settle", func() { r.Settle(ctx) })
}

// receive runs what calls the receiver, and then what is to be done with the ending
// that it returns, if any. The caller holds the lock for reading, which receive
// releases; nothing follows the call, see boundary.Then.
func (s *Session) receive(read func() *ending, then func(*ending)) {
	var e *ending
	boundary.Then(func() error {
		e = read()
		return nil
	}, func(err error, _ bool) {
		s.reading.Unlock()
		if err != nil {
			s.server.failed("Receiver.Message", err)
			e = &ending{reason: ReasonForcedClose, cause: err, mode: discard}
		}
		if e != nil {
			then(e)
		}
	})
}

// conclude is the last that is done for a session, by a goroutine of its own.
func (s *Session) conclude() {
	e := s.ended()
	s.reading.Lock()
	_ = s.server.guard("Receiver.Closed", func() { s.receiver.Closed(e.reason, e.cause) })
	s.reading.Unlock()

	c := s.current()
	c.finish(s, e)
	if next := s.current(); next != c { // the peer has upgraded meanwhile
		c = next
		c.finish(s, e)
	}
	c.close()
	s.server.forget(s)
	if r, ok := s.receiver.(Lingerer); ok {
		_ = s.server.guard("Receiver.Linger", r.Linger)
	}
	s.server.release(s)
}

// ended returns the first, and final, ending, or nil if there is none yet.
func (s *Session) ended() *ending {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ending
}

// open tells whether requests of the peer still reach the session: until it ends, or
// until it has sent what was queued if this side closes it.
func (s *Session) open() bool {
	if !s.closed.Load() {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ending.mode == flush && !s.writeFailed
}

// unsent tells whether anything is queued, or being written.
func (s *Session) unsent() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count+s.writes > 0
}

// breakOff ends the writing.
func (s *Session) breakOff() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writeFailed = true
	s.dropLocked()
}

func (s *Session) intact() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.writeFailed
}

// packet takes one packet of the peer; the caller holds the lock for reading.
func (s *Session) packet(p frame.Packet) *ending {
	if s.closed.Load() {
		return &ending{cause: ErrClosed}
	}

	if p.Type != frame.Pong {
		s.heartbeat.heard(s.server.opts.PingTimeout)
	}
	if p.Type != frame.Message {
		if e := s.overhead(len(p.Data)); e != nil {
			return e
		}
	}

	switch p.Type {
	case frame.Message:
		if err := s.receiver.Message(p.Data, p.Binary); err != nil {
			return refusedBy(err)
		}
	case frame.Pong:
		s.heartbeat.pong(time.Now(), s.server.opts.PingInterval)
	case frame.Ping:
		return &ending{reason: ReasonTransportError, cause: errPingByPeer, mode: settle}
	case frame.Close:
		return &ending{reason: ReasonTransportClose, cause: errClosePacket, mode: settle}
	case frame.Open, frame.Upgrade, frame.Noop: // ignored, as the official server does
	}

	return nil
}

// refusedBy is the ending of a peer whose receiver does not want what it sends.
func refusedBy(err error) *ending {
	return &ending{reason: ReasonForcedClose, cause: err, mode: flush}
}

// overhead has the receiver count what is no message; the caller holds the lock for reading.
func (s *Session) overhead(bytes int) *ending {
	if m, ok := s.receiver.(Meter); ok {
		if err := m.Overhead(bytes); err != nil {
			return refusedBy(err)
		}
	}
	return nil
}

// beat lets the heart beat if it is time, and returns when to come again.
func (s *Session) beat(now time.Time) (again time.Time) {
	todo, again := s.heartbeat.beat(now, s.server.opts.PingInterval, s.server.opts.PingTimeout)
	switch todo {
	case sendPing:
		s.urge(urgentPing, s.server.ping)
	case giveUp:
		s.end(&ending{reason: ReasonPingTimeout, cause: errPingTimeout, mode: discard})
	case wait:
	}
	return again
}
