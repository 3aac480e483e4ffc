package transport

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// The error codes of the protocol, with their messages.
const (
	codeUnknownTransport = iota
	codeUnknownSID
	codeBadMethod
	codeBadRequest
	codeForbidden
	codeProtocolVersion
)

// refusal is the answer to a request that gets no session.
type refusal struct {
	code    int
	message string
	status  int
}

func (r *refusal) Error() string { return fmt.Sprintf("refused with code %d: %s", r.code, r.message) }

func refuse(code int, message string) *refusal {
	return &refusal{code: code, message: message, status: http.StatusBadRequest}
}

// check holds a request to the protocol's rules, in the official order.
func (s *Server) check(r *http.Request, query url.Values) *refusal {
	if query.Get("transport") != "websocket" {
		return refuse(codeUnknownTransport, "Transport unknown")
	}
	if !cleanHeader(r.Header.Get("Origin")) {
		return refuse(codeBadRequest, "Bad request")
	}
	if sid := query.Get("sid"); sid != "" {
		if !s.knows(sid) {
			return refuse(codeUnknownSID, "Session ID unknown")
		}
		return refuse(codeBadRequest, "Bad request") // nothing can be upgraded yet
	}

	return s.checkHandshake(r, query)
}

// checkHandshake holds a request for a new session to the rules.
func (s *Server) checkHandshake(r *http.Request, query url.Values) *refusal {
	switch {
	case r.ProtoMajor > 1:
		// RFC 8441 would need the stream, not a hijacked connection.
		return &refusal{codeBadRequest, "WebSocket needs HTTP/1.1", http.StatusHTTPVersionNotSupported}
	case r.Method != http.MethodGet:
		return refuse(codeBadMethod, "Bad handshake method")
	case !asksUpgrade(r):
		return refuse(codeBadRequest, "Bad request")
	}

	if s.opts.AllowRequest != nil {
		if err := s.opts.AllowRequest(r); err != nil {
			message := err.Error()
			if message == "" {
				message = "Forbidden"
			}
			return &refusal{codeForbidden, message, http.StatusForbidden}
		}
	}

	if query.Get("EIO") != "4" {
		return refuse(codeProtocolVersion, "Unsupported protocol version")
	}
	return nil
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
