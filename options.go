package socketio

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/packet"
	"github.com/pgsocket/socketio/recovery"
	"github.com/pgsocket/socketio/transport"
)

// SameHost among Options.Origins allows the pages of the host that a request is sent to, on
// any port.
const SameHost = transport.SameHost

// Options configures a Server. The zero value, and nil, is a single node that
// keeps its log and its sessions in memory.
type Options struct {
	// Adapter connects the node to the log of its cluster, for example a
	// *pgadapter.DB. Default: a log in memory, for a single node.
	Adapter adapter.Adapter

	// Parser is the form in which packets travel, of which the clients must know.
	// See package msgpack. Default: that of the protocol.
	Parser packet.Parser

	// Recovery says whether and how clients come back to their sessions.
	Recovery Recovery

	// PingInterval and PingTimeout set the heartbeat: a ping every interval,
	// and the time that the client has for its answer.
	// Default: 25 s and 20 s.
	PingInterval, PingTimeout time.Duration

	// ConnectTimeout is how long a connection may stay without a namespace. It is
	// also how long OnConnect of a client that came back waits for the handlers of
	// its former connection on this node, and for its OnDisconnect.
	// Default: 45 s.
	ConnectTimeout time.Duration

	// ConnectsAtOnce bounds how many sockets are being connected at a time: so
	// many that claim a session, and so many that open one or get what they have
	// missed. Gates, and waiting for a slow client, do not count. The others wait
	// for their turn, within ConnectTimeout, so that a crowd that comes at once
	// leaves the processor to the events of those who are there.
	// Default: 128 for each processor that Go uses.
	ConnectsAtOnce int

	// CleanupEmptyChildNamespaces removes a namespace that a client has brought
	// into being when its last socket is gone. Handlers that were registered on
	// it are gone with it; a namespace that Of was asked for stays.
	// Default: it stays, as in the official server.
	CleanupEmptyChildNamespaces bool

	// MaxNamespaces bounds the namespaces that one connection is in. A CONNECT for
	// one more is refused with "Too many namespaces".
	// Default: 64.
	MaxNamespaces int

	// MaxNamespaceBytes bounds the name of a namespace that a client asks for. A
	// longer one is a violation of the protocol and ends the connection.
	// Default: 1,000 bytes, as in SQL.
	MaxNamespaceBytes int

	// MaxDynamicNamespaces bounds the namespaces of this node that clients have
	// brought into being, see Server.OfPattern. For one more the one goes that
	// has been without a socket for longest, as with CleanupEmptyChildNamespaces;
	// while all of them have sockets, a CONNECT that asks for a new one is refused
	// with "Too many namespaces".
	// Default: 10,000.
	MaxDynamicNamespaces int

	// MaxAuthBytes bounds the auth object of a CONNECT, which is kept as long as
	// its socket. A larger one is refused with "Auth too large".
	// Default: 65,536 bytes.
	MaxAuthBytes int

	// MaxRooms bounds the rooms that Socket.Join puts a socket into, MaxRoomBytes
	// their names together; see ErrTooManyRooms. Audience.Join, and join_room in
	// SQL, are the application's own and are not bounded.
	// Default: 10,000 rooms and 1 MiB.
	MaxRooms, MaxRoomBytes int

	// AckTimeout bounds a Call whose ctx has no deadline.
	// Default: 30 s.
	AckTimeout time.Duration

	// EmitTimeout is how long EmitAsync waits for room in a full queue.
	// Default: 5 s.
	EmitTimeout time.Duration

	// MaxPayload bounds one message of a client, in bytes.
	// Default: 1,000,000, as in the official server.
	MaxPayload int64

	// MaxAttachments bounds the binary attachments of one packet of a client.
	// Default: 10, as in the official parser.
	MaxAttachments int

	// MaxArguments bounds the arguments of one event, its name included, and of one
	// acknowledgement: each costs the node 24 bytes for as few as two that are sent.
	// MaxDepth bounds how deep the JSON of a packet nests, the arguments being the first
	// level: what decodes JSON recurses. A packet beyond them is a violation of the protocol
	// and ends the connection. Encoding/json itself takes no more than 10,000 levels.
	// Default: 65,536 arguments and 128 levels.
	MaxArguments, MaxDepth int

	// PacketTimeout is how long a client may take to send a packet with attachments,
	// from its first message to its last. Then its connection is closed with
	// ReasonForcedClose. (A single message that does not end is closed by the
	// heartbeat, or after PingInterval and PingTimeout if it is a POST.)
	// Default: 2 minutes.
	PacketTimeout time.Duration

	// InboxEvents and InboxBytes bound what a connection has received and its
	// handlers have not seen to: the events that wait, and the bytes in memory of
	// those that wait or are being handled, of all its sockets together. When one of
	// them is reached the connection is not read until half of it is gone: the
	// client's next packets, whatever their namespace, wait in TCP or in its POST,
	// and none is dropped. One packet may exceed the bytes.
	//
	// Acknowledgements and the client's goodbye are among what is not read. So a
	// handler that waits for its own client (Call) while so many events wait may not
	// hear the answer: it goes on when its deadline or AckTimeout is over.
	// Default: 4,096 events and 8 MiB.
	InboxEvents, InboxBytes int

	// QueueMessages and QueueBytes bound what waits to be written to one
	// connection, behind what is being written. A client that lets them fill up is
	// disconnected with ReasonSlowConsumer and recovers like any other. An event
	// counts as a quarter of the bytes at most, so that a client that reads gets
	// events of any size. Default: 4,096 messages and 4 MiB.
	QueueMessages, QueueBytes int

	// WriteTimeout bounds one write to a connection.
	// Default: 15 s.
	WriteTimeout time.Duration

	// EventsPerSecond and BytesPerSecond bound what one connection may send, all its
	// namespaces together: packets of any kind, those of Engine.IO and the control frames of
	// a WebSocket included, and the bytes of their data. A client may
	// send as much as that at once. One that sends more is slowed down: its connection
	// is not read for as long as it is ahead, and nothing is dropped. Negative: no
	// bound. Default: 50,000 packets and 64 MiB.
	EventsPerSecond, BytesPerSecond int

	// ConnectsPerSecond bounds the CONNECT packets of one connection in the same way;
	// ten times as many may come at once. Negative: no bound. Default: 20.
	ConnectsPerSecond int

	// ThrottleTimeout is how long a client may be slowed down because of these rates
	// without a break. Then it is disconnected with ReasonRateLimit. Negative: never.
	// Default: 1 minute.
	ThrottleTimeout time.Duration

	// MaxConnections bounds the connections of this node, sessions that poll included,
	// and those that have ended while functions of the application still run for their
	// sockets, or events of theirs still wait to be handled.
	// Requests for more are refused with status 503. Negative: no bound.
	// Default: 1,000,000.
	MaxConnections int

	// MaxConnectionsPerAddress bounds the connections of one client address to this
	// node, counted in the same way. Requests for more are refused with status 429. Default: no bound, because
	// all clients of a node behind a proxy may have the proxy's address.
	MaxConnectionsPerAddress int

	// ClientAddress returns what MaxConnectionsPerAddress counts by. A node behind a
	// proxy takes it from the header that the proxy sets; a header that a client can
	// set is no address. A request for which it is "" is not counted.
	// Default: the IP address of Request.RemoteAddr, of IPv6 the first 64 bits.
	ClientAddress func(*http.Request) string

	// MaxHeaderBytes bounds the header and the URL of a client's first request, in
	// bytes of memory: they are kept for as long as the connection lives, see
	// Handshake. Each header takes about 128 bytes beside its text. Larger ones are
	// refused with status 431. Negative: no bound. Default: 32 KiB.
	MaxHeaderBytes int

	// DrainRate is how many clients a second Shutdown sends away; a negative rate
	// means all at once. Default: 1,000.
	DrainRate int

	// Origins are the origins of the pages from which browsers may use the server, over
	// WebSocket and over polling (for which it sets the headers of CORS):
	// "https://app.example", with the port if it is not the default one;
	// "https://*.app.example", for all subdomains; SameHost, for the pages of the host that
	// the request is sent to, on any port; "*" for all; "null" for files and sandboxed frames;
	// "file://" for files in WebViews and Electron.
	// A list replaces the default: name SameHost too if it is to stay. Clients that are not
	// browsers send no Origin header, or may send any: for them it is no protection. See
	// [transport.Options] for the details.
	// Default: SameHost. (The official server lets any page open a WebSocket, which sends
	// the cookies of the user along, though not read the answers to polls.)
	Origins []string

	// AllowRequest decides on each new connection before anything is kept of
	// it; an error refuses. Of an *Error the client gets the message; any other error is
	// logged, at most once a minute, and the client is told "Forbidden". It may block; it
	// runs in the goroutine of the HTTP request. Default: all are allowed.
	AllowRequest func(*http.Request) error

	// HTTP says how clients reach the server: over long-polling, WebSocket, or
	// both, and what the answers carry. Default: that of the official server.
	HTTP transport.HTTP

	// ErrorReply turns the error of a request's handler into the
	// acknowledgement that the client gets. When that cannot be encoded, or
	// ErrorReply panics, the client gets the answer to the error without its Data,
	// or else the default of that.
	// Default: {"error":{"code":…,"message":…,"data":…}}.
	ErrorReply func(*Error) any

	// Logger receives what nobody else hears: errors of event handlers,
	// panics, refused recoveries. Its handler runs in a goroutine of its own, for
	// one line at a time, and may call the server. Of a handler that blocks the
	// server keeps 1,024 lines. Default: slog.Default().
	Logger *slog.Logger

	// LogsPerSecond bounds the lines of one kind, which is one message text, that
	// Logger gets in a second; Debug lines are not bounded. The next line of the
	// kind says how many were suppressed, and Stats counts all. Negative: no bound.
	// Default: 10.
	LogsPerSecond int
}

