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
// namespaces. It is the receiver of the transport's session: Message runs on the
// reader's goroutine, which runs no user code.
type conn struct {
	server   *Server
	session  *transport.Session
	decoder  packet.Decoder        // the reader's
	parser   packet.MessageDecoder // the reader's, in place of decoder with Options.Parser
	backlog  backlog
	packets  packetTimer
	throttle throttle // the reader's

	lifetimes tasks // of its sockets, from CONNECT to the end of OnDisconnect

	header http.Header
	url    *url.URL
	secure bool
	opened time.Time
	base   context.Context //nolint:containedctx // the values of the HTTP request, for the sockets' lifetimes

	mu      sync.Mutex
	sockets []*Socket
	ended   endedNamespaces
	timeout *time.Timer // until the first socket is connected
}

// defaultPacketBytes bounds a binary packet with its attachments, which are kept until
// the last one has arrived. A single message may be larger if Options.MaxPayload is.
const defaultPacketBytes = 16 << 20

var (
	errProtocol       = errors.New("socket.io protocol violation")
	errConnectTimeout = errors.New("no namespace was joined in time")
)

// newConn returns nil when Options.Parser has no decoder for the connection.
func newConn(server *Server, session *transport.Session, r *http.Request) *conn {
	c := &conn{
		server: server, session: session,
		header: r.Header, url: r.URL, secure: r.TLS != nil, opened: time.Now(),
		base:     context.WithoutCancel(r.Context()),
		throttle: newThrottle(&server.opts),
		backlog:  backlog{session: session, maxEvents: server.opts.InboxEvents, maxBytes: server.opts.InboxBytes, all: &server.unhandled},
	}
	limits := packet.Limits{
		MaxAttachments: server.opts.MaxAttachments,
		MaxArguments:   server.opts.MaxArguments,
		MaxDepth:       server.opts.MaxDepth,
		MaxNamespace:   server.opts.MaxNamespaceBytes,
		MaxPacketBytes: max(defaultPacketBytes, 2*int(server.opts.MaxPayload)),
	}
	if server.opts.Parser == nil {
		c.decoder = packet.NewDecoder(limits)
	} else if c.parser = server.newDecoder(limits); c.parser == nil {
		return nil
	}
	c.timeout = time.AfterFunc(server.opts.ConnectTimeout, func() {
		server.opts.Logger.DebugContext(c.base, "connection closed", slog.Any("error", errConnectTimeout))
		session.Close(transport.ReasonForcedClose)
	})
	return c
}

