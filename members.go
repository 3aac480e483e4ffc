package socketio

import "github.com/pgsocket/socketio/adapter"

// members is who is in a namespace and its rooms, on this node. The hub's lock
// guards it.
type members struct {
	all     group
	byID    map[SocketID]*Socket
	rooms   map[Room]*group
	changed func(RoomEvent) // told of every change of a room
}

// A group is the sockets in one room, in no order.
type group struct {
	name    Room
	sockets []*Socket
}

// A seat is a socket's place in a group.
type seat struct {
	group *group
	index int
}

func newMembers(changed func(RoomEvent)) *members {
	return &members{byID: make(map[SocketID]*Socket), rooms: make(map[Room]*group), changed: changed}
}

// add makes s a member of the namespace, in place of a former socket with its id.
func (m *members) add(s *Socket) {
	m.byID[s.id] = s
	m.all.seat(s)
}

// remove takes s out of all rooms and of the namespace.
func (m *members) remove(s *Socket) {
	for len(s.seats) > 0 {
		m.unseat(s, len(s.seats)-1)
	}
	if m.byID[s.id] == s {
		delete(m.byID, s.id)
	}
}

// in reports whether s is in the room.
func (m *members) in(s *Socket, room Room) bool {
	return room == Room(s.id) || s.seatIn(room) >= 0
}

func (m *members) join(s *Socket, room Room) {
	g, ok := m.rooms[room]
	if !ok {
		g = &group{name: room}
		m.rooms[room] = g
		m.changed(RoomEvent{Change: RoomCreated, Room: room})
	}
	g.seat(s)
	m.changed(RoomEvent{Change: RoomJoined, Room: room, Socket: s.id})
}

func (m *members) leave(s *Socket, room Room) {
	if i := s.seatIn(room); i >= 0 {
		m.unseat(s, i)
	}
}

// each yields the members that the audience includes, each once. The pass is a
// number that was not used before.
func (m *members) each(a adapter.Audience, pass uint64, yield func(*Socket)) {
	visit := func(s *Socket) {
		if s.pass == pass {
			return
		}
		s.pass = pass
		for _, room := range a.Except {
			if m.in(s, Room(room)) {
				return
			}
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

func (g *group) seat(s *Socket) {
	s.seats = append(s.seats, seat{g, len(g.sockets)})
	g.sockets = append(g.sockets, s)
}

// unseat takes s out of the group of its seat i. The group's last socket moves
// into the gap.
func (m *members) unseat(s *Socket, i int) {
	at := s.seats[i]
	g := at.group
	end := len(g.sockets) - 1
	if moved := g.sockets[end]; moved != s {
		g.sockets[at.index] = moved
		for k := range moved.seats {
			if moved.seats[k].group == g {
				moved.seats[k].index = at.index
				break
			}
		}
	}
	g.sockets[end] = nil
	g.sockets = g.sockets[:end]
	if g != &m.all {
		m.changed(RoomEvent{Change: RoomLeft, Room: g.name, Socket: s.id})
		if end == 0 {
			delete(m.rooms, g.name)
			m.changed(RoomEvent{Change: RoomDeleted, Room: g.name})
		}
	}
	last := len(s.seats) - 1
	s.seats[i] = s.seats[last]
	s.seats[last] = seat{}
	s.seats = s.seats[:last]
}

// seatIn returns the index of the socket's seat in the room, or -1. The first
// seat is the one in the namespace.
func (s *Socket) seatIn(room Room) int {
	for i, at := range s.seats {
		if at.group.name == room {
			return i
		}
	}
	return -1
}
