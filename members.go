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
	name    Room // "" of all members of a namespace
	sockets []*Socket
	places  []int // of the group's seat among those of each socket
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
	s.member.seats.rooms = nil // nobody asks for one of them any more
	for n := len(s.member.seats.list); n > 0; n-- {
		m.unseat(s, n-1)
	}
	if m.byID[s.id] == s {
		delete(m.byID, s.id)
	}
}

// in reports whether s is in the room.
func (m *members) in(s *Socket, room Room) bool {
	return room == Room(s.id) || s.member.seats.in(room) >= 0
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
	if i := s.member.seats.in(room); i >= 0 {
		m.unseat(s, i)
	}
}

// each yields the members that the audience includes, each once. The pass is a
// number that was not used before.
//
// The rule is the audience's. The groups find those that are in one of its rooms,
// which leaves the rule's other half to ask for each of them.
func (m *members) each(a adapter.Audience, pass uint64, yield func(*Socket)) {
	visit := func(s *Socket) {
		if s.member.pass == pass {
			return
		}
		s.member.pass = pass
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

func (g *group) seat(s *Socket) {
	i := s.member.seats.add(seat{g, len(g.sockets)})
	g.sockets, g.places = append(g.sockets, s), append(g.places, i)
}

// unseat takes s out of the group of its seat i. The group's last socket moves
// into the gap.
func (m *members) unseat(s *Socket, i int) {
	at := s.member.seats.list[i]
	g := at.group
	end := len(g.sockets) - 1
	moved, place := g.sockets[end], g.places[end]
	g.sockets[at.index], g.places[at.index] = moved, place
	moved.member.seats.list[place].index = at.index
	g.sockets[end] = nil
	g.sockets, g.places = g.sockets[:end], g.places[:end]
	s.member.seats.remove(i)
	if g == &m.all {
		return
	}
	m.changed(RoomEvent{Change: RoomLeft, Room: g.name, Socket: s.id})
	if end == 0 {
		delete(m.rooms, g.name)
		m.changed(RoomEvent{Change: RoomDeleted, Room: g.name})
	}
}
