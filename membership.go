package socketio

// A membership is a socket's place in a group.
type membership struct {
	group *roomMembers
	index int // in the group
}

// membershipList are the rooms that an attached socket is in: what finds, adds and removes
// one costs the same in many rooms as in few. The hub's lock guards them.
type membershipList struct {
	list  []membership // the first one is in the namespace
	rooms map[Room]int // in list; nil while the rooms are few
	bytes int          // of the rooms' names
}

// len returns the number of rooms.
func (s *membershipList) len() int { return max(0, len(s.list)-1) }

// in returns the place in the list of the room's seat, or -1.
func (s *membershipList) in(room Room) int {
	if s.rooms != nil {
		if i, ok := s.rooms[room]; ok {
			return i
		}
		return -1
	}
	for i := 1; i < len(s.list); i++ {
		if s.list[i].group.name == room {
			return i
		}
	}
	return -1
}

// add adds a seat and returns its place in the list.
func (s *membershipList) add(at membership) int {
	i := len(s.list)
	s.list = append(s.list, at)
	s.bytes += len(at.group.name)
	switch {
	case s.rooms != nil:
		s.rooms[at.group.name] = i
	case i == fewRooms:
		s.rooms = make(map[Room]int, 2*fewRooms)
		for k := 1; k <= i; k++ {
			s.rooms[s.list[k].group.name] = k
		}
	}
	return i
}

// remove removes the seat at place i, which the last one takes.
func (s *membershipList) remove(i int) {
	last := len(s.list) - 1
	s.bytes -= len(s.list[i].group.name)
	delete(s.rooms, s.list[i].group.name)
	if i != last {
		moved := s.list[last]
		s.list[i] = moved
		moved.group.places[moved.index] = i
		if s.rooms != nil {
			s.rooms[moved.group.name] = i
		}
	}
	s.list[last] = membership{}
	s.list = s.list[:last]
	if last <= fewRooms/2 {
		s.rooms = nil
	}
}
