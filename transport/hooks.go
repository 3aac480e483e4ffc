package transport

import (
	"log/slog"
	"net/http"

	"github.com/pgsocket/socketio/internal/boundary"
)

// The functions of this file call functions of the application: without a lock, and
// before anything is counted that a panic would leave counted.

// guard runs user code and logs its panic.
func (s *Server) guard(what string, f func()) error {
	err := boundary.Do(f)
	if err != nil {
		s.failed(what, err)
	}
	return err
}

func (s *Server) failed(what string, err error) {
	s.opts.Logger.Error("function of the application failed", slog.String("function", what), slog.Any("error", err))
}

// allow returns the refusal of Options.AllowRequest, if any. A panic is a refusal.
func (s *Server) allow(r *http.Request) *refusal {
	if s.opts.AllowRequest == nil {
		return nil
	}
	refused := forbidden("")
	_ = s.guard("AllowRequest", func() {
		if err := s.opts.AllowRequest(r); err != nil {
			refused = s.forbid(r, err)
		} else {
			refused = nil
		}
	})
	return refused
}

// clientAddress returns the address by which connections are counted: that of the peer,
// if Options.ClientAddress panics.
func (s *Server) clientAddress(r *http.Request) string {
	address := remoteAddress(r)
	_ = s.guard("ClientAddress", func() { address = s.opts.ClientAddress(r) })
	return address
}

// head calls HTTP.Headers for the headers of an answer.
func (s *Server) head(header http.Header, r *http.Request) {
	if s.opts.HTTP.Headers != nil {
		_ = s.guard("HTTP.Headers", func() { s.opts.HTTP.Headers(header, r) })
	}
}

// first calls HTTP.InitialHeaders for the headers of the first answer of a session, in
// addition to head.
func (s *Server) first(header http.Header, r *http.Request) {
	if s.opts.HTTP.InitialHeaders != nil {
		_ = s.guard("HTTP.InitialHeaders", func() { s.opts.HTTP.InitialHeaders(header, r) })
	}
}

// reportRefusal calls HTTP.OnConnectionError for a refused request.
func (s *Server) reportRefusal(e *ConnectionError) {
	if s.opts.HTTP.OnConnectionError != nil {
		_ = s.guard("HTTP.OnConnectionError", func() { s.opts.HTTP.OnConnectionError(e) })
	}
}
