package socketio

import (
	"fmt"
	"log/slog"

	"github.com/pgsocket/socketio/internal/boundary"
)

// A RoomChange is the kind of a change of a room.
type RoomChange string

// The changes of a room, with the official names. The first socket that joins
// creates the room, and the last that leaves deletes it.
const (
	RoomCreated RoomChange = "create-room"
	RoomJoined  RoomChange = "join-room"
	RoomLeft    RoomChange = "leave-room"
	RoomDeleted RoomChange = "delete-room"
)

// A RoomEvent is a change of a room on this node. Changes on other nodes are not
// included.
type RoomEvent struct {
	Change RoomChange
	Room   Room
	Socket SocketID // that joined or left; "" if the room was created or deleted
}

// roomChanged queues a change for OnRoom, if there are functions. It is called under
// the hub's lock, where no user code may run.
func (n *Namespace) roomChanged(e RoomEvent) {
	if len(n.table.Load().onRoom) > 0 && !isWatchersRoom(e.Room) {
		n.rooms.push(e)
	}
}

func (n *Namespace) callOnRoom(e RoomEvent) {
	boundary.All(n.table.Load().onRoom, func(onRoom func(RoomEvent)) { onRoom(e) }, func(_ func(RoomEvent), err error) {
		n.server.opts.Logger.Error("room handler failed", slog.String("namespace", n.name), slog.Any("error", err))
	})
}

func (n *Namespace) logMissedRooms(missed int) {
	n.server.opts.Logger.Error("room handler too slow: calls skipped",
		slog.String("namespace", n.name), slog.Int("missed", missed))
}

// inLocked reports whether the socket is in the room.
func (m *member) inLocked(room string) bool {
	if m.record != nil {
		return room == string(m.socket.id) || m.record.In(room)
	}
	return m.socket.namespace.members.in(m, Room(room))
}

// countLocked returns the number of rooms that the socket is in, except its own, and
// the bytes of their names.
func (m *member) countLocked() (rooms, bytes int) {
	if m.record != nil {
		return m.record.Count()
	}
	return m.memberships.len(), m.memberships.bytes
}

// admitLocked returns an error if the socket would be in too many rooms with these.
func (m *member) admitLocked(join []string) error {
	rooms, bytes := m.countLocked()
	named := make(map[string]bool, len(join))
	for _, room := range join {
		if !named[room] && !m.inLocked(room) {
			named[room] = true
			rooms++
			bytes += len(room)
		}
	}
	o := &m.socket.namespace.server.opts
	switch {
	case len(named) == 0: // operations of the application may have exceeded the limits
	case rooms > o.MaxRooms:
		return fmt.Errorf("%w: %d, at most %d (Options.MaxRooms)", ErrTooManyRooms, rooms, o.MaxRooms)
	case bytes > o.MaxRoomBytes:
		return fmt.Errorf("%w: names of %d bytes, at most %d (Options.MaxRoomBytes)", ErrTooManyRooms, bytes, o.MaxRoomBytes)
	}
	return nil
}