// Message implements transport.Receiver. An error closes the connection.
func (c *conn) Message(data []byte, binary bool) error {
	p, err := c.decode(data, binary)
	c.watch(p == nil && err == nil)
	if err == nil {
		err = c.counted(len(data), p)
	}
	if err != nil || p == nil {
		return err
	}
	if p.Type == packet.Connect {
		return c.connect(p)
	}
	s := c.socket(p.Namespace)
	if s == nil || !s.connected.Load() {
		return c.afterDisconnect(p)
	}
	switch p.Type {
	case packet.Disconnect:
		s.detach(&DisconnectError{Reason: ReasonClientDisconnect})
	case packet.Event, packet.BinaryEvent:
		if p.Data == nil {
			return nil // an event without a name cannot have a handler
		}
		return s.receive(p)
	case packet.Ack, packet.BinaryAck:
		if p.Data == nil {
			p.Data = []byte("[]")
		}
		if p.HasID { // else it answers no call
			s.acks.resolve(p)
		}
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
	m.size = eventSize(p.Data, name, args, p.Attachments)
	m.wantsReply.Store(p.HasID)
	return s.push(item{message: m})
}

// eventSize returns the bytes that an event takes in memory.
func eventSize(text []byte, name string, args []json.RawMessage, attachments [][]byte) int {
	const (
		overhead    = 256
		sliceHeader = 24 // of each argument and attachment
	)
	size := overhead + len(name) + cap(text) + (cap(args)+cap(attachments))*sliceHeader
	for _, a := range attachments {
		size += cap(a)
	}
	return size
}

// connect handles a CONNECT packet: it creates a socket whose timeline begins with
// Socket.connect.
func (c *conn) connect(p *packet.Packet) error {
	if c.server.closing.Load() {
		if len(c.all()) > 0 {
			return nil // Shutdown closes the connection once the events of its other sockets are handled
		}
		return ErrShutdown
	}
	if old := c.member(p.Namespace); old != nil {
		if !old.connected.Load() {
			return nil // the pending answer is for both: clients send one CONNECT for each call of connect()
		}
		return fmt.Errorf("%w: CONNECT for namespace %.50q, which is joined already", errProtocol, p.Namespace)
	}
	if len(p.Data) > c.server.opts.MaxAuthBytes {
		return c.refuse(p.Namespace, c.server.refused(p.Namespace, &Error{Message: "Auth too large"}))
	}
	if c.full() {
		return c.refuse(p.Namespace, c.server.refused(p.Namespace, errTooManyNamespaces()))
	}
	n, refusal := c.server.acquire(p.Namespace)
	if refusal != nil {
		return c.refuse(p.Namespace, c.server.refused(p.Namespace, refusal))
	}
	pid, offset, back := claimOf(p.Data)
	s := newSocket(c, n, bytes.Clone(p.Data))
	s.pid = pid
	claim := recovery.ResumeRequest{Namespace: n.name, Offset: offset}
	c.add(s)
	c.lifetimes.start()
	return s.push(item{step: func() { s.connect(claim, back) }})
}

// errNoNamespace is the answer of the official server.
func errNoNamespace() *Error { return &Error{Message: "Invalid namespace"} }

// claimOf returns the pid and offset in the body of a CONNECT, and whether there is
// a pid. It ignores values that are not strings. Keys are case-sensitive, as in
// JavaScript.
func claimOf(body []byte) (pid, offset string, back bool) {
	var fields map[string]json.RawMessage
	if len(body) == 0 || json.Unmarshal(body, &fields) != nil {
		return "", "", false
	}
	var given *string
	_ = json.Unmarshal(fields["offset"], &offset)
	if json.Unmarshal(fields["pid"], &given) != nil || given == nil {
		return "", offset, false
	}
	return *given, offset, true
}

// refused counts a CONNECT that the server refuses: because of a limit, or because there is
// no such namespace. Refusals by the application are not counted.
func (s *Server) refused(namespace string, e *Error) *Error {
	s.counters.connectRefused(e.Message)
	s.opts.Logger.Debug("CONNECT refused", slog.String("namespace", namespace), slog.String("reason", e.Message))
	return e
}

// refuse answers a CONNECT with a CONNECT_ERROR. The connection stays.
func (c *conn) refuse(namespace string, e *Error) error {
	e = c.server.encodable(e)
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
	data, err := marshalJSON(body)
	if err != nil {
		return err
	}
	messages, err := c.server.messages(&packet.Packet{Type: packet.ConnectError, Namespace: namespace, Data: data})
	if err != nil {
		return err
	}
	return c.session.Send(messages...)
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

// all returns the sockets of the connection.
func (c *conn) all() []*Socket {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.sockets)
}

// full reports whether the connection has Options.MaxNamespaces sockets. Every packet
// searches them linearly, and a client chooses their number.
func (c *conn) full() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.sockets) >= c.server.opts.MaxNamespaces
}

// member returns the socket of the client in the namespace, unless the client was sent
// DISCONNECT for it.
func (c *conn) member(namespace string) *Socket {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sockets {
		if s.namespace.name == namespace && !s.disconnectSent {
			return s
		}
	}
	return nil
}

// add adds a socket, in place of one in its namespace that is over. Only the reader calls
// it, and has checked that there is no other.
func (c *conn) add(s *Socket) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sockets = slices.DeleteFunc(c.sockets, func(o *Socket) bool { return o.namespace == s.namespace })
	c.sockets = append(c.sockets, s)
	delete(c.ended, s.namespace.name)
}

// markDisconnectSent records that the client is about to be sent DISCONNECT: from then on it
// may connect to the namespace again.
func (c *conn) markDisconnectSent(s *Socket) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.disconnectSent = true
	if s.connected.Load() {
		c.ended.note(s.namespace.name, c.grace())
	}
}

func (c *conn) forget(s *Socket) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sockets = slices.DeleteFunc(c.sockets, func(o *Socket) bool { return o == s })
}

// joined stops the timer that closes a connection without a namespace.
func (c *conn) joined() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timeout != nil {
		c.timeout.Stop()
		c.timeout = nil
	}
}

// CloseConnection disconnects the socket as Disconnect does, with all other
// sockets of its client, and then closes their connection.
func (s *Socket) CloseConnection(ctx context.Context) error {
	c := s.conn
	var errs []error
	for _, one := range c.all() {
		errs = append(errs, one.Disconnect(ctx))
	}
	c.session.Close(transport.ReasonForcedClose)
	return errors.Join(errs...)
}

// Closed implements transport.Receiver.
func (c *conn) Closed(reason transport.Reason, cause error) {
	c.joined()
	c.watch(false)
	if cause != nil {
		c.server.opts.Logger.DebugContext(c.base, "connection closed", slog.String("reason", string(reason)), slog.Any("error", cause))
	}
	for _, s := range c.all() {
		s.detach(&DisconnectError{Reason: Reason(reason), Err: cause})
	}
}
