package recovery

import (
	"iter"
	"maps"
	"slices"
	"sort"

	"github.com/pgsocket/socketio/adapter"
)

// indexThreshold is up to how many stays Rooms is looked through. With more there is an
// index, so that what concerns one room costs the same in many rooms as in few.
const indexThreshold = 32

// A intervalIndex finds the stays of a room among Session.Rooms.
type intervalIndex struct {
	places   map[string][]int // in Rooms, of each room
	indexed  int              // how many of Rooms are in it
	unsorted bool             // the stays of some room are not in the order in which they began
	rooms    int              // that the session is in
	bytes    int              // of their names
	reach    adapter.Position
}

// add takes in stays that were appended to Rooms.
func (x *intervalIndex) add(stays []RoomInterval) {
	if x.indexed == len(stays) {
		return // a snapshot is read by others, too
	}
	if x.places == nil {
		x.places = make(map[string][]int, len(stays))
	}
	for i := x.indexed; i < len(stays); i++ {
		stay := &stays[i]
		places := x.places[stay.Room]
		if n := len(places); n > 0 && stays[places[n-1]].Joined > stay.Joined {
			x.unsorted = true
		}
		x.places[stay.Room] = append(places, i)
		x.reach = max(x.reach, stay.Joined, stay.Left)
		if !stay.Ended {
			x.rooms++
			x.bytes += len(stay.Room)
		}
	}
	x.indexed = len(stays)
}

// indexed returns the index, or nil while the stays are few.
func (s *Session) indexed() *intervalIndex {
	switch {
	case len(s.Rooms) <= indexThreshold && s.index == nil:
		return nil
	case s.index == nil || s.index.indexed > len(s.Rooms):
		s.index = &intervalIndex{}
	}
	s.index.add(s.Rooms)
	return s.index
}

// intervals yields the room's stays, the latest first.
func (s *Session) intervals(room string) iter.Seq[*RoomInterval] {
	return func(yield func(*RoomInterval) bool) {
		if x := s.indexed(); x != nil {
			for _, i := range slices.Backward(x.places[room]) {
				if !yield(&s.Rooms[i]) {
					return
				}
			}
			return
		}
		for i := len(s.Rooms) - 1; i >= 0; i-- {
			if s.Rooms[i].Room == room && !yield(&s.Rooms[i]) {
				return
			}
		}
	}
}

// latest returns the latest of the room's stays, or nil. If the session is in the
// room, that is the one.
func (s *Session) latest(room string) *RoomInterval {
	for stay := range s.intervals(room) {
		return stay
	}
	return nil
}

// In reports whether the session is in the room, which is not its own.
func (s *Session) In(room string) bool {
	stay := s.latest(room)
	return stay != nil && !stay.Ended
}

// heldAt reports whether the session was in the room at p.
func (s *Session) heldAt(room string, p adapter.Position) bool {
	if x := s.indexed(); x != nil && !x.unsorted {
		places := x.places[room]
		after := sort.Search(len(places), func(k int) bool { return s.Rooms[places[k]].Joined >= p })
		return after > 0 && s.Rooms[places[after-1]].covers(p)
	}
	for stay := range s.intervals(room) {
		if stay.covers(p) {
			return true
		}
	}
	return false
}

// joinedAt reports whether a stay in the room began at p.
func (s *Session) joinedAt(room string, p adapter.Position) bool {
	if x := s.indexed(); x != nil && !x.unsorted {
		places := x.places[room]
		at := sort.Search(len(places), func(k int) bool { return s.Rooms[places[k]].Joined >= p })
		return at < len(places) && s.Rooms[places[at]].Joined == p
	}
	for stay := range s.intervals(room) {
		if stay.Joined == p {
			return true
		}
	}
	return false
}

// Count returns the number of rooms that the session is in, and the bytes of their
// names.
func (s *Session) Count() (rooms, bytes int) {
	if x := s.indexed(); x != nil {
		return x.rooms, x.bytes
	}
	for _, stay := range s.Rooms {
		if !stay.Ended {
			rooms++
			bytes += len(stay.Room)
		}
	}
	return rooms, bytes
}

// roomsMaxPosition returns the newest position at which a room was joined or left.
func (s *Session) roomsMaxPosition() adapter.Position {
	if x := s.indexed(); x != nil {
		return x.reach
	}
	var p adapter.Position
	for _, stay := range s.Rooms {
		p = max(p, stay.Joined, stay.Left)
	}
	return p
}

// join begins a stay, or goes on with one that began at the same position, which
// nothing can have missed since: a client that joins and leaves again and again adds
// to the record only as the log grows.
func (s *Session) join(room string, at adapter.Position) {
	stay := s.latest(room)
	if stay == nil || stay.Joined != at {
		s.Rooms = append(s.Rooms, RoomInterval{Room: room, Joined: at})
		return
	}
	if x := s.index; x != nil && stay.Ended {
		x.rooms++
		x.bytes += len(room)
	}
	stay.Ended, stay.Left = false, 0
}

// leave ends the stays in the room that last.
func (s *Session) leave(room string, at adapter.Position) {
	for stay := range s.intervals(room) {
		if stay.Ended {
			return
		}
		stay.Ended, stay.Left = true, at
		if x := s.index; x != nil {
			x.rooms--
			x.bytes -= len(room)
			x.reach = max(x.reach, at)
		}
	}
}

// StartRooms has a session that is new be in its rooms from p on. It was never in those
// that it has left again.
func (s *Session) StartRooms(p adapter.Position) {
	s.own()
	s.Rooms, s.index = slices.DeleteFunc(s.Rooms, func(stay RoomInterval) bool { return stay.Ended }), nil
	for i := range s.Rooms {
		s.Rooms[i].Joined = p
	}
}

// Trim forgets the stays that ended at low or before: nothing that is still kept
// was addressed to them.
func (s *Session) Trim(low adapter.Position) {
	over := func(stay RoomInterval) bool { return stay.Ended && stay.Left <= low }
	if !slices.ContainsFunc(s.Rooms, over) {
		return
	}
	s.own()
	s.Rooms, s.index = slices.DeleteFunc(s.Rooms, over), nil
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
