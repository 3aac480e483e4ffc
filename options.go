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

	// Parser encodes and decodes packets. The clients must use the same format.
	// See package msgpack. Default: the format of the protocol.
	Parser packet.Parser

	// Recovery configures whether and how clients recover their sessions.
	Recovery Recovery

	// PingInterval and PingTimeout set the heartbeat: a ping every interval,
	// and the time within which the client must answer.
	// Default: 25 s and 20 s.
	PingInterval, PingTimeout time.Duration

	// ConnectTimeout is how long a connection may stay without a namespace. It is
	// also how long OnConnect of a returning client waits for the handlers of its
	// former connection on this node, and for its OnDisconnect.
	// Default: 45 s.
	ConnectTimeout time.Duration

	// ConnectsAtOnce bounds how many sockets claim a session at a time, and how
	// many open a session or receive a replay at a time. Time in middleware, and
	// waiting for a slow client, does not count. The other sockets wait, within
	// ConnectTimeout, so that a connection storm leaves processor time to the
	// events of connected clients.
	// Default: 128 for each processor that Go uses.
	ConnectsAtOnce int

	// CleanupEmptyChildNamespaces removes a namespace that a client created when
	// its last socket is gone, with the handlers that were registered on it. A
	// namespace that Of returned is not removed.
	// Default: not removed, as in the official server.
	CleanupEmptyChildNamespaces bool

	// MaxNamespaces bounds the namespaces that one connection joins. A CONNECT for
	// one more is refused with "Too many namespaces".
	// Default: 64.
	MaxNamespaces int

	// MaxNamespaceBytes bounds the name of a namespace that a client asks for. A
	// longer one is a violation of the protocol and ends the connection.
	// Default: 1,000 bytes, as in SQL.
	MaxNamespaceBytes int

	// MaxDynamicNamespaces bounds the namespaces of this node that clients
	// created, see Server.OfPattern. For one more, the server removes the one that
	// has been without a socket for longest, as with CleanupEmptyChildNamespaces.
	// While all of them have sockets, a CONNECT that asks for a new one is refused
	// with "Too many namespaces".
	// Default: 10,000.
	MaxDynamicNamespaces int

	// MaxAuthBytes bounds the auth object of a CONNECT, which is kept for as long as
	// its socket exists. A larger one is refused with "Auth too large".
	// Default: 65,536 bytes.
	MaxAuthBytes int

	// MaxRooms bounds the rooms that Socket.Join puts a socket into, MaxRoomBytes
	// their names together; see ErrTooManyRooms. Audience.Join, and join_room in
	// SQL, are not bounded.
	// Default: 10,000 rooms and 1 MiB.
	MaxRooms, MaxRoomBytes int

	// AckTimeout bounds a Call whose ctx has no deadline.
	// Default: 30 s.
	AckTimeout time.Duration

	// History bounds what History.Join sends. Which rooms have a history, and how much of it a
	// socket receives, is what the application passes to Join.
	History HistoryLimits

	// Presence bounds what a socket may do with a Presence.
	Presence PresenceLimits

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
	// level, because JSON decoders recurse. A packet beyond these limits is a violation of
	// the protocol and ends the connection. Package encoding/json accepts up to 10,000 levels.
	// Default: 65,536 arguments and 128 levels.
	MaxArguments, MaxDepth int

	// PacketTimeout is how long a client may take to send a packet with attachments,
	// from its first message to its last. Then its connection is closed with
	// ReasonForcedClose. (For a single message that does not end, the heartbeat
	// closes the connection, or PingInterval plus PingTimeout if it is a POST.)
	// Default: 2 minutes.
	PacketTimeout time.Duration

	// InboxEvents and InboxBytes bound the events of a connection that wait for
	// their handlers, and the memory of the events that wait or are being handled,
	// for all sockets of the connection together. At either limit the server stops
	// reading the connection until half of the backlog is handled: the client's next
	// packets, of any namespace, wait in TCP or in its POST, and none is dropped.
	// One packet may exceed the bytes.
	//
	// Acknowledgements and the client's DISCONNECT are not read meanwhile. So a
	// handler that calls its own client (Call) at that moment may not receive the
	// answer; it continues after its deadline or AckTimeout.
	// Default: 4,096 events and 8 MiB.
	InboxEvents, InboxBytes int

	// QueueMessages and QueueBytes bound what waits to be written to one
	// connection, behind what is being written. A client that lets them fill up is
	// disconnected with ReasonSlowConsumer and may recover. An event counts as a
	// quarter of the bytes at most, so that a client that reads receives events of
	// any size. Default: 4,096 messages and 4 MiB.
	QueueMessages, QueueBytes int

	// WriteTimeout bounds one write to a connection.
	// Default: 15 s.
	WriteTimeout time.Duration

	// EventsPerSecond and BytesPerSecond bound what one connection may send, in all its
	// namespaces together: packets of any kind, including those of Engine.IO and the control
	// frames of a WebSocket, and the bytes of their data. A client may send a second's worth
	// in one burst. If it sends more, the server pauses reading its connection until the
	// client is within the rate again; nothing is dropped. Negative: no
	// bound. Default: 50,000 packets and 64 MiB.
	EventsPerSecond, BytesPerSecond int

	// ConnectsPerSecond bounds the CONNECT packets of one connection in the same way;
	// ten times as many may arrive in one burst. Negative: no bound. Default: 20.
	ConnectsPerSecond int

	// ThrottleTimeout is how long a client may be slowed down by these rates without
	// a break. Then it is disconnected with ReasonRateLimit. Negative: never.
	// Default: 1 minute.
	ThrottleTimeout time.Duration

	// MaxConnections bounds the connections of this node, including sessions
	// that poll, and connections that have ended while functions of the application still
	// run for their sockets or events of theirs still wait to be handled.
	// Requests for more are refused with status 503. Negative: no bound.
	// Default: 1,000,000.
	MaxConnections int

	// MaxConnectionsPerAddress bounds the connections of one client address to this
	// node, counted in the same way. Requests for more are refused with status 429.
	// Default: no bound, because all clients of a node behind a proxy may have the proxy's
	// address.
	MaxConnectionsPerAddress int

	// ClientAddress returns the key by which MaxConnectionsPerAddress counts. Behind a
	// proxy, take it from the header that the proxy sets; do not trust a header that a
	// client can set. A request for which it returns "" is not counted.
	// Default: the IP address of Request.RemoteAddr, of IPv6 the first 64 bits.
	ClientAddress func(*http.Request) string

	// MaxHeaderBytes bounds the header and the URL of a client's first request, in
	// bytes of memory: they are kept for as long as the connection lives, see
	// Handshake. Each header takes about 128 bytes beside its text. Larger ones are
	// refused with status 431. Negative: no bound. Default: 32 KiB.
	MaxHeaderBytes int

	// DrainRate is how many clients per second Shutdown disconnects; a negative rate
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
	// Default: SameHost. (The official server lets any page open a WebSocket, which carries
	// the user's cookies, but not read the answers to polls.)
	Origins []string

	// AllowRequest decides on each new connection before the server keeps any state
	// for it; an error refuses. The client receives the message of an *Error. Any other
	// error is logged, at most once a minute, and the client receives "Forbidden". It may
	// block; it runs in the goroutine of the HTTP request. Default: all are allowed.
	AllowRequest func(*http.Request) error

	// HTTP configures how clients reach the server, over long-polling, WebSocket or
	// both, and the headers of responses. Default: that of the official server.
	HTTP transport.HTTP

	// ErrorReply turns the error of a request's handler into the
	// acknowledgement that the client gets. When that cannot be encoded, or
	// ErrorReply panics, the client gets the acknowledgement of the error without its
	// Data, or else the default one.
	// Default: {"error":{"code":…,"message":…,"data":…}}.
	ErrorReply func(*Error) any

	// Logger receives what no caller receives: errors of event handlers, panics,
	// refused recoveries. Its handler runs in a goroutine of its own, for one line
	// at a time, and may call the server. While it blocks, the server keeps up to
	// 1,024 lines. Default: slog.Default().
	Logger *slog.Logger

	// Tracer observes connects, events, emits, deliveries and calls as the spans of distributed
	// traces. The context of a trace travels with the records of the log to the other nodes, and
	// never to clients. Default: none, which costs nothing.
	Tracer Tracer

	// LogsPerSecond bounds the lines per second with one message text that Logger
	// receives; Debug lines are not bounded. The next line with that text contains
	// the number of suppressed ones, and Stats counts all. Negative: no bound.
	// Default: 10.
	LogsPerSecond int
}

