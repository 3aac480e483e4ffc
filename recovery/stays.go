package recovery

import (
	"maps"
	"slices"

	"github.com/pgsocket/socketio/adapter"
)

// fewStays is up to how many stays Rooms is looked through. With more there is an
// index, so that what concerns one room costs the same in many rooms as in few.
const fewStays = 32

// A stayIndex finds the stays of a room among Session.Rooms.
type stayIndex struct {
	latest map[string]int // of each room, the last of its stays
	before []int          // of each stay, the one of the same room before it; -1 for none
	rooms  int            // that the session is in
	bytes  int            // of their names
	reach  adapter.Position
}

// add takes in stays that were appended to Rooms.
func (x *stayIndex) add(stays []Stay) {
	if x.latest == nil {
		x.latest = make(map[string]int, len(stays))
	}
	for i := len(x.before); i < len(stays); i++ {
		stay := &stays[i]
		last, ok := x.latest[stay.Room]
		if !ok {
			last = -1
		}
		x.before = append(x.before, last)
		x.latest[stay.Room] = i
		x.reach = max(x.reach, stay.Joined, stay.Left)
		if stay.open() {
			x.rooms++
			x.bytes += len(stay.Room)
		}
	}
}

// open reports whether the session is still in the room.
func (s Stay) open() bool { return s.Left == 0 }

// indexed returns the index, or nil while the stays are few.
func (s *Session) indexed() *stayIndex {
	switch {
	case len(s.Rooms) <= fewStays && s.index == nil:
		return nil
	case s.index == nil || len(s.index.before) > len(s.Rooms):
		s.index = &stayIndex{}
	}
	s.index.add(s.Rooms)
	return s.index
}

// stays yields the places in Rooms of the room's stays, the latest first.
func (s *Session) stays(room string, yield func(i int) bool) {
	if x := s.indexed(); x != nil {
		i, ok := x.latest[room]
		for ; ok && i >= 0 && yield(i); i = x.before[i] {
		}
		return
	}
	for i := len(s.Rooms) - 1; i >= 0; i-- {
		if s.Rooms[i].Room == room && !yield(i) {
			return
		}
	}
}

// find reports whether a stay of the room is as the function says.
func (s *Session) find(room string, is func(*Stay) bool) bool {
	found := false
	s.stays(room, func(i int) bool {
		found = is(&s.Rooms[i])
		return !found
	})
	return found
}

// In reports whether the session is in the room, which is not its own.
func (s *Session) In(room string) bool {
	return s.find(room, func(stay *Stay) bool { return stay.open() })
}

// Count returns the number of rooms that the session is in, and the bytes of their
// names.
func (s *Session) Count() (rooms, bytes int) {
	if x := s.indexed(); x != nil {
		return x.rooms, x.bytes
	}
	for _, stay := range s.Rooms {
		if stay.open() {
			rooms++
			bytes += len(stay.Room)
		}
	}
	return rooms, bytes
}

// staysReach returns the newest position at which a room was joined or left.
func (s *Session) staysReach() adapter.Position {
	if x := s.indexed(); x != nil {
		return x.reach
	}
	var p adapter.Position
	for _, stay := range s.Rooms {
		p = max(p, stay.Joined, stay.Left)
	}
	return p
}

func (s *Session) join(room string, at adapter.Position) {
	s.Rooms = append(s.Rooms, Stay{Room: room, Joined: at})
}

func (s *Session) leave(room string, at adapter.Position) {
	s.stays(room, func(i int) bool {
		stay := &s.Rooms[i]
		if !stay.open() {
			return true
		}
		stay.Left = at
		if x := s.index; x != nil {
			x.rooms--
			x.bytes -= len(room)
			x.reach = max(x.reach, at)
		}
		return true
	})
}

// Trim forgets the stays that ended at low or before: nothing that is still kept
// was addressed to them.
func (s *Session) Trim(low adapter.Position) {
	s.own()
	s.Rooms = slices.DeleteFunc(s.Rooms, func(stay Stay) bool { return !stay.open() && stay.Left <= low })
	s.index = nil
}

// Snapshot returns a copy that does not change with s, and must not be changed
// itself. It costs nothing until s is changed.
func (s *Session) Snapshot() *Session {
	s.indexed() // complete, so that reading the copy changes nothing
	s.shared = true
	c := *s
	return &c
}

// own makes what a snapshot shares with s the session's own.
func (s *Session) own() {
	if !s.shared {
		return
	}
	s.shared, s.index = false, nil
	s.Rooms, s.Data = slices.Clone(s.Rooms), maps.Clone(s.Data)
}
