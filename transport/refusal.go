package transport

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
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
}

func refuse(code int, message, key, value string) *refusal {
	return &refusal{code: code, message: message, status: http.StatusBadRequest, context: map[string]string{key: value}}
}

func badRequest(name string) *refusal { return refuse(codeBadRequest, "Bad request", "name", name) }

// check holds a request to the protocol's rules, in the official order. It returns
// the session that the request is for, if it is for one, and its polling.
func (s *Server) check(r *http.Request, query url.Values) (*Session, *polling, *refusal) {
	transport := query.Get("transport")
	if !slices.Contains(s.opts.HTTP.Transports, transport) {
		return nil, nil, refuse(codeUnknownTransport, "Transport unknown", "transport", transport)
	}
	if !cleanHeader(r.Header.Get("Origin")) {
		return nil, nil, badRequest("INVALID_ORIGIN")
	}
	if sid := query.Get("sid"); sid != "" {
		return s.checkSession(r, query, sid)
	}
	return nil, nil, s.checkHandshake(r, query)
}

// checkSession holds a request for a session to the rules.
func (s *Server) checkSession(r *http.Request, query url.Values, sid string) (*Session, *polling, *refusal) {
	session := s.session(sid)
	if session == nil {
		return nil, nil, refuse(codeUnknownSID, "Session ID unknown", "sid", sid)
	}
	upgrade := asksUpgrade(r)
	p, ok := session.current().(*polling)
	if !ok || upgrade != (query.Get("transport") == WebSocket) {
		return nil, nil, badRequest("TRANSPORT_MISMATCH")
	}
	if query.Get("EIO") != protocolVersion {
		return nil, nil, badRequest("PROTOCOL_MISMATCH")
	}
	if !upgrade {
		return session, p, nil
	}
	if r.ProtoMajor > 1 {
		return nil, nil, needsHTTP1()
	}
	if r.Method != http.MethodGet || s.opts.HTTP.NoUpgrades || !p.claim() {
		return nil, nil, badRequest("TRANSPORT_HANDSHAKE_ERROR")
	}
	return session, p, nil
}

// checkHandshake holds a request for a new session to the rules.
func (s *Server) checkHandshake(r *http.Request, query url.Values) *refusal {
	webSocket := query.Get("transport") == WebSocket
	switch {
	case webSocket && r.ProtoMajor > 1:
		return needsHTTP1()
	case r.Method != http.MethodGet:
		return refuse(codeBadMethod, "Bad handshake method", "method", r.Method)
	case webSocket != asksUpgrade(r):
		return badRequest("TRANSPORT_HANDSHAKE_ERROR")
	}

	if s.opts.AllowRequest != nil {
		if err := s.opts.AllowRequest(r); err != nil {
			message := err.Error()
			if message == "" {
				message = "Forbidden"
			}
			refused := refuse(codeForbidden, message, "message", message)
			refused.status = http.StatusForbidden
			return refused
		}
	}

	if version := query.Get("EIO"); version != protocolVersion {
		return refuse(codeProtocolVersion, "Unsupported protocol version", "protocol", version)
	}
	return nil
}

// needsHTTP1 refuses a WebSocket over HTTP/2: RFC 8441 would need the stream, not
// a hijacked connection.
func needsHTTP1() *refusal {
	refused := refuse(codeBadRequest, "WebSocket needs HTTP/1.1", "name", "TRANSPORT_HANDSHAKE_ERROR")
	refused.status = http.StatusHTTPVersionNotSupported
	return refused
}

func (s *Server) shuttingDown(w http.ResponseWriter, r *http.Request) {
	refused := refuse(codeBadRequest, "Server shutting down", "name", "SHUTTING_DOWN")
	refused.status = http.StatusServiceUnavailable
	s.refuse(w, r, refused)
}

// refuse answers, and tells whom the options name.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, refused *refusal) {
	if tell := s.opts.HTTP.OnConnectionError; tell != nil {
		tell(&ConnectionError{Request: r, Code: refused.code, Message: refused.message, Context: refused.context})
	}
	s.opts.HTTP.head(w.Header(), r)
	refused.write(w, r)
}

// write answers. A client that asked for a WebSocket gets the message as text and
// status 400 whatever the reason, for that is what the official server writes.
func (r *refusal) write(w http.ResponseWriter, req *http.Request) {
	body, kind, status := fmt.Sprintf(`{"code":%d,"message":%s}`, r.code, quote(r.message)), "application/json", r.status
	if asksUpgrade(req) {
		body, kind = r.message, "text/html"
		w.Header().Set("Connection", "close")
		if status == http.StatusForbidden {
			status = http.StatusBadRequest
		}
	}

	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // a client that left needs no answer
}

func asksUpgrade(r *http.Request) bool {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return false
	}

	for _, line := range r.Header.Values("Connection") {
		for token := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(token), "upgrade") {
				return true
			}
		}
	}
	return false
}

// cleanHeader tells whether a header's value has no control characters. Net/http
// sees to that; other callers of ServeHTTP may not.
func cleanHeader(value string) bool {
	return !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}