// Recovery configures connection state recovery: a client that returns within
// the window, to any node of the cluster, receives everything it missed.
type Recovery struct {
	// Store keeps the sessions. With a *pgadapter.DB as Options.Adapter, use that
	// DB's Sessions. Default: memory, if Options.Adapter is nil as well.
	Store recovery.Store

	// Snapshots resolves the snapshot tokens of Socket.ResumeFrom. With a
	// *pgadapter.DB as Options.Adapter, use that DB. Default: memory, if
	// Options.Adapter is nil; else ResumeFrom fails.
	Snapshots adapter.SnapshotResolver

	// Window is how long a client may be away. It is at most half of the time for which
	// the adapter keeps events (pgadapter.Options.Retention); without an Adapter they
	// are kept for as long as that takes.
	// Default: 2 minutes, as in the official server.
	Window time.Duration

	// MaxParkedBytes bounds the memory of the sessions whose clients are away, if
	// Store is nil, see recovery.Memory; pgadapter.Options.MaxParked bounds
	// those of a cluster. Default: 256 MiB.
	MaxParkedBytes int

	// MaxRepeatedBytes bounds what replays send to one client more than once, because
	// it returns repeatedly with an offset before what it was sent already. Beyond the
	// bound the client gets a new session, with recovery.ErrRepeated as the reason.
	// Each byte that a replay sends for the first time offsets eight repeated ones, and
	// a client that has received all that was replayed starts from zero, so that a
	// connection that breaks during a replay costs no more than what was in transit.
	// Each node counts only what it sent itself.
	// Default: 64 MiB.
	MaxRepeatedBytes int

	// SkipMiddlewares admits a recovered socket without running the middleware of
	// its namespace again. Unlike in the official server the middleware runs by
	// default, so that a user that was banned in between is refused.
	SkipMiddlewares bool

	// OptOut returns true for sockets that do without recovery, for example those of
	// clients in other languages whose handlers take a fixed number of arguments:
	// the offset is one more. It is called once for every socket, before the
	// middleware. Such a socket gets events without offsets, and no private id; its
	// session is not stored. OptOut can let a client choose in its query or auth:
	//
	//	func(_ string, h *socketio.Handshake) bool { return h.Query().Get("recovery") == "off" }
	//
	// It may block for a moment. When it panics the connection is closed.
	// Default: every client may recover.
	OptOut func(namespace string, h *Handshake) bool

	// Identity returns the identity of the client, for example the id of the user
	// that its token names, or "" if it has none. It is called before the client
	// recovers a session, on every connection, also with SkipMiddlewares. A session
	// that was opened under an identity is recovered under the same one only: a client
	// that presents the private id of another one gets a new session, with the reason
	// recovery.ErrIdentity, and the other session is not affected. A session that was
	// opened without an identity is bound to the first one that recovers it.
	//
	// The ctx ends with Options.ConnectTimeout and carries the values of the HTTP
	// request's context, where middleware may have put the user. An *Error
	// refuses the client, and any other error closes its connection, as from
	// middleware. Socket.Identity returns the identity; only a keyed hash of it is
	// stored. It may block, and is called from many goroutines.
	// Default: sessions have no identity, and the private id alone recovers one.
	Identity func(ctx context.Context, h *Handshake) (string, error)

	// OnExpired is called when a session ended because its client did not return in
	// time, or too many were away (MaxParkedBytes). It is called on one node of the
	// cluster, for one session at a time. It may block: up to 65,536 sessions wait
	// meanwhile; more are dropped, which is logged. Shutdown waits for it.
	// Default: none.
	OnExpired func(*ExpiredSession)

	// Disabled turns recovery off: events carry no offset, sessions are not
	// stored, and missed events are not replayed.
	Disabled bool
}

