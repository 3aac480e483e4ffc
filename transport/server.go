package transport

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pgsocket/socketio/internal/boundary"
	"github.com/pgsocket/socketio/transport/frame"
)

// A Server is an http.Handler that turns requests into sessions. It may be mounted
// on any path.
//
// Headers that an outer handler has set on the ResponseWriter are also sent with the
// answer to an upgrade. If the client offers WebSocket subprotocols, the first one is
// accepted, as in the official server. Of the extensions only permessage-deflate is
// accepted, if the options allow it.
type Server struct {
	opts    Options
	accept  func(*Session, *http.Request) Receiver
	wheel   *wheel
	ping    *Message
	pools   pools
	writers writerPool
	log     *boundary.Log

	origins     origins
	unexplained sampler // refusals of AllowRequest whose reason the client does not receive

	refused, oversize atomic.Uint64 // see Stats

	mu        sync.Mutex
	sessions  map[string]*Session
	places    int            // taken by sessions and by requests for one
	addresses map[string]int // places by the client's address, if that is bounded
	probes    int
	closing   bool
	empty     chan struct{} // closed when the server is closing and has no session or probe left
}

// logRate bounds the log lines of one kind per second, unless Options.Logger does.
const logRate = 10

// NewServer returns a server that calls accept for each new session, before it sends
// the handshake packet: no message can arrive before accept returns the receiver.
// Accept must not block, and must not answer the request; messages that it sends follow
// the handshake. A nil receiver, or a panic, drops the connection.
func NewServer(opts *Options, accept func(*Session, *http.Request) Receiver) (*Server, error) {
	o := opts.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	log := boundary.NewLog(o.Logger, logRate)
	o.Logger = log.Logger

	return &Server{
		opts:      o,
		log:       log,
		accept:    accept,
		wheel:     newWheel(),
		ping:      newPacket(frame.Ping, nil),
		origins:   newOrigins(o.Origins),
		sessions:  make(map[string]*Session),
		addresses: make(map[string]int),
		empty:     make(chan struct{}),
	}, nil
}

// RefusedOrigins returns the number of requests from pages that Options.Origins does not
// allow: WebSockets that were refused, and polling handshakes whose answer the browser
// withholds from the page.
func (s *Server) RefusedOrigins() uint64 { return s.origins.refused.Load() }

// Len returns the number of sessions, closing ones included.
func (s *Server) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// ServeHTTP answers a request of an Engine.IO client. For a WebSocket it returns
// once the session has started, so that net/http can free its goroutine and buffers.
// For a poll it returns when there are packets for the client.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.Contains(r.URL.RawQuery, ";") {
		// Net/http logs a line for each such query unless a handler allows semicolons.
		http.AllowQuerySemicolons(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { s.serve(w, r) })).ServeHTTP(w, r)
		return
	}
	s.serve(w, r)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	allowed := s.origins.allow(w.Header(), r)
	if s.origins.share(w.Header(), r) {
		s.head(w.Header(), r)
		w.WriteHeader(http.StatusNoContent)
		return
	}

	r, query := readable(r)
	if last(query, "sid") == "" {
		s.open(w, r, query, allowed)
		return
	}
	session, p, refused := s.check(r, query, allowed)
	switch {
	case refused != nil:
		s.refuse(w, r, refused)
	case asksUpgrade(r):
		s.probe(w, r, session, p)
	case r.Method == http.MethodGet:
		p.get(session, s.answer(w, r))
	case r.Method == http.MethodPost:
		p.post(session, s.answer(w, r))
	default:
		s.answer(w, r).empty(http.StatusInternalServerError)
	}
}

// afterAbort is how long Shutdown waits after its context has ended for aborted
// sessions to end.
const afterAbort = time.Second

// Shutdown refuses new requests, closes every session with ReasonServerShutdown
// and waits until all have ended. Their queues are sent first. When ctx ends, Shutdown
// aborts the remaining sessions and returns the cause of ctx. It may be called again.
func (s *Server) Shutdown(ctx context.Context) error {
	sessions := s.beginClosing()
	for _, session := range sessions {
		session.Close(ReasonServerShutdown)
	}

	var err error
	select {
	case <-s.empty:
	case <-ctx.Done():
		err = context.Cause(ctx)
		for _, session := range sessions {
			session.Abort(ReasonServerShutdown)
		}
		// The remaining sessions do not wait for their peers, but may wait for user code.
		timer := time.NewTimer(afterAbort)
		defer timer.Stop()
		select {
		case <-s.empty:
		case <-timer.C:
		}
	}

	s.wheel.halt()
	s.log.Flush(ctx)
	return err
}

