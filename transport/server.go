package transport

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"

	"github.com/gobwas/ws"

	"github.com/pgsocket/socketio/transport/frame"
)

// A Server is an http.Handler that turns requests into sessions. On which path it
// is mounted is not its business.
//
// Headers that a middleware has set on the ResponseWriter are sent with the
// answer to an upgrade too. If the client offers WebSocket subprotocols, the first
// is accepted, as in the official server; no extension is.
type Server struct {
	opts   Options
	accept func(*Session, *http.Request) Receiver
	wheel  *wheel
	ping   *Message
	pools  pools

	mu       sync.Mutex
	sessions map[string]*Session
	closing  bool
	empty    chan struct{} // closed when the server is closing and has no session left
}

// NewServer returns a server that calls accept for each new session, before the
// client is sent the handshake packet: no message can come before the receiver
// is there. Accept must not block; what it sends follows the handshake. A nil
// receiver, or a panic, drops the connection. The request must not be answered.
func NewServer(opts *Options, accept func(*Session, *http.Request) Receiver) (*Server, error) {
	o := opts.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}

	return &Server{
		opts:     o,
		accept:   accept,
		wheel:    newWheel(o.PingInterval, o.PingTimeout),
		ping:     newPacket(frame.Ping, nil),
		sessions: make(map[string]*Session),
		empty:    make(chan struct{}),
	}, nil
}

// Len returns the number of sessions, closing ones included.
func (s *Server) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// ServeHTTP answers a request of an Engine.IO client. It returns as soon as the
// session is set going: net/http's goroutine and buffers are not kept.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.isClosing() {
		(&refusal{codeBadRequest, "Server shutting down", http.StatusServiceUnavailable}).write(w, r)
		return
	}
	if refused := s.check(r, r.URL.Query()); refused != nil {
		refused.write(w, r)
		return
	}

	s.upgrade(w, r)
}

// Shutdown refuses new requests, closes every session with ReasonServerShutdown
// and waits until all are gone. What is queued is sent first; when ctx ends, what
// remains is dropped and the context's cause returned. It may be called again.
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
		<-s.empty // soon: nothing that is left waits for a peer
	}

	s.wheel.halt()
	return err
}

func (s *Server) beginClosing() (sessions []*Session) {
	s.mu.Lock()
	defer s.mu.Unlock()

	if !s.closing && len(s.sessions) == 0 {
		close(s.empty)
	}
	s.closing = true
	for _, session := range s.sessions {
		sessions = append(sessions, session)
	}
	return sessions
}

// upgrade makes the request's connection a WebSocket and sets a session going.
func (s *Server) upgrade(w http.ResponseWriter, r *http.Request) {
	u := ws.HTTPUpgrader{
		Timeout:  s.opts.WriteTimeout,
		Header:   w.Header(),
		Protocol: func(string) bool { return true },
	}
	conn, rw, _, err := u.Upgrade(r, w)
	if err != nil {
		// The client has its answer; only one of these is the fault of this side.
		level := slog.LevelDebug
		if errors.Is(err, ws.ErrNotHijacker) {
			level = slog.LevelError
		}
		s.opts.Logger.LogAttrs(r.Context(), level, "websocket upgrade", slog.Any("error", err))
		if conn != nil {
			_ = conn.Close()
		}
		return
	}

	early, err := buffered(rw.Reader)
	if err != nil {
		_ = conn.Close()
		return
	}
	s.open(conn, early, r)
}

// buffered returns what net/http has read beyond the request.
func buffered(r *bufio.Reader) ([]byte, error) {
	if r.Buffered() == 0 {
		return nil, nil
	}

	early := make([]byte, r.Buffered())
	_, err := io.ReadFull(r, early)
	return early, err
}

func (s *Server) open(conn net.Conn, early []byte, r *http.Request) {
	session := newSession(s, newWebSocket(conn, early, s), r.RemoteAddr)
	if !s.register(session) {
		_ = conn.Close()
		return
	}

	var receiver Receiver
	if err := s.guard("accept", func() { receiver = s.accept(session, r) }); err != nil || receiver == nil {
		session.Abort(ReasonForcedClose)
		s.forget(session)
		return
	}
	session.start(receiver)
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

func (s *Server) knows(sid string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[sid] != nil
}

func (s *Server) register(session *Session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()

	if s.closing {
		return false
	}
	s.sessions[session.id] = session
	return true
}

// forget is the last thing that is done for a session.
func (s *Server) forget(session *Session) {
	s.mu.Lock()
	defer s.mu.Unlock()

	delete(s.sessions, session.id)
	if s.closing && len(s.sessions) == 0 {
		close(s.empty)
	}
}

// guard is the boundary at which a panic of user code ends, and is logged.
func (s *Server) guard(what string, f func()) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: panic: %v", what, p)
			s.opts.Logger.Error("receiver panicked",
				slog.String("in", what), slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
		}
	}()

	f()
	return nil
}

func quote(text string) string {
	quoted, err := json.Marshal(text)
	if err != nil {
		return `""` // a string always marshals
	}
	return string(quoted)
}