// Recovery configures connection state recovery: a client that comes back
// within the window, to any node of the cluster, gets everything it missed.
type Recovery struct {
	// Store keeps the sessions. Beside a *pgadapter.DB as Options.Adapter it is
	// that DB's Sessions. Default: memory, if Options.Adapter is left out as
	// well.
	Store recovery.Store

	// Snapshots finds where the application read its state, for Socket.ResumeFrom. Beside a
	// *pgadapter.DB as Options.Adapter it is that DB. Default: the memory, if
	// Options.Adapter is left out; else there is no Follow.
	Snapshots adapter.SnapshotResolver

	// Window is how long a client may be away.
	// Default: 2 minutes, as in the official server.
	Window time.Duration

	// MaxParkedBytes bounds the memory of the sessions whose clients are away, if
	// Store is left out, see recovery.Memory; pgadapter.Options.MaxParked bounds
	// those of a cluster. Default: 256 MiB.
	MaxParkedBytes int

	// MaxRepeatedBytes bounds what a client is sent again in replays, because it
	// comes back again and again with an offset before what it was sent already:
	// with the next claim it gets a new session, with recovery.ErrRepeated as the
	// reason. What a replay sends for the first time makes up for eight times as
	// much that was sent again, and a client that has all that was replayed to it
	// starts from zero: a line that breaks in mid-replay costs no more than what was
	// on its way. Each node counts by itself what it has sent.
	// Default: 64 MiB.
	MaxRepeatedBytes int

	// SkipMiddlewares lets a recovered socket in without running the gates of its
	// namespace again. Unlike in the official server they run by default: a
	// user who was banned meanwhile does not come back in unasked.
	SkipMiddlewares bool

	// OptOut has the sockets of some clients, or of some namespaces, do without
	// recovery: for clients in other languages, for one, whose handlers take a
	// fixed number of arguments, as the offset is one more. It is asked once for
	// every socket, before the gates. Such a socket gets events without their
	// offsets, and no private id; its session is kept nowhere. A client can
	// ask for that in its query or auth, if OptOut says so:
	//
	//	func(_ string, h *socketio.Handshake) bool { return h.Query().Get("recovery") == "off" }
	//
	// It may block for a moment. When it panics the connection is cut.
	// Default: every client may come back.
	OptOut func(namespace string, h *Handshake) bool

	// Identity returns whose the client is, for example the id of the user that
	// its token names, or "" if that cannot be told. It is asked before the client
	// gets a session back, on every connection, also with SkipGates. A session that
	// was opened under an identity is given back under the same one only: a client
	// that has got hold of another's private id gets a new session, with the reason
	// recovery.ErrIdentity, and the session stays where it is. A session that was
	// opened without one is bound to the first identity that it is given back under.
	//
	// The ctx ends with Options.ConnectTimeout and carries the values of the HTTP
	// request's context, where middleware may have put the user. An *Error
	// refuses the client, and any other error cuts its connection, as from a gate.
	// The identity is what Socket.Identity returns; it is stored only as a hash
	// that cannot be looked up. It may block, and is called from many goroutines.
	// Default: sessions have no identity, and the private id alone brings a client
	// back.
	Identity func(ctx context.Context, h *Handshake) (string, error)

	// OnExpired is told when a session ended because its client stayed away, or
	// too many did (MaxParkedBytes), on one node of the cluster, for one session at
	// a time. It may block: up to 65,536 sessions wait meanwhile; of more it is not
	// told, which is logged. Shutdown waits for it. Default: nobody is told.
	OnExpired func(*ExpiredSession)

	// Disabled turns recovery off: events carry no offset, sessions are not
	// kept, Emit does without the promises that need them.
	Disabled bool
}