// Refuse makes the server refuse new sessions and upgrades from now on. Existing
// sessions continue until Shutdown.
func (s *Server) Refuse() { s.beginClosing() }

func (s *Server) beginClosing() (sessions []*Session) {
	s.mu.Lock()
	defer s.mu.Unlock()

	if !s.closing {
		s.closing = true
		s.countLocked()
	}
	for _, session := range s.sessions {
		sessions = append(sessions, session)
	}
	return sessions
}

// open answers a request for a new session.
func (s *Server) open(w http.ResponseWriter, r *http.Request, query url.Values, allowed bool) {
	if s.isClosing() {
		s.shuttingDown(w, r)
		return
	}
	p, refused := s.admit(r)
	if refused != nil {
		s.refuse(w, r, refused)
		return
	}
	defer s.vacate(p) // also if code of the application panics

	_, _, refused = s.check(r, query, allowed)
	switch {
	case refused != nil:
		s.refuse(w, r, refused)
	case asksUpgrade(r):
		s.openWebSocket(w, r, p)
	default:
		s.openPolling(w, r, p)
	}
}

// openWebSocket makes the request's connection a WebSocket and starts a session.
func (s *Server) openWebSocket(w http.ResponseWriter, r *http.Request, at *place) {
	s.first(w.Header(), r)
	h, ok := s.hijack(w, r)
	if !ok {
		return
	}

	c := newWebSocket(h, s)
	session := newSession(s, c, r.RemoteAddr, nil)
	session.closer = true // the reader
	if !s.register(session, at) {
		c.close()
		return
	}
	if s.attach(session, r) {
		go session.work()      // owner: the session; ends when its queue is empty
		go session.readLoop(c) // owner: the session; ends with the connection
	}
}

// openPolling starts a session and answers the request as its first poll, with the
// handshake packet.
func (s *Server) openPolling(w http.ResponseWriter, r *http.Request, at *place) {
	p := newPolling()
	session := newSession(s, p, r.RemoteAddr, s.opts.HTTP.upgrades())
	if !s.register(session, at) {
		s.shuttingDown(w, r)
		return
	}
	if !s.attach(session, r) {
		s.answer(w, r).empty(http.StatusInternalServerError)
		return
	}

	s.opts.HTTP.bake(w, session)
	s.first(w.Header(), r)
	p.get(session, s.answer(w, r))
}

// attach calls accept for the session's receiver, and reports whether there is one.
func (s *Server) attach(session *Session, r *http.Request) bool {
	var receiver Receiver
	if err := s.guard("accept", func() { receiver = s.accept(session, r) }); err != nil || receiver == nil {
		session.Abort(ReasonForcedClose)
		s.forget(session)
		s.release(session)
		return false
	}
	session.start(receiver)
	return true
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

func (s *Server) session(sid string) *Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[sid]
}

func (s *Server) register(session *Session, at *place) bool {
	s.mu.Lock()
	defer s.mu.Unlock()

	if s.closing {
		return false
	}
	s.sessions[session.id] = session
	session.address, at.taken = at.address, true
	return true
}

// forget removes a session that has ended. Only release follows.
func (s *Server) forget(session *Session) {
	s.mu.Lock()
	defer s.mu.Unlock()

	delete(s.sessions, session.id)
	s.countLocked()
}

// release releases the place that a session has taken.
func (s *Server) release(session *Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.vacateLocked(session.address)
}

// enterProbe counts a WebSocket that does not belong to a session yet, so that Shutdown
// waits for it.
func (s *Server) enterProbe() bool {
	s.mu.Lock()
	defer s.mu.Unlock()

	if s.closing {
		return false
	}
	s.probes++
	return true
}

func (s *Server) leaveProbe() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.probes--
	s.countLocked()
}

func (s *Server) countLocked() {
	if s.closing && s.probes == 0 && len(s.sessions) == 0 {
		close(s.empty)
	}
}

func quote(text string) string {
	quoted, err := json.Marshal(text)
	if err != nil {
		return `""` // a string always marshals
	}
	return string(quoted)
}