// An ExpiredSession describes a session to which no client returned in time.
type ExpiredSession struct {
	ID        SocketID
	Namespace string
	Rooms     []Room

	data map[string]json.RawMessage
}

func (e *ExpiredSession) snapshot() map[string]json.RawMessage { return e.data }

// Validate reports the first invalid option or contradiction. NewServer panics
// with the same error.
func (o *Options) Validate() error {
	if o == nil {
		return nil
	}
	if err := o.negative(); err != nil {
		return err
	}
	switch r := o.Recovery; {
	case r.Disabled && r.Store != nil:
		return errors.New("socketio: Options.Recovery has a Store and is Disabled")
	case !r.Disabled && r.Store == nil && o.Adapter != nil:
		return errors.New("socketio: Options.Adapter needs Recovery.Store beside it (with Postgres: the Sessions of the pgadapter.DB), or Recovery.Disabled")
	case r.Store != nil && o.Adapter == nil:
		return errors.New("socketio: Options.Recovery.Store needs the Adapter whose log its sessions refer to")
	}
	if err := o.Recovery.validateWindow(); err != nil {
		return err
	}
	return o.transport().Validate()
}

// negative returns an error for the first option that is negative and may not be.
func (o *Options) negative() error {
	for _, f := range []struct {
		name  string
		value time.Duration
	}{
		{"PingInterval", o.PingInterval},
		{"PingTimeout", o.PingTimeout},
		{"ConnectTimeout", o.ConnectTimeout},
		{"AckTimeout", o.AckTimeout},
		{"EmitTimeout", o.EmitTimeout},
		{"PacketTimeout", o.PacketTimeout},
		{"WriteTimeout", o.WriteTimeout},
		{"Recovery.Window", o.Recovery.Window},
	} {
		if f.value < 0 {
			return fmt.Errorf("socketio: Options.%s is negative: %v", f.name, f.value)
		}
	}
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"ConnectsAtOnce", int64(o.ConnectsAtOnce)},
		{"MaxNamespaces", int64(o.MaxNamespaces)},
		{"MaxNamespaceBytes", int64(o.MaxNamespaceBytes)},
		{"MaxDynamicNamespaces", int64(o.MaxDynamicNamespaces)},
		{"MaxAuthBytes", int64(o.MaxAuthBytes)},
		{"MaxRooms", int64(o.MaxRooms)},
		{"MaxRoomBytes", int64(o.MaxRoomBytes)},
		{"MaxPayload", o.MaxPayload},
		{"MaxAttachments", int64(o.MaxAttachments)},
		{"MaxArguments", int64(o.MaxArguments)},
		{"MaxDepth", int64(o.MaxDepth)},
		{"InboxEvents", int64(o.InboxEvents)},
		{"InboxBytes", int64(o.InboxBytes)},
		{"QueueMessages", int64(o.QueueMessages)},
		{"QueueBytes", int64(o.QueueBytes)},
		{"History.Events", int64(o.History.Events)},
		{"History.Bytes", int64(o.History.Bytes)},
		{"History.ReadBytes", int64(o.History.ReadBytes)},
		{"Presence.StateBytes", int64(o.Presence.StateBytes)},
		{"Presence.Rooms", int64(o.Presence.Rooms)},
		{"Presence.ListMembers", int64(o.Presence.ListMembers)},
		{"Presence.ListBytes", int64(o.Presence.ListBytes)},
		{"Recovery.MaxParkedBytes", int64(o.Recovery.MaxParkedBytes)},
		{"Recovery.MaxRepeatedBytes", int64(o.Recovery.MaxRepeatedBytes)},
	} {
		if f.value < 0 {
			return fmt.Errorf("socketio: Options.%s is negative: %d", f.name, f.value)
		}
	}
	return nil
}

