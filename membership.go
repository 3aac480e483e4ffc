package socketio

// A membership is a socket's place in a room.
type membership struct {
	room  *roomMembers
	index int // in the room's sockets
}

// A membershipList contains the rooms of an attached socket. Finding, adding and removing
// one take constant time. The hub's lock guards it.
type membershipList struct {
	list  []membership // the first one is in the namespace
	rooms map[Room]int // in list; nil while the rooms are few
	bytes int          // of the rooms' names
}

// len returns the number of rooms.
func (s *membershipList) len() int { return max(0, len(s.list)-1) }

// in returns the index of the room's membership in the list, or -1.
func (s *membershipList) in(room Room) int {
	if s.rooms != nil {
		if i, ok := s.rooms[room]; ok {
			return i
		}
		return -1
	}
	for i := 1; i < len(s.list); i++ {
		if s.list[i].room.name == room {
			return i
		}
	}
	return -1
}

// add adds a membership and returns its index in the list.
func (s *membershipList) add(at membership) int {
	i := len(s.list)
	s.list = append(s.list, at)
	s.bytes += len(at.room.name)
	switch {
	case s.rooms != nil:
		s.rooms[at.room.name] = i
	case i == fewRooms:
		s.rooms = make(map[Room]int, 2*fewRooms)
		for k := 1; k <= i; k++ {
			s.rooms[s.list[k].room.name] = k
		}
	}
	return i
}

// remove removes the membership at index i. The last one moves there.
func (s *membershipList) remove(i int) {
	last := len(s.list) - 1
	s.bytes -= len(s.list[i].room.name)
	delete(s.rooms, s.list[i].room.name)
	if i != last {
		moved := s.list[last]
		s.list[i] = moved
		moved.room.places[moved.index] = i
		if s.rooms != nil {
			s.rooms[moved.room.name] = i
		}
	}
	s.list[last] = membership{}
	s.list = s.list[:last]
	if last <= fewRooms/2 {
		s.rooms = nil
	}
}
