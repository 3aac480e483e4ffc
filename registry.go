package socketio

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync/atomic"

	"github.com/pgsocket/socketio/packet"
)

// A registry is what is registered on a [Namespace], or on a [ParentNamespace]
// for the namespaces to come.
type registry struct {
	table atomic.Pointer[table]
}

// A table contains the functions for events and connections of a namespace. It is
// immutable, and replaced as a whole when something is registered.
type table struct {
	registered map[string]Handler
	signatures map[string]Signature // of registered events whose types are known
	around     []Interceptor

	handlers     map[string]Handler // the registered ones, wrapped by the interceptors
	unhandled    Handler            // of events without a handler, wrapped by the interceptors
	middlewares  []func(context.Context, *Socket) error
	onConnect    []func(context.Context, *Socket) error
	onDisconnect []func(*Socket, Reason)
	onAny        []func(context.Context, *Message)
	onOutgoing   []func(*Socket, *OutgoingEvent)
	onRoom       []func(RoomEvent)
}

func (g *registry) init() { g.table.Store(&table{unhandled: ignore}) }

// Handle registers the handler of an event by name; see [Event.On] and
// [Request.On] for the typed form. An event whose name is a number is registered
// under the number's digits. Handle panics on a second handler for the same event
// and on a reserved name.
func (g *registry) Handle(event string, h Handler) {
	if packet.Reserved(event) {
		panic("socketio: " + event + ": " + ErrReserved.Error()) //nolint:forbidigo // a programmer's mistake at registration
	}
	mustExist(h, "handler for event "+event)
	g.update(func(t *table) {
		if _, taken := t.registered[event]; taken {
			panic("socketio: second handler for event " + event) //nolint:forbidigo // a programmer's mistake at registration
		}
		t.registered = maps.Clone(t.registered)
		if t.registered == nil {
			t.registered = make(map[string]Handler)
		}
		t.registered[event] = h
	})
}

// mustExist panics if a function of the application is nil: it would fail at the first event.
func mustExist[F any](function F, what string) {
	if reflect.ValueOf(function).IsNil() {
		panic("socketio: nil " + what) //nolint:forbidigo // a programmer's mistake at registration
	}
}

// Intercept wraps the handlers of all events of clients, including events without a
// handler. The first interceptor in the list runs first. An Interceptor is called in
// the goroutine that registers, more than once for one handler.
func (g *registry) Intercept(mw ...Interceptor) {
	for _, i := range mw {
		mustExist(i, "interceptor")
	}
	g.update(func(t *table) { t.around = append(slices.Clip(t.around), mw...) })
}

// Use adds connection middleware: a function that runs for every socket before its
// CONNECT is answered. Nil admits the socket. An *Error refuses it with a
// CONNECT_ERROR that contains the error, and ends the session of a returning client:
// official clients do not retry then. Any other error, including a panic, is logged
// and closes the connection: the client reconnects with its session, and the
// middleware runs again. Middleware runs in the order in which it was added, and
// again for a recovered socket unless Recovery.SkipMiddlewares is set. It may join
// rooms and set data. It may not emit to the socket, which does not receive yet.
func (g *registry) Use(middleware func(context.Context, *Socket) error) {
	mustExist(middleware, "function for Use")
	g.update(func(t *table) { t.middlewares = append(slices.Clip(t.middlewares), middleware) })
}

// OnConnect adds a function that is called when a socket has been connected,
// recovered or not, before any of its events is handled. An *Error disconnects
// the socket as Disconnect does. Any other error is logged and closes the
// connection: the client reconnects, and the function runs again.
//
// On one node OnConnect and OnDisconnect of a session alternate, in order: when a
// client returns on another connection, OnConnect waits for OnDisconnect of the former
// one, and so for the event handler that runs there, whose context has ended. It waits
// for Options.ConnectTimeout at most; after that it runs out of order, which is logged
// as an error. The client is connected meanwhile and receives; its events wait. Across
// nodes there is no such order: OnConnect on the new node may run before OnDisconnect
// on the old one. To count connections across nodes, store the node with the socket's
// id.
func (g *registry) OnConnect(h func(context.Context, *Socket) error) {
	mustExist(h, "function for OnConnect")
	g.update(func(t *table) { t.onConnect = append(slices.Clip(t.onConnect), h) })
}

