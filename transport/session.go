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

// A Receiver receives the messages of a session's peer. Its methods are called one at
// a time, by the session's reader goroutine or by the goroutine of an HTTP request, and
// must not block: no message is read while they run. A receiver that cannot keep up
// calls Session.Pause. A panic, or a call of runtime.Goexit, closes the session and is
// logged.
type Receiver interface {
	// Message receives one message. The data are valid only during the call. An
	// error closes the session with ReasonForcedClose.
	Message(data []byte, binary bool) error
	// Closed is called exactly once, after the last Message. The cause is nil if Close,
	// Abort or Shutdown ended the session.
	Closed(reason Reason, cause error)
}

// A Meter is a Receiver that bounds the rate of its peer. Overhead is called for packets
// that are not messages, with the bytes of their data: control frames of a WebSocket and
// Engine.IO packets other than MESSAGE. The rules for Message apply: an error closes the
// session, and Overhead may call Session.Pause.
type Meter interface {
	Overhead(bytes int) error
}

// A Drainer is a Receiver that responds to messages asynchronously. When the peer closes
// its WebSocket or violates the protocol, Drain is called before the session ends. It
// returns when the responses to all earlier messages have been sent, so that they precede
// the close frame, or when ctx ends after a quarter of a second. It is not called when a
// connection is lost.
type Drainer interface {
	Drain(ctx context.Context)
}

// A Lingerer is a Receiver that still processes messages after the session has ended.
// Linger is called last, after Closed and after the connection was closed. Until it
// returns, the session counts for Options.MaxConnections and MaxConnectionsPerAddress.
// Shutdown does not wait for it.
type Lingerer interface {
	Linger()
}

// drainTimeout bounds Drain, because Closed is called only after it.
const drainTimeout = 250 * time.Millisecond

// A transport sends a session's packets to the peer and receives the peer's.
type transport interface {
	// wake is called when a message is queued and no writer runs.
	wake(*Session)
	// write sends messages of the session in as few calls as possible. Each call is
	// bounded by the write timeout and, once the session ends, by its flushBy. The
	// writer calls it, if wake starts one.
	write(*Session, []*Message) error
	// stopReading is called once, when the session ends. It makes the reader return.
	stopReading()
	// finish waits, until flushBy at most, for the writes that the ending allows; then
	// it closes towards the peer, and waits up to closeLinger for the peer to close.
	finish(*Session, *ending)
	// close drops the connection. It may be called more than once.
	close()
}

// A Session is one client's connection: a full-duplex stream of messages.
type Session struct {
	id       string
	remote   string
	address  string // counted for Options.MaxConnectionsPerAddress; set once
	server   *Server
	receiver Receiver // set once, under mu
	work     func()   // s.writeLoop, bound once, so that starting a writer does not allocate

	heartbeat heartbeat // has its own lock
	slot      wheelSlot // guarded by the server's wheel

	closed atomic.Bool  // set under mu; read without it where a stale value is harmless
	paused atomic.Int32 // calls of Pause without their Resume

	reading sync.Mutex // held while the receiver is called

	mu          sync.Mutex
	transport   transport // changes at most once, by an upgrade
	closer      bool      // a goroutine that concludes the session runs or will run
	queue       *batch    // nil while it is empty
	bytes       int       // of the queue, without urgent and messages being written; see weigh
	count       int       // messages in the queue
	writes      int       // messages that are being written
	urgent      [urgencies]*Message
	writing     bool          // a writer runs, or will when the session starts
	low         chan struct{} // closed at the next low-water mark; nil if no goroutine waits
	ending      *ending
	writeFailed bool          // no more writes are possible
	flushBy     time.Time     // when an ending session stops writing
	flushed     chan struct{} // made by the ending, closed when no writer runs any more
	resumed     chan struct{} // closed when reading resumes; nil if no goroutine waits
}

// newSession returns a session that buffers messages until start, so that messages
// sent by accept follow the handshake packet.
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

