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

// A roomMembers contains the sockets of one room, in no order.
type roomMembers struct {
	name    Room // "" for all members of a namespace
	sockets []*member
	places  []int // for each socket, the index of this room in its membershipList
}

func (m *members) join(s *member, room Room) {
	g, ok := m.rooms[room]
	if !ok {
		g = &roomMembers{name: room}
		m.rooms[room] = g
		m.changed(RoomEvent{Change: RoomCreated, Room: room})
	}
	g.add(s)
	m.changed(RoomEvent{Change: RoomJoined, Room: room, Socket: s.socket.id})
}

func (m *members) leave(s *member, room Room) {
	if i := s.memberships.in(room); i >= 0 {
		m.removeMember(s, i)
	}
}

func (g *roomMembers) add(s *member) {
	i := s.memberships.add(membership{g, len(g.sockets)})
	g.sockets, g.places = append(g.sockets, s), append(g.places, i)
}

// removeMember takes s out of the room of its membership i. The room's last socket moves
// into the gap.
func (m *members) removeMember(s *member, i int) {
	at := s.memberships.list[i]
	g := at.room
	end := len(g.sockets) - 1
	moved, place := g.sockets[end], g.places[end]
	g.sockets[at.index], g.places[at.index] = moved, place
	moved.memberships.list[place].index = at.index
	g.sockets[end] = nil
	g.sockets, g.places = g.sockets[:end], g.places[:end]
	s.memberships.remove(i)
	if g == &m.all {
		return
	}
	m.changed(RoomEvent{Change: RoomLeft, Room: g.name, Socket: s.socket.id})
	if end == 0 {
		delete(m.rooms, g.name)
		m.changed(RoomEvent{Change: RoomDeleted, Room: g.name})
	}
}
