package socketio

import (
	"iter"
	"sync"
)

// A Namespace is one of the channels that share a client's connection, with
// sockets, rooms and handlers of its own. Get it with [Server.Of].
//
// Handlers, middleware and interceptors are registered on the namespace, never on
// a socket: state of one socket belongs in [Data]. Registering is possible at any
// time, and is normally done before the server serves.
type Namespace struct {
	name   string
	server *Server
	registry

	serverHandlers sync.Map // of server-side events, by name: serverHandler

	members *members       // guarded by server.hub.mu
	state   namespaceState // guarded by server.hub.mu

	rooms callbackQueue[RoomEvent]
}

func newNamespace(s *Server, name string) *Namespace {
	n := &Namespace{name: name, server: s}
	n.members = newMembers(n.roomChanged)
	n.rooms.work, n.rooms.call, n.rooms.dropped = &s.work, n.callOnRoom, n.logMissedRooms
	n.init()
	return n
}

// Name returns the namespace's name, which begins with a slash.
func (n *Namespace) Name() string { return n.name }

// All returns the audience of all sockets. As a [Target] the namespace itself
// means the same.
func (n *Namespace) All() Audience { return Audience{n.route()} }

// To returns the audience of the sockets that are in any of the rooms: no sockets
// for an empty list. For all sockets use [Namespace.All].
func (n *Namespace) To(rooms ...Room) Audience { return n.All().To(rooms...) }

// Except returns the audience of the sockets that are in none of the rooms.
func (n *Namespace) Except(rooms ...Room) Audience { return n.All().Except(rooms...) }

// Local returns the audience of the sockets on this node.
func (n *Namespace) Local() Audience { return n.All().Local() }

// Volatile returns the audience of all sockets, for events that may be dropped.
func (n *Namespace) Volatile() Audience { return n.All().Volatile() }

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

// Socket returns the socket with the id, if it is connected to the namespace on
// this node. RemoteSocket stands for it wherever it is.
func (n *Namespace) Socket(id SocketID) (*Socket, bool) {
	h := n.server.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	m, ok := n.members.byID[id]
	if !ok {
		return nil, false
	}
	return m.socket, true
}

// RemoteSocket returns the socket with the id, on whichever node it is, to call it or to
// emit to it. It asks no node: the socket may not exist, and the result has neither rooms
// nor data nor a handshake. [Audience.Fetch] returns these. A text that is the id of no
// socket, such as the name of a room, stands for none: a client may have sent it.
func (n *Namespace) RemoteSocket(id SocketID) *RemoteSocket {
	return n.All().remote(socketInfo{ID: id})
}

// Rooms yields the rooms of this node with the number of sockets in each, as they
// were when the iteration began, except the rooms named by a socket's id.
func (n *Namespace) Rooms() iter.Seq2[Room, int] {
	return func(yield func(Room, int) bool) {
		h := n.server.hub
		h.mu.Lock()
		sizes := make(map[Room]int, len(n.members.rooms))
		for name, g := range n.members.rooms {
			sizes[name] = len(g.sockets)
		}
		h.mu.Unlock()
		for name, size := range sizes {
			if !yield(name, size) {
				return
			}
		}
	}
}