// An ExpiredSession is what is known of a session that nobody came back to.
type ExpiredSession struct {
	ID        SocketID
	Namespace string
	Rooms     []Room

	data map[string]json.RawMessage
}

func (e *ExpiredSession) snapshot() map[string]json.RawMessage { return e.data }

// Validate reports the first contradiction in the options. NewServer panics
// with the same error.
func (o *Options) Validate() error {
	if o == nil {
		return nil
	}
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"PingInterval", int64(o.PingInterval)},
		{"PingTimeout", int64(o.PingTimeout)},
		{"ConnectTimeout", int64(o.ConnectTimeout)},
		{"ConnectsAtOnce", int64(o.ConnectsAtOnce)},
		{"MaxNamespaces", int64(o.MaxNamespaces)},
		{"MaxNamespaceBytes", int64(o.MaxNamespaceBytes)},
		{"MaxDynamicNamespaces", int64(o.MaxDynamicNamespaces)},
		{"MaxAuthBytes", int64(o.MaxAuthBytes)},
		{"MaxRooms", int64(o.MaxRooms)},
		{"MaxRoomBytes", int64(o.MaxRoomBytes)},
		{"AckTimeout", int64(o.AckTimeout)},
		{"EmitTimeout", int64(o.EmitTimeout)},
		{"MaxPayload", o.MaxPayload},
		{"MaxAttachments", int64(o.MaxAttachments)},
		{"MaxArguments", int64(o.MaxArguments)},
		{"MaxDepth", int64(o.MaxDepth)},
		{"PacketTimeout", int64(o.PacketTimeout)},
		{"InboxEvents", int64(o.InboxEvents)},
		{"InboxBytes", int64(o.InboxBytes)},
		{"QueueMessages", int64(o.QueueMessages)},
		{"QueueBytes", int64(o.QueueBytes)},
		{"WriteTimeout", int64(o.WriteTimeout)},
		{"Recovery.Window", int64(o.Recovery.Window)},
		{"Recovery.MaxParkedBytes", int64(o.Recovery.MaxParkedBytes)},
		{"Recovery.MaxRepeatedBytes", int64(o.Recovery.MaxRepeatedBytes)},
	} {
		if f.value < 0 {
			return fmt.Errorf("socketio: Options.%s is negative", f.name)
		}
	}
	switch r := o.Recovery; {
	case r.Disabled && r.Store != nil:
		return errors.New("socketio: Options.Recovery has a Store and is Disabled")
	case !r.Disabled && r.Store == nil && o.Adapter != nil:
		return errors.New("socketio: Options.Adapter needs Recovery.Store beside it (with Postgres: the Sessions of the pgadapter.DB), or Recovery.Disabled")
	case r.Store != nil && o.Adapter == nil:
		return errors.New("socketio: Options.Recovery.Store needs the Adapter whose log its sessions refer to")
	}
	return nil
}

