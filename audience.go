package socketio

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/pgsocket/socketio/adapter"
)

// A Room is a name under which sockets of one namespace are gathered. Every
// socket is in the room that has its own id as its name.
type Room string

// maxRoomName bounds a room's name, in bytes. Rooms are often named by clients.
const maxRoomName = 255

func (r Room) validate() error {
	if r == "" || len(r) > maxRoomName || !utf8.ValidString(string(r)) || strings.IndexByte(string(r), 0) >= 0 {
		return ErrRoomName
	}
	return nil
}

func validateRooms(rooms []Room) error {
	for _, room := range rooms {
		if err := room.validate(); err != nil {
			return err
		}
	}
	return nil
}

func roomNames(rooms []Room) []string {
	names := make([]string, len(rooms))
	for i, room := range rooms {
		names[i] = string(room)
	}
	return names
}

// A Target is what an event can be emitted to: a *[Server] (everybody in the
// namespace "/"), a *[Namespace] (everybody in it), a *[Socket], a
// *[RemoteSocket], an [Audience], or an *[Emitter] (as a Server).
type Target interface{ route() route }

// A route is a Target made plain.
type route struct {
	*sender

	namespace string
	audience  adapter.Audience
	err       error       // why nothing can be emitted to it
	localOnly func() bool // see adapter.Envelope
	socket    *Socket     // of this node, that is meant; may be nil
	local     bool
	volatile  bool
}

// nobody reports whether the route leads to no socket at all.
func (r route) nobody() bool { return r.audience.IsNobody() }

// connected reports whether the socket that is meant, if it is one of this node, has
// been connected: it gets nothing before.
func (r route) connected() bool { return r.socket == nil || r.socket.connected.Load() }

// An Audience selects sockets of a namespace, on all nodes of the cluster. It is
// a value: every method returns a new one, so that an Audience may be kept,
// shared and used by many goroutines.
//
// A room that cannot be joined makes an Audience with which everything fails, with
// ErrRoomName; so does a list of more than 65,535 rooms, with ErrTooManyRooms.
type Audience struct{ r route }

func (a Audience) route() route { return a.r }

// To narrows an audience of everybody to the sockets in any of the rooms, and
// widens one that has rooms already. A socket that is in several of them gets an
// event once. An empty list of rooms is nobody: what is emitted to it reaches no
// socket, and everybody is meant only where To is not called.
func (a Audience) To(rooms ...Room) Audience {
	names := a.r.audience.Rooms
	if a.r.nobody() {
		names = nil
	}
	a.r.audience.Rooms = a.r.appendRooms(names, rooms)
	if len(a.r.audience.Rooms) == 0 {
		a.r.audience.Rooms = adapter.Nobody().Rooms
	}
	a.r.localOnly = nil // of them nothing is known
	return a
}

// Except narrows the audience to the sockets in none of the rooms.
func (a Audience) Except(rooms ...Room) Audience {
	a.r.audience.Except = a.r.appendRooms(a.r.audience.Except, rooms)
	return a
}

// Local narrows the audience to the sockets of this node. What is emitted to it
// does not go through the log: it is not recovered, and it has no place in the
// common order.
func (a Audience) Local() Audience {
	a.r.local = true
	return a
}

// Volatile makes events that are dropped for a socket whose connection cannot
// take them at once, and that are not recovered.
func (a Audience) Volatile() Audience {
	a.r.volatile = true
	return a
}

// maxAudienceRooms bounds the rooms of an audience: so many fit into a record of
// the log.
const maxAudienceRooms = 1<<16 - 1

// fewRooms is up to how many rooms a list is looked through.
const fewRooms = 32

// appendRooms returns names with the rooms that it lacks. Those that cannot be
// joined are left out, and the route has an error.
func (r *route) appendRooms(names []string, rooms []Room) []string {
	names = slices.Clip(names) // the receiver's array may be shared with other audiences
	var known map[string]bool
	if len(names)+len(rooms) > fewRooms {
		known = make(map[string]bool, len(names)+len(rooms))
		for _, name := range names {
			known[name] = true
		}
	}
	for _, room := range rooms {
		name := string(room)
		if err := room.validate(); err != nil {
			r.fail(err)
			continue
		}
		if known[name] || known == nil && slices.Contains(names, name) {
			continue
		}
		if len(names) == maxAudienceRooms {
			r.fail(ErrTooManyRooms)
			break
		}
		names = append(names, name)
		if known != nil {
			known[name] = true
		}
	}
	return names
}

func (r *route) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}