// OnDisconnect adds a function that is called after a connected socket was
// disconnected and the events that it had sent were handled. It is called also when
// the client may recover, see Reason.Recoverable. Rooms and data can still be read,
// and context.Cause(s.Context()) returns the *DisconnectError with the detail.
func (g *registry) OnDisconnect(h func(*Socket, Reason)) {
	mustExist(h, "function for OnDisconnect")
	g.update(func(t *table) { t.onDisconnect = append(slices.Clip(t.onDisconnect), h) })
}

// OnAny adds a function that is called for every event of a client, with or without
// a handler, before the interceptors.
func (g *registry) OnAny(h func(context.Context, *Message)) {
	mustExist(h, "function for OnAny")
	g.update(func(t *table) { t.onAny = append(slices.Clip(t.onAny), h) })
}

// OnAnyOutgoing adds a function that is called, for every socket of this node, for
// each event that was queued for it, including requests, but not acknowledgements
// and replays. It is called in turn with the socket's own events, one at a time.
// When more than Options.InboxEvents or InboxBytes of such events wait for one
// socket, further ones are skipped, which is logged.
func (g *registry) OnAnyOutgoing(h func(*Socket, *OutgoingEvent)) {
	mustExist(h, "function for OnAnyOutgoing")
	g.update(func(t *table) { t.onOutgoing = append(slices.Clip(t.onOutgoing), h) })
}

// OnRoom adds a function that is called for each change of a room of this node, in
// order and one at a time: each socket that joins or leaves, each room that is
// created or deleted. Rooms named by a socket's id are excluded. The function may
// block; up to 65,536 changes wait meanwhile. Further ones are skipped, which is
// logged.
func (g *registry) OnRoom(h func(RoomEvent)) {
	mustExist(h, "function for OnRoom")
	g.update(func(t *table) { t.onRoom = append(slices.Clip(t.onRoom), h) })
}

// update replaces the table by a changed one. Interceptors are user code, so no lock
// is held: if something else was registered in between, update starts again.
func (g *registry) update(change func(*table)) {
	for {
		was := g.table.Load()
		t := *was
		change(&t)
		t.handlers, t.unhandled = maps.Clone(t.registered), ignore
		for _, mw := range slices.Backward(t.around) {
			for event, h := range t.handlers {
				t.handlers[event] = mw(h)
			}
			t.unhandled = mw(t.unhandled)
		}
		if g.table.CompareAndSwap(was, &t) {
			return
		}
	}
}

// handler returns the handler of an event, which runs after the catch-alls.
func (t *table) handler(event string) Handler {
	if h, ok := t.handlers[event]; ok {
		return h
	}
	return t.unhandled
}

// ignore is the handler of events without one.
func ignore(_ context.Context, m *Message) error {
	m.socket.namespace.server.counters.unhandled.Add(1)
	m.socket.log(slog.LevelDebug, "event without a handler", eventAttr(m.event))
	return nil
}

// An OutgoingEvent is an event that was queued for a socket, see
// [Namespace.OnAnyOutgoing]. Many sockets may share it.
type OutgoingEvent struct {
	event       string
	args        []json.RawMessage
	attachments [][]byte
	size        int // in memory, in bytes
}

// Event returns the event's name.
func (e *OutgoingEvent) Event() string { return e.event }

// Args returns the event's arguments, without the offset. Do not modify them: they are
// sent to the clients. Binary data appears as
// {"_placeholder":true,"num":i}; Decode resolves it.
func (e *OutgoingEvent) Args() []json.RawMessage { return e.args }

// Decode decodes the arguments as [Message.Decode] does.
func (e *OutgoingEvent) Decode(dst ...any) error { return decodeArgs(e.args, e.attachments, dst) }

// newOutgoingEvent parses the body of an event that this program has encoded.
func newOutgoingEvent(body []byte, attachments [][]byte) *OutgoingEvent {
	args, err := packet.SplitArgs(body, nil)
	if err != nil || len(args) == 0 {
		return nil
	}
	name, err := packet.EventName(args[0])
	if err != nil {
		return nil
	}
	return &OutgoingEvent{event: name, args: args[1:], attachments: attachments, size: eventSize(body, name, args, attachments)}
}