const defaultEmitTimeout = 5 * time.Second

func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	orDefault(&c.PingInterval, 25*time.Second)
	orDefault(&c.PingTimeout, 20*time.Second)
	orDefault(&c.ConnectTimeout, 45*time.Second)
	orDefault(&c.ConnectsAtOnce, defaultConnects())
	orDefault(&c.MaxNamespaces, 64)
	orDefault(&c.MaxNamespaceBytes, 1000)
	orDefault(&c.MaxDynamicNamespaces, 10_000)
	orDefault(&c.MaxAuthBytes, 1<<16)
	orDefault(&c.MaxRooms, 10_000)
	orDefault(&c.MaxRoomBytes, 1<<20)
	orDefault(&c.AckTimeout, 30*time.Second)
	orDefault(&c.EmitTimeout, defaultEmitTimeout)
	orDefault(&c.MaxPayload, 1_000_000)
	orDefault(&c.PacketTimeout, 2*time.Minute)
	orDefault(&c.EventsPerSecond, 50_000)
	orDefault(&c.BytesPerSecond, 64<<20)
	orDefault(&c.ConnectsPerSecond, 20)
	orDefault(&c.ThrottleTimeout, time.Minute)
	orDefault(&c.InboxEvents, 4096)
	orDefault(&c.InboxBytes, 8<<20)
	orDefault(&c.QueueMessages, 4096)
	orDefault(&c.QueueBytes, 4<<20)
	orDefault(&c.DrainRate, 1000)
	orDefault(&c.LogsPerSecond, 10)
	orDefault(&c.Recovery.Window, 2*time.Minute)
	orDefault(&c.Recovery.MaxRepeatedBytes, 64<<20)
	if c.Adapter == nil {
		log := adapter.NewMemory(nil)
		c.Adapter = log
		if !c.Recovery.Disabled {
			store := recovery.NewMemory(log)
			orDefault(&c.Recovery.MaxParkedBytes, store.MaxParkedBytes)
			store.MaxParkedBytes = c.Recovery.MaxParkedBytes
			c.Recovery.Store, c.Recovery.Snapshots = store, log
		}
	}
	if c.ErrorReply == nil {
		c.ErrorReply = errorReply
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// transport returns the options of the Engine.IO layer, which has defaults of
// its own for what is zero.
func (o *Options) transport() *transport.Options {
	return &transport.Options{
		PingInterval: o.PingInterval, PingTimeout: o.PingTimeout, MaxPayload: o.MaxPayload,
		QueueMessages: o.QueueMessages, QueueBytes: o.QueueBytes, WriteTimeout: o.WriteTimeout,
		MaxConnections: o.MaxConnections, MaxConnectionsPerAddress: o.MaxConnectionsPerAddress,
		ClientAddress: o.ClientAddress, MaxHeaderBytes: o.MaxHeaderBytes,
		Origins: o.Origins, AllowRequest: o.allowRequest(), HTTP: o.HTTP, Logger: o.Logger,
	}
}

// allowRequest returns AllowRequest as the transport knows it: an *Error is for the
// client to know.
func (o *Options) allowRequest() func(*http.Request) error {
	allow := o.AllowRequest
	if allow == nil {
		return nil
	}
	return func(r *http.Request) error {
		err := allow(r)
		if known, ok := errors.AsType[*Error](err); ok {
			return &transport.ForbiddenError{Message: cmp.Or(known.Message, string(known.Code))}
		}
		return err
	}
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// errorReply is the default of Options.ErrorReply.
func errorReply(e *Error) any {
	type body struct {
		Code    Code   `json:"code"`
		Message string `json:"message,omitempty"`
		Data    any    `json:"data,omitempty"`
	}
	return map[string]body{"error": {e.Code, e.Message, e.Data}}
}
