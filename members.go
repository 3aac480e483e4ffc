package socketio

import "github.com/pgsocket/socketio/adapter"

// members are the sockets of a namespace and its rooms, on this node. The hub's lock
// guards them.
type members struct {
	all     roomMembers
	byID    map[SocketID]*member
	rooms   map[Room]*roomMembers
	changed func(RoomEvent) // called for every change of a room
}

func newMembers(changed func(RoomEvent)) *members {
	return &members{byID: make(map[SocketID]*member), rooms: make(map[Room]*roomMembers), changed: changed}
}

// add makes s a member of the namespace, in place of a former socket with its id.
func (m *members) add(s *member) {
	m.byID[s.socket.id] = s
	m.all.add(s)
}

// remove takes s out of all rooms and of the namespace.
func (m *members) remove(s *member) {
	s.memberships.rooms = nil // not needed any more
	for n := len(s.memberships.list); n > 0; n-- {
		m.removeMember(s, n-1)
	}
	if m.byID[s.socket.id] == s {
		delete(m.byID, s.socket.id)
	}
}

// in reports whether s is in the room.
func (m *members) in(s *member, room Room) bool {
	return room == Room(s.socket.id) || s.memberships.in(room) >= 0
}

// each yields the members that the audience includes, each once. The pass is a
// number that was not used before. The members of Rooms are found by room, and
// Except is checked for each of them.
func (m *members) each(a adapter.Audience, pass uint64, yield func(*member)) {
	visit := func(s *member) {
		if s.pass == pass {
			return
		}
		s.pass = pass
		if len(a.Except) > 0 && a.ExcludesFunc(func(room string) bool { return m.in(s, Room(room)) }) {
			return
		}
		yield(s)
	}
	if len(a.Rooms) == 0 {
		for _, s := range m.all.sockets {
			visit(s)
		}
		return
	}
	for _, room := range a.Rooms {
		if g, ok := m.rooms[Room(room)]; ok {
			for _, s := range g.sockets {
				visit(s)
			}
		}
		if s, ok := m.byID[SocketID(room)]; ok {
			visit(s)
		}
	}
}
