package transport

import (
	"errors"
	"fmt"
	"html"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// protocolVersion is the revision of Engine.IO that is spoken.
const protocolVersion = "4"

// The error codes of the protocol, with their messages.
const (
	codeUnknownTransport = iota
	codeUnknownSID
	codeBadMethod
	codeBadRequest
	codeForbidden
	codeProtocolVersion
)

// refusal is the answer to a request that is not served.
type refusal struct {
	code    int
	message string
	status  int
	context map[string]string
	header  http.Header // additional headers of the answer
}

func refuse(code int, message, key, value string) *refusal {
	return &refusal{code: code, message: message, status: http.StatusBadRequest, context: map[string]string{key: value}}
}

func badRequest(name string) *refusal { return refuse(codeBadRequest, "Bad request", "name", name) }

// check checks a request against the protocol's rules, in the official order. It returns
// the session that the request names, if any, and its polling transport. Allowed is
// whether the page that sent the request may use the server.
func (s *Server) check(r *http.Request, query url.Values, allowed bool) (*Session, *polling, *refusal) {
	transport := last(query, "transport")
	if !slices.Contains(s.opts.HTTP.Transports, transport) {
		return nil, nil, refuse(codeUnknownTransport, "Transport unknown", "transport", transport)
	}
	if !cleanHeader(r.Header.Get("Origin")) {
		return nil, nil, badRequest("INVALID_ORIGIN")
	}

	sid := last(query, "sid")
	if !allowed {
		if asksUpgrade(r) {
			s.origins.notice(s.opts.Logger, r, "WebSocket refused")
			return nil, nil, forbidden("Origin not allowed")
		}
		if sid == "" {
			s.origins.notice(s.opts.Logger, r, "the browser keeps the answer from the page")
		}
	}
	if sid != "" {
		return s.checkSession(r, query, sid)
	}
	return nil, nil, s.checkHandshake(r, query)
}

// checkSession checks a request of an existing session.
func (s *Server) checkSession(r *http.Request, query url.Values, sid string) (*Session, *polling, *refusal) {
	session := s.session(sid)
	if session == nil || !session.open() {
		return nil, nil, refuse(codeUnknownSID, "Session ID unknown", "sid", sid)
	}
	upgrade := asksUpgrade(r)
	p, ok := session.current().(*polling)
	if ok && p.is(&p.answered) {
		return nil, nil, refuse(codeUnknownSID, "Session ID unknown", "sid", sid)
	}
	if !ok || upgrade != (last(query, "transport") == WebSocket) {
		return nil, nil, badRequest("TRANSPORT_MISMATCH")
	}
	if last(query, "EIO") != protocolVersion {
		return nil, nil, badRequest("PROTOCOL_MISMATCH")
	}
	if upgrade && (r.Method != http.MethodGet || !p.claim()) {
		return nil, nil, badRequest("TRANSPORT_HANDSHAKE_ERROR")
	}
	return session, p, nil
}

// checkHandshake checks a request for a new session.
func (s *Server) checkHandshake(r *http.Request, query url.Values) *refusal {
	switch {
	case r.Method != http.MethodGet:
		return refuse(codeBadMethod, "Bad handshake method", "method", r.Method)
	case asksUpgrade(r) != (last(query, "transport") == WebSocket):
		return badRequest("TRANSPORT_HANDSHAKE_ERROR")
	}

	if refused := s.allow(r); refused != nil {
		return refused
	}

	if version := last(query, "EIO"); version != protocolVersion {
		return refuse(codeProtocolVersion, "Unsupported protocol version", "protocol", version)
	}
	return nil
}

// A ForbiddenError is an error of Options.AllowRequest whose message the client receives.
type ForbiddenError struct {
	Message string // empty: "Forbidden"
}

// Error implements error.
func (e *ForbiddenError) Error() string { return "forbidden: " + e.Message }

// forbid returns the refusal for an error of AllowRequest. An error that is not a
// ForbiddenError is logged, as a warning at most once a minute.
func (s *Server) forbid(r *http.Request, err error) *refusal {
	if known, ok := errors.AsType[*ForbiddenError](err); ok {
		return forbidden(known.Message)
	}

	level := slog.LevelDebug
	if s.unexplained.take(time.Now()) {
		level = slog.LevelWarn
	}
	s.opts.Logger.LogAttrs(r.Context(), level, "client refused by AllowRequest, reason not sent to the client", slog.Any("error", err))
	return forbidden("")
}

func forbidden(message string) *refusal {
	if message == "" {
		message = "Forbidden"
	}
	refused := refuse(codeForbidden, message, "message", message)
	refused.status = http.StatusForbidden
	return refused
}

func (s *Server) shuttingDown(w http.ResponseWriter, r *http.Request) {
	refused := refuse(codeBadRequest, "Server shutting down", "name", "SHUTTING_DOWN")
	refused.status = http.StatusServiceUnavailable
	s.refuse(w, r, refused)
}

// refuse answers the request and reports the refusal to HTTP.OnConnectionError.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, refused *refusal) {
	s.reportRefusal(&ConnectionError{Request: r, Code: refused.code, Message: refused.message, Context: refused.context})
	s.head(w.Header(), r)
	refused.write(w, r)
}

// write writes the answer. A request for a WebSocket gets the message as HTML, and status
// 400 instead of 403, as in the official server, except that the message is escaped.
func (r *refusal) write(w http.ResponseWriter, req *http.Request) {
	body, kind, status := fmt.Sprintf(`{"code":%d,"message":%s}`, r.code, quote(r.message)), "application/json", r.status
	if asksUpgrade(req) {
		body, kind = html.EscapeString(r.message), "text/html"
		w.Header().Set("Connection", "close")
		if status == http.StatusForbidden {
			status = http.StatusBadRequest
		}
	}

	maps.Copy(w.Header(), r.header)
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // an error means that the client is gone
}

// cleanHeader reports whether a header's value has no control characters. Net/http
// ensures that; other callers of ServeHTTP may not.
func cleanHeader(value string) bool {
	return !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}
