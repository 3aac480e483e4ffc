package socketio

import (
	"context"
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pgsocket/socketio/packet"
)

// A Namespace is one of the channels that share a client's connection, with
// sockets, rooms and handlers of its own. Get it with [Server.Of].
//
// Handlers, gates and middleware are registered on the namespace, never on a
// socket: what differs from socket to socket lives in [Data]. Registering is
// possible at any time, and is normally done before the server serves.
type Namespace struct {
	name   string
	server *Server

	mu       sync.Mutex // held while the table is replaced
	handlers map[string]Handler
	around   []Middleware
	table    atomic.Pointer[table]

	members *members // guarded by server.hub.mu

	serverHandlers sync.Map // of server-side events, by name: serverHandler
}

// A table is what events and connections of a namespace meet, replaced as a
// whole when something is registered.
type table struct {
	handlers     map[string]Handler // with the middleware around them
	gates        []func(context.Context, *Socket) error
	onConnect    []func(context.Context, *Socket) error
	onDisconnect []func(*Socket, Reason)
}

func newNamespace(s *Server, name string) *Namespace {
	n := &Namespace{name: name, server: s, handlers: make(map[string]Handler), members: newMembers()}
	n.table.Store(&table{})
	return n
}

// Name returns the namespace's name, which begins with a slash.
func (n *Namespace) Name() string { return n.name }

// Handle registers the handler of an event by name; see [Event.On] and
// [Request.On] for the typed form. A second handler for the same event, or a
// reserved name, is a programmer's mistake: Handle panics.
func (n *Namespace) Handle(event string, h Handler) {
	if packet.Reserved(event) {
		panic("socketio: " + event + ": " + ErrReserved.Error()) //nolint:forbidigo // a programmer's mistake at registration
	}
	n.update(func(*table) {
		if _, taken := n.handlers[event]; taken {
			panic("socketio: second handler for event " + event) //nolint:forbidigo // a programmer's mistake at registration
		}
		n.handlers[event] = h
	})
}

// Intercept puts middleware around every event that has a handler. The first
// that is listed runs first.
func (n *Namespace) Intercept(mw ...Middleware) {
	n.update(func(*table) { n.around = append(n.around, mw...) })
}

// Use adds a gate: a question asked of every socket before its CONNECT is
// answered. Nil admits it; an error refuses it, as a CONNECT_ERROR that shows
// the client an *Error as it is and anything else as an internal error. Gates
// run in the order in which they were added, and again for a recovered socket
// unless Recovery.SkipGates is set. A gate may join rooms and set data. It may
// not emit to the socket, which does not receive yet.
func (n *Namespace) Use(gate func(context.Context, *Socket) error) {
	n.update(func(t *table) { t.gates = append(slices.Clip(t.gates), gate) })
}

// OnConnect adds a function that is called when a socket has been connected,
// recovered or not, before any of its events is handled. An *Error disconnects
// the socket as Disconnect does. Any other error is logged and cuts the
// connection: the client comes back, and the function gets another chance.
func (n *Namespace) OnConnect(h func(context.Context, *Socket) error) {
	n.update(func(t *table) { t.onConnect = append(slices.Clip(t.onConnect), h) })
}

// OnDisconnect adds a function that is called after a connected socket was
// disconnected and the events that it had sent were handled. A socket whose
// client may come back is told apart by the reason, not by the call.
func (n *Namespace) OnDisconnect(h func(*Socket, Reason)) {
	n.update(func(t *table) { t.onDisconnect = append(slices.Clip(t.onDisconnect), h) })
}

func (n *Namespace) update(change func(*table)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := *n.table.Load()
	change(&t)
	t.handlers = maps.Clone(n.handlers)
	for _, mw := range slices.Backward(n.around) {
		for event, h := range t.handlers {
			t.handlers[event] = mw(h)
		}
	}
	n.table.Store(&t)
}

// To returns the audience of the sockets that are in any of the rooms.
func (n *Namespace) To(rooms ...Room) Audience { return n.everybody().To(rooms...) }

// Except returns the audience of the sockets that are in none of the rooms.
func (n *Namespace) Except(rooms ...Room) Audience { return n.everybody().Except(rooms...) }

// Local returns the audience of the sockets on this node.
func (n *Namespace) Local() Audience { return n.everybody().Local() }

// Volatile returns the audience of all sockets, for events that may be dropped.
func (n *Namespace) Volatile() Audience { return n.everybody().Volatile() }

func (n *Namespace) everybody() Audience { return Audience{n.route()} }

func (n *Namespace) route() route { return route{sender: n.server.sender, namespace: n.name} }

// Sockets yields the sockets that are connected to the namespace on this node,
// as they were when the iteration began.
func (n *Namespace) Sockets() iter.Seq[*Socket] {
	return func(yield func(*Socket) bool) {
		for _, s := range n.server.hub.snapshot(n) {
			if !yield(s) {
				return
			}
		}
	}
}