// validateWindow returns an error if the store cannot recover every client that returns within the window.
func (r *Recovery) validateWindow() error {
	store, ok := r.Store.(recovery.Retainer)
	if !ok {
		return nil
	}
	kept, window, which := store.Retention(), r.Window, ""
	if window == 0 {
		window, which = defaultWindow, ", the default,"
	}
	if window <= kept/2 {
		return nil
	}
	return fmt.Errorf("socketio: Options.Recovery.Window is %v%s and the adapter keeps events for %v (its Retention), which serves a window of %v at most; make Retention %v or longer, or Window shorter",
		window, which, kept, kept/2, 2*window)
}

const (
	defaultEmitTimeout = 5 * time.Second
	defaultWindow      = 2 * time.Minute
)

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
	orDefault(&c.History.Events, 1000)
	orDefault(&c.History.Bytes, 256<<10)
	orDefault(&c.History.ReadBytes, 4<<20)
	orDefault(&c.Presence.StateBytes, 4096)
	orDefault(&c.Presence.Rooms, 100)
	orDefault(&c.Presence.ListMembers, 500)
	orDefault(&c.Presence.ListBytes, 128<<10)
	orDefault(&c.DrainRate, 1000)
	orDefault(&c.LogsPerSecond, 10)
	orDefault(&c.Recovery.Window, defaultWindow)
	orDefault(&c.Recovery.MaxRepeatedBytes, 64<<20)
	if c.Adapter == nil {
		log := adapter.NewMemory(&adapter.MemoryOptions{Retention: max(5*time.Minute, 2*c.Recovery.Window)})
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

// transport returns the options of the Engine.IO layer, which has its own
// defaults for zero values.
func (o *Options) transport() *transport.Options {
	return &transport.Options{
		PingInterval: o.PingInterval, PingTimeout: o.PingTimeout, MaxPayload: o.MaxPayload,
		QueueMessages: o.QueueMessages, QueueBytes: o.QueueBytes, WriteTimeout: o.WriteTimeout,
		MaxConnections: o.MaxConnections, MaxConnectionsPerAddress: o.MaxConnectionsPerAddress,
		ClientAddress: o.ClientAddress, MaxHeaderBytes: o.MaxHeaderBytes,
		Origins: o.Origins, AllowRequest: o.allowRequest(), HTTP: o.HTTP, Logger: o.Logger,
	}
}

// allowRequest adapts AllowRequest to the transport: the client receives the message of
// an *Error.
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
