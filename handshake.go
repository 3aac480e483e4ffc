package socketio

import (
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

// A Handshake contains the data of a client from its first request and its CONNECT
// packet. The request's header and URL are kept for as long as the connection exists,
// so Options.MaxHeaderBytes bounds them.
type Handshake struct {
	Header  http.Header // of the first HTTP request; read only
	URL     *url.URL    // of the first HTTP request; read only; see Query
	Address string      // the peer's address, from Request.RemoteAddr
	Secure  bool        // the request came over TLS to this process
	XDomain bool        // the request had an Origin header: it is from a browser, on any page
	Time    time.Time   // when the connection was opened
	Auth    json.RawMessage
}

// DecodeAuth decodes the auth object that the client sent with CONNECT. Without
// one it leaves v as it is. Its error is an *Error with CodeBadPayload: middleware
// that returns it refuses the client.
func (h *Handshake) DecodeAuth(v any) error {
	if len(h.Auth) == 0 {
		return nil
	}
	if err := json.Unmarshal(h.Auth, v); err != nil {
		return badPayload("auth", &argumentError{-1, v, err})
	}
	return nil
}

// Query returns the parameters of the client's URL: its own, and those of the
// protocol. A ";", and a "%" that encodes nothing, are part of a value, as in
// JavaScript; the server rewrites the query of such a URL so that it can be parsed.
func (h *Handshake) Query() url.Values { return h.URL.Query() }

// Handshake returns the handshake of the socket's client.
func (s *Socket) Handshake() *Handshake {
	c := s.conn
	return &Handshake{
		Header: c.header, URL: c.url, Address: c.session.RemoteAddr(),
		Secure: c.secure, XDomain: c.header.Get("Origin") != "", Time: c.opened, Auth: s.auth,
	}
}

// Transport returns the current transport of the client's connection, "polling" or
// "websocket": it changes when the client upgrades.
func (s *Socket) Transport() string { return s.conn.session.Transport() }

// withoutPID returns the auth object of a CONNECT without the private id, if it has one.
func withoutPID(auth json.RawMessage) (json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if len(auth) > 0 {
		_ = json.Unmarshal(auth, &fields) // a value that is not an object has no fields
	}
	if _, ok := fields["pid"]; !ok {
		return auth, nil
	}
	delete(fields, "pid")
	return marshalJSON(fields)
}
