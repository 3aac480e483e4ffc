package socketio

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/pgsocket/socketio/packet"
)

// A registry is what is registered on a [Namespace], or on a [ParentNamespace]
// for the namespaces to come.
type registry struct {
	table atomic.Pointer[table]
}

// A table is what events and connections of a namespace meet. It is immutable, and
// replaced as a whole when something is registered.
type table struct {
	registered map[string]Handler
	around     []Interceptor

	handlers     map[string]Handler // those that are registered, with the middleware around them
	unhandled    Handler            // of events without one, with the middleware around it
	middlewares  []func(context.Context, *Socket) error
	onConnect    []func(context.Context, *Socket) error
	onDisconnect []func(*Socket, Reason)
	onAny        []func(context.Context, *Message)
	onOutgoing   []func(*Socket, *OutgoingEvent)
	onRoom       []func(RoomEvent)
}

func (g *registry) init() { g.table.Store(&table{unhandled: ignore}) }

// Handle registers the handler of an event by name; see [Event.On] and
// [Request.On] for the typed form. An event whose name is a number has the
// number's digits for its name. A second handler for the same event, or a
// reserved name, is a programmer's mistake: Handle panics.
func (g *registry) Handle(event string, h Handler) {
	if packet.Reserved(event) {
		panic("socketio: " + event + ": " + ErrReserved.Error()) //nolint:forbidigo // a programmer's mistake at registration
	}
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

// Intercept puts middleware around every event of a client, with a handler or
// without. The first that is listed runs first. A Middleware is called in the
// goroutine that registers, more than once for one handler.
func (g *registry) Intercept(mw ...Interceptor) {
	g.update(func(t *table) { t.around = append(slices.Clip(t.around), mw...) })
}

// Use adds a gate: a question asked of every socket before its CONNECT is
// answered. Nil admits it. An *Error refuses it, with a CONNECT_ERROR that shows
// it to the client, and ends the session of a client that came back: official
// clients do not try again. Any other error, a panic included, is logged and cuts
// the connection: the client comes back with its session, and is asked again. Gates
// run in the order in which they were added, and again for a recovered socket
// unless Recovery.SkipMiddlewares is set. A gate may join rooms and set data. It may
// not emit to the socket, which does not receive yet.
func (g *registry) Use(gate func(context.Context, *Socket) error) {
	g.update(func(t *table) { t.middlewares = append(slices.Clip(t.middlewares), gate) })
}

// OnConnect adds a function that is called when a socket has been connected,
// recovered or not, before any of its events is handled. An *Error disconnects
// the socket as Disconnect does. Any other error is logged and cuts the
// connection: the client comes back, and the function gets another chance.
//
// On one node OnConnect and OnDisconnect of a session alternate, in order: when a
// client is back on another connection, OnConnect waits for OnDisconnect of the former
// one, and so for the event handler that runs there, whose context has ended. It waits
// for Options.ConnectTimeout at most; after that it runs out of order, which is logged
// as an error. The client is connected meanwhile and receives; its events wait. Across
// nodes there is no such order: OnConnect on the new node may come before OnDisconnect
// on the old one. What counts connections over nodes has to keep the node beside the
// socket's id.
func (g *registry) OnConnect(h func(context.Context, *Socket) error) {
	g.update(func(t *table) { t.onConnect = append(slices.Clip(t.onConnect), h) })
}

// OnDisconnect adds a function that is called after a connected socket was
// disconnected and the events that it had sent were handled. A socket whose
// client may come back is told apart by the reason, not by the call. Rooms and
// data can still be read, and context.Cause(s.Context()) says what is known
// beyond the reason.
func (g *registry) OnDisconnect(h func(*Socket, Reason)) {
	g.update(func(t *table) { t.onDisconnect = append(slices.Clip(t.onDisconnect), h) })
}

// OnAny adds a function that is told of every event of a client, with a handler
// or without, before the middleware.
func (g *registry) OnAny(h func(context.Context, *Message)) {
	g.update(func(t *table) { t.onAny = append(slices.Clip(t.onAny), h) })
}

// OnAnyOutgoing adds a function that is told, for every socket of this node, of
// each event that was queued for it, requests included, acknowledgements and
// replays not. It is called among the socket's own events, one at a time. Of a
// socket with more than Options.InboxEvents such events waiting, or InboxBytes of
// them, it is not told the rest, which is logged.
func (g *registry) OnAnyOutgoing(h func(*Socket, *OutgoingEvent)) {
	g.update(func(t *table) { t.onOutgoing = append(slices.Clip(t.onOutgoing), h) })
}

// OnRoom adds a function that is told, in order and one at a time, of the rooms
// of this node: of each socket that joins and leaves, of the first and of the
// last. It is not told of the rooms that are named by a socket's id. It may
// block; what happens meanwhile is kept for it, up to 65,536 changes. Of more it
// is not told, which is logged.
func (g *registry) OnRoom(h func(RoomEvent)) {
	g.update(func(t *table) { t.onRoom = append(slices.Clip(t.onRoom), h) })
}

// update replaces the table by a changed one. Middleware is user code, so no lock is
// held meanwhile: if something else was registered in between, it begins again.
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

// handler returns what an event meets behind the catch-alls.
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

// An OutgoingEvent is an event that was queued for a socket, as [Namespace.OnAnyOutgoing]
// is told of it. Many sockets may share it.
type OutgoingEvent struct {
	event       string
	args        []json.RawMessage
	attachments [][]byte
	size        int // in memory, in bytes
}

// Event returns the event's name.
func (e *OutgoingEvent) Event() string { return e.event }

// Args returns the event's arguments, without the client's place in the log. They are
// not to be changed: they are what the clients get. Binary data appears as
// {"_placeholder":true,"num":i}; Decode resolves it.
func (e *OutgoingEvent) Args() []json.RawMessage { return e.args }

// Decode decodes the arguments as [Message.Decode] does.
func (e *OutgoingEvent) Decode(dst ...any) error { return decodeArgs(e.args, e.attachments, dst) }

// newOutgoingEvent takes the body of an event apart, which this program has encoded.
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
