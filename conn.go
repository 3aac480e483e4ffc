package socketio

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/pgsocket/socketio/packet"
	"github.com/pgsocket/socketio/recovery"
	"github.com/pgsocket/socketio/transport"
)

// A conn is one client's connection, shared by its sockets in several
// namespaces. It is the receiver of the transport's session: what it does in
// Message it does on the reader's goroutine, which runs no user code.
type conn struct {
	server  *Server
	session *transport.Session
	decoder packet.Decoder // the reader's

	header http.Header
	url    *url.URL
	secure bool
	opened time.Time
	base   context.Context //nolint:containedctx // the values of the HTTP request, for the sockets' lifetimes

	mu      sync.Mutex
	sockets []*Socket
	timeout *time.Timer // until the first socket is connected
}

// defaultPacketBytes bounds a binary packet with its attachments, which are held
// until the last one has come. A single message larger than that is allowed when
// Options.MaxPayload says so.
const defaultPacketBytes = 16 << 20

// A Handshake is what is known of a client from its first request and its
// CONNECT packet.
type Handshake struct {
	Header  http.Header // of the first HTTP request; not to be changed
	URL     *url.URL    // of the first HTTP request; not to be changed
	Address string      // the peer's address, as net/http has it
	Secure  bool        // the request came over TLS to this process
	Time    time.Time   // when the connection was opened
	Auth    json.RawMessage
}

// DecodeAuth decodes the auth object that the client sent with CONNECT. Without
// one it leaves v as it is.
func (h *Handshake) DecodeAuth(v any) error {
	if len(h.Auth) == 0 {
		return nil
	}
	return json.Unmarshal(h.Auth, v)
}

// Handshake returns what is known of the client that the socket belongs to.
func (s *Socket) Handshake() *Handshake {
	c := s.conn
	return &Handshake{
		Header: c.header, URL: c.url, Address: c.session.RemoteAddr(),
		Secure: c.secure, Time: c.opened, Auth: s.auth,
	}
}

var (
	errProtocol       = errors.New("socket.io protocol violation")
	errConnectTimeout = errors.New("no namespace was joined in time")
)

func newConn(server *Server, session *transport.Session, r *http.Request) *conn {
	c := &conn{
		server: server, session: session,
		decoder: packet.NewDecoder(packet.Limits{
			MaxAttachments: server.opts.MaxAttachments,
			MaxPacketBytes: max(defaultPacketBytes, 2*int(server.opts.MaxPayload)),
		}),
		header: r.Header, url: r.URL, secure: r.TLS != nil, opened: time.Now(),
		base: context.WithoutCancel(r.Context()),
	}
	c.timeout = time.AfterFunc(server.opts.ConnectTimeout, func() {
		server.opts.Logger.DebugContext(c.base, "connection closed", slog.Any("error", errConnectTimeout))
		session.Close(transport.ReasonForcedClose)
	})
	return c
}

// Message implements transport.Receiver. An error closes the connection.
func (c *conn) Message(data []byte, binary bool) error {
	decode := c.decoder.Text
	if binary {
		decode = c.decoder.Binary
	}
	p, err := decode(data)
	if err != nil || p == nil {
		return err
	}
	if p.Type == packet.Connect {
		return c.connect(p)
	}
	s := c.socket(p.Namespace)
	if s == nil || !s.connected.Load() {
		return fmt.Errorf("%w: %s for namespace %.50q, which was not joined", errProtocol, p.Type, p.Namespace)
	}
	switch p.Type {
	case packet.Disconnect:
		s.leave(&DisconnectError{Reason: ReasonClientDisconnect})
	case packet.Event, packet.BinaryEvent:
		return s.receive(p)
	case packet.Ack, packet.BinaryAck:
		s.acks.resolve(p)
	default:
		return fmt.Errorf("%w: %s from a client", errProtocol, p.Type)
	}
	return nil
}

// receive puts an event into the socket's inbox.
func (s *Socket) receive(p *packet.Packet) error {
	args, err := packet.SplitArgs(p.Data, nil)
	if err != nil {
		return err
	}
	name, err := packet.EventName(args[0])
	if err != nil {
		return err
	}
	m := &Message{socket: s, event: name, args: args[1:], attachments: p.Attachments, ackID: p.ID}
	m.wantsReply.Store(p.HasID)
	size := len(p.Data)
	for _, a := range p.Attachments {
		size += len(a)
	}
	if err := s.push(item{message: m, size: size}); err != nil {
		s.leave(&DisconnectError{Reason: ReasonInboxFull, Err: err})
		return err
	}
	return nil
}

// connect takes a CONNECT packet: it makes a socket whose timeline begins with
// the rest of the procedure.
func (c *conn) connect(p *packet.Packet) error {
	if c.server.closing.Load() {
		return ErrShutdown
	}
	n := c.server.lookup(p.Namespace)
	if n == nil {
		return c.refuse(p.Namespace, &Error{Message: "Invalid namespace"})
	}
	claim := claimOf(p.Data)
	claim.Namespace = n.name
	s := newSocket(c, n, bytes.Clone(p.Data))
	if !c.add(s) {
		return fmt.Errorf("%w: CONNECT for namespace %q, which is joined already", errProtocol, n.name)
	}
	return s.push(item{step: func() { s.connect(claim) }})
}

// claimOf returns the pid and offset in the body of a CONNECT. Anything but
// strings is as good as none; keys are compared as JavaScript does, by case.
func claimOf(body []byte) recovery.Claim {
	var fields map[string]json.RawMessage
	var c recovery.Claim
	if len(body) == 0 || json.Unmarshal(body, &fields) != nil {
		return c
	}
	_ = json.Unmarshal(fields["pid"], &c.PID)
	_ = json.Unmarshal(fields["offset"], &c.Offset)
	return c
}

// refuse answers a CONNECT with a CONNECT_ERROR. The connection stays.
func (c *conn) refuse(namespace string, e *Error) error {
	body := struct {
		Message string `json:"message"`
		Data    any    `json:"data,omitempty"`
	}{e.Message, e.Data}
	if body.Message == "" {
		body.Message = string(e.Code)
	}
	if body.Data == nil && e.Code != "" {
		body.Data = map[string]Code{"code": e.Code}
	}
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	p := packet.Packet{Type: packet.ConnectError, Namespace: namespace, Data: data}
	return c.session.Send(transport.Text(p.AppendText(nil)))
}

func (c *conn) socket(namespace string) *Socket {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sockets {
		if s.namespace.name == namespace {
			return s
		}
	}
	return nil
}

// add takes a socket in, unless there is one in its namespace.
func (c *conn) add(s *Socket) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.ContainsFunc(c.sockets, func(o *Socket) bool { return o.namespace == s.namespace }) {
		return false
	}
	c.sockets = append(c.sockets, s)
	return true
}

func (c *conn) forget(s *Socket) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sockets = slices.DeleteFunc(c.sockets, func(o *Socket) bool { return o == s })
}

// joined stops the clock that closes a connection without a namespace.
func (c *conn) joined() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timeout != nil {
		c.timeout.Stop()
		c.timeout = nil
	}
}

// Closed implements transport.Receiver.
func (c *conn) Closed(reason transport.Reason, cause error) {
	c.joined()
	c.mu.Lock()
	sockets := slices.Clone(c.sockets)
	c.mu.Unlock()
	for _, s := range sockets {
		s.leave(&DisconnectError{Reason: Reason(reason), Err: cause})
	}
}
