package socketio

import (
	"slices"
	"unicode/utf8"

	"github.com/pgsocket/socketio/adapter"
)

// A Room is a name under which sockets of one namespace are gathered. Every
// socket is in the room that has its own id as its name.
type Room string

// maxRoomName bounds a room's name, in bytes. Rooms are often named by clients.
const maxRoomName = 255

func (r Room) validate() error {
	if r == "" || len(r) > maxRoomName || !utf8.ValidString(string(r)) || slices.Contains([]byte(r), 0) {
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
	here      func() bool // see adapter.Envelope
	local     bool
	volatile  bool
}

// An Audience selects sockets of a namespace, on all nodes of the cluster. It is
// a value: every method returns a new one, so that an Audience may be kept,
// shared and used by many goroutines.
type Audience struct{ r route }

func (a Audience) route() route { return a.r }

// To widens the audience to the sockets in any of the rooms as well. A socket
// that is in several of them gets an event once.
func (a Audience) To(rooms ...Room) Audience {
	a.r.audience.Rooms = appendRooms(a.r.audience.Rooms, rooms)
	a.r.here = nil // of them nothing is known
	return a
}

// Except narrows the audience to the sockets in none of the rooms.
func (a Audience) Except(rooms ...Room) Audience {
	a.r.audience.Except = appendRooms(a.r.audience.Except, rooms)
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

func appendRooms(names []string, rooms []Room) []string {
	names = slices.Clip(names) // the receiver's array may be shared with other audiences
	for _, room := range rooms {
		if !slices.Contains(names, string(room)) {
			names = append(names, string(room))
		}
	}
	return names
}
