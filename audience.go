package socketio

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/pgsocket/socketio/adapter"
)

// A Room names a group of sockets of one namespace. Every socket is in the room
// named by its own id.
type Room string

// maxRoomName bounds a room's name, in bytes: clients often choose the names.
const maxRoomName = 255

func (r Room) validate() error {
	if r == "" || len(r) > maxRoomName || !utf8.ValidString(string(r)) || strings.IndexByte(string(r), 0) >= 0 {
		return fmt.Errorf("%w %.300q: it is UTF-8 of 1 to %d bytes without NUL", ErrRoomName, string(r), maxRoomName)
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

// A Target is what an event can be emitted to: a *[Server] (all sockets of
// the namespace "/"), a *[Namespace] (all its sockets), a *[Socket], a
// *[RemoteSocket], an [Audience], or an *[Emitter] (as a Server).
type Target interface{ route() route }

// A route is a Target in internal form.
type route struct {
	*sender

	namespace string
	audience  adapter.Audience
	err       error       // why nothing can be emitted to it
	localOnly func() bool // see adapter.Envelope
	socket    *Socket     // of this node, if the target is one; may be nil
	local     bool
	volatile  bool
}

// nobody reports whether the route selects no socket at all.
func (r route) nobody() bool { return r.audience.IsNobody() }

// connected reports whether the target, if it is one socket of this node, has been
// connected: it receives nothing before that.
func (r route) connected() bool { return r.socket == nil || r.socket.connected.Load() }

// An Audience selects sockets of a namespace, on all nodes of the cluster. It is
// a value: every method returns a new one, so that an Audience may be kept,
// shared and used by many goroutines.
//
// An Audience with an invalid room name makes every operation on it fail with
// ErrRoomName; one with more than 65,535 rooms, with ErrTooManyRooms.
type Audience struct{ r route }

func (a Audience) route() route { return a.r }

// To narrows an audience of all sockets to those in any of the rooms, and widens
// an audience that has rooms already. A socket in several of them gets an event
// once. An empty list of rooms selects no socket: only an audience without a call
// of To selects all.
func (a Audience) To(rooms ...Room) Audience {
	names := a.r.audience.Rooms
	if a.r.nobody() {
		names = nil
	}
	a.r.audience.Rooms = a.r.appendRooms(names, rooms)
	if len(a.r.audience.Rooms) == 0 {
		a.r.audience.Rooms = adapter.Nobody().Rooms
	}
	a.r.localOnly = nil // the rooms may have members on other nodes
	return a
}

// Except narrows the audience to the sockets in none of the rooms.
func (a Audience) Except(rooms ...Room) Audience {
	a.r.audience.Except = a.r.appendRooms(a.r.audience.Except, rooms)
	return a
}

// Local narrows the audience to the sockets of this node. What is emitted to it
// does not go through the log: it is not recovered, and it has no position in the
// order of the log.
func (a Audience) Local() Audience {
	a.r.local = true
	return a
}

// Volatile makes events volatile: they are dropped for a socket whose connection
// cannot take them at once, and they are not recovered.
func (a Audience) Volatile() Audience {
	a.r.volatile = true
	return a
}

// maxAudienceRooms bounds the rooms of an audience to what fits into a record of
// the log.
const maxAudienceRooms = 1<<16 - 1

// fewRooms is the length up to which a list is searched linearly.
const fewRooms = 32

// appendRooms returns names with the rooms that it lacks. It leaves out rooms with
// invalid names, and records an error in the route.
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