// newID returns 20 random characters. A session's id is a secret: it authorizes
// requests for the session. (The official ids use 4 of the 15 bytes for a counter.)
func newID() string {
	var b [15]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// ID returns the Engine.IO session id. It is a secret between server and client.
func (s *Session) ID() string { return s.id }

// RemoteAddr returns the RemoteAddr of the session's first HTTP request.
func (s *Session) RemoteAddr() string { return s.remote }

// Transport returns the session's current transport: Polling or WebSocket. An
// upgrade may change it from Polling to WebSocket.
func (s *Session) Transport() string {
	if _, ok := s.current().(*polling); ok {
		return Polling
	}
	return WebSocket
}

// start attaches the receiver and starts the heartbeat.
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

// mayConcludeLocked reports whether a goroutine must be started that concludes the
// session: it has ended, it has a receiver, and it has no reader.
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

// switchTo makes c the transport of a session that has no writer. It reports whether it
// did, and whether c is to be read. A session that is ending takes c only if it still
// has messages to write.
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

// Drained waits until less than a quarter of the queue is in use. It returns nil, the
// cause of ctx, or ErrClosed.
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

// Low reports whether less than a quarter of the queue is in use, so that Drained would
// return at once.
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

// Close ends the session: the queue is sent, for WriteTimeout at most, then the
// connection is closed. It returns at once and may be called repeatedly; the first
// reason counts.
func (s *Session) Close(reason Reason) { s.end(&ending{reason: reason, mode: flush}) }

// Abort ends the session without a close frame or CLOSE packet: the queue is discarded
// and the connection dropped, even if the session is already closing.
func (s *Session) Abort(reason Reason) { s.end(&ending{reason: reason, mode: cut}) }

// end ends the session, from any goroutine. The first call determines the ending.
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
		if e.cause == errMessageLimit { //nolint:errorlint // methods of a Receiver's error must not be called
			s.oversized()
		}
		if !s.closed.Load() { // otherwise stopReading caused e
			s.drainReceiver(e)
			s.end(e)
		}
	})
}

// drainReceiver gives the receiver time for responses that can still be sent.
func (s *Session) drainReceiver(e *ending) {
	r, ok := s.receiver.(Drainer)
	if !ok || !e.mode.keeps() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	_ = s.server.guard("Receiver.Drain", func() { r.Drain(ctx) })
}

// receive runs read, which calls the receiver, and then calls then with the ending that
// read returns, if any. The caller holds the reading lock, which receive releases, and
// must do nothing after the call, see boundary.Then.
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

// conclude calls Closed, closes the transport and removes the session. It runs once, at
// the end of a goroutine.
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

// open reports whether the session still serves requests of the peer: until it ends, or
// until its queue is sent if this side closes it.
func (s *Session) open() bool {
	if !s.closed.Load() {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ending.mode == flush && !s.writeFailed
}

// unsent reports whether messages are queued or being written.
func (s *Session) unsent() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count+s.writes > 0
}

// breakOff stops writing and drops the queue.
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

// packet processes one packet of the peer. The caller holds the reading lock.
func (s *Session) packet(p frame.Packet) *ending {
	if s.closed.Load() {
		return &ending{cause: ErrClosed}
	}

	if p.Type != frame.Pong {
		s.heartbeat.extend(s.server.opts.PingTimeout)
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
		return &ending{reason: ReasonTransportError, cause: errPingByPeer, mode: flushOpen}
	case frame.Close:
		return &ending{reason: ReasonTransportClose, cause: errClosePacket, mode: flushOpen}
	case frame.Open, frame.Upgrade, frame.Noop: // ignored, as the official server does
	}

	return nil
}

// refusedBy returns the ending after an error of the receiver.
func refusedBy(err error) *ending {
	return &ending{reason: ReasonForcedClose, cause: err, mode: flush}
}

// overhead calls Overhead of a Meter. The caller holds the reading lock.
func (s *Session) overhead(bytes int) *ending {
	if m, ok := s.receiver.(Meter); ok {
		if err := m.Overhead(bytes); err != nil {
			return refusedBy(err)
		}
	}
	return nil
}

// meter counts input that completes no message, and waits while reading is paused. It does
// nothing for a nil session, or after the end.
func (s *Session) meter(bytes int) *ending {
	if s == nil || s.closed.Load() {
		return nil
	}
	e := s.overhead(bytes)
	if e == nil {
		s.waitResumed()
	}
	return e
}
