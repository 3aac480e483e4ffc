package recovery

import (
	"iter"
	"maps"
	"slices"
	"sort"

	"github.com/pgsocket/socketio/adapter"
)

// indexThreshold is the number of intervals up to which Rooms is searched linearly. Beyond
// it there is an index, so that the cost for one room does not depend on the number of rooms.
const indexThreshold = 32

// An intervalIndex finds the intervals of a room in Session.Rooms.
type intervalIndex struct {
	places   map[string][]int // the indexes in Rooms, by room
	indexed  int              // the number of intervals of Rooms that are in the index
	unsorted bool             // the intervals of some room are not ordered by Joined
	rooms    int              // the number of rooms that the session is in
	bytes    int              // the bytes of their names
	newest   adapter.Position // the newest position in Rooms
}

// add adds the intervals that were appended to Rooms.
func (x *intervalIndex) add(all []RoomInterval) {
	if x.indexed == len(all) {
		return // no write: other goroutines may read a snapshot that shares the index
	}
	if x.places == nil {
		x.places = make(map[string][]int, len(all))
	}
	for i := x.indexed; i < len(all); i++ {
		interval := &all[i]
		places := x.places[interval.Room]
		if n := len(places); n > 0 && all[places[n-1]].Joined > interval.Joined {
			x.unsorted = true
		}
		x.places[interval.Room] = append(places, i)
		x.newest = max(x.newest, interval.Joined, interval.Left)
		if !interval.Ended {
			x.rooms++
			x.bytes += len(interval.Room)
		}
	}
	x.indexed = len(all)
}

// indexed returns the index, or nil while Rooms is short.
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

// intervals yields the room's intervals, the latest first.
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

// latest returns the latest of the room's intervals, or nil. If the session is in the
// room, that interval is not Ended.
func (s *Session) latest(room string) *RoomInterval {
	for interval := range s.intervals(room) {
		return interval
	}
	return nil
}

// In reports whether the session is in the room. The room is not the session's own.
func (s *Session) In(room string) bool {
	interval := s.latest(room)
	return interval != nil && !interval.Ended
}

// heldAt reports whether the session was in the room at p.
func (s *Session) heldAt(room string, p adapter.Position) bool {
	if x := s.indexed(); x != nil && !x.unsorted {
		places := x.places[room]
		after := sort.Search(len(places), func(k int) bool { return s.Rooms[places[k]].Joined >= p })
		return after > 0 && s.Rooms[places[after-1]].covers(p)
	}
	for interval := range s.intervals(room) {
		if interval.covers(p) {
			return true
		}
	}
	return false
}

// joinedAt reports whether an interval of the room begins at p.
func (s *Session) joinedAt(room string, p adapter.Position) bool {
	if x := s.indexed(); x != nil && !x.unsorted {
		places := x.places[room]
		at := sort.Search(len(places), func(k int) bool { return s.Rooms[places[k]].Joined >= p })
		return at < len(places) && s.Rooms[places[at]].Joined == p
	}
	for interval := range s.intervals(room) {
		if interval.Joined == p {
			return true
		}
	}
	return false
}

// Count returns the number of rooms that the session is in, and the total length of
// their names in bytes.
func (s *Session) Count() (rooms, bytes int) {
	if x := s.indexed(); x != nil {
		return x.rooms, x.bytes
	}
	for _, interval := range s.Rooms {
		if !interval.Ended {
			rooms++
			bytes += len(interval.Room)
		}
	}
	return rooms, bytes
}

// roomsMaxPosition returns the newest position at which a room was joined or left.
func (s *Session) roomsMaxPosition() adapter.Position {
	if x := s.indexed(); x != nil {
		return x.newest
	}
	var p adapter.Position
	for _, interval := range s.Rooms {
		p = max(p, interval.Joined, interval.Left)
	}
	return p
}

// join begins an interval, or continues one that began at the same position, as no record
// can lie between: a client that repeatedly joins and leaves a room adds intervals only
// as the log grows.
func (s *Session) join(room string, at adapter.Position) {
	interval := s.latest(room)
	if interval == nil || interval.Joined != at {
		s.Rooms = append(s.Rooms, RoomInterval{Room: room, Joined: at})
		return
	}
	if x := s.index; x != nil && interval.Ended {
		x.rooms++
		x.bytes += len(room)
	}
	interval.Ended, interval.Left = false, 0
}

// leave ends the room's intervals that have not ended.
func (s *Session) leave(room string, at adapter.Position) {
	for interval := range s.intervals(room) {
		if interval.Ended {
			return
		}
		interval.Ended, interval.Left = true, at
		if x := s.index; x != nil {
			x.rooms--
			x.bytes -= len(room)
			x.newest = max(x.newest, at)
		}
	}
}

// StartRooms makes the rooms of a new session begin at p. It removes the intervals that
// have ended.
func (s *Session) StartRooms(p adapter.Position) {
	s.own()
	s.Rooms, s.index = slices.DeleteFunc(s.Rooms, func(i RoomInterval) bool { return i.Ended }), nil
	for i := range s.Rooms {
		s.Rooms[i].Joined = p
	}
}

// Trim removes the intervals that ended at low or before: no record that is still kept
// lies in them.
func (s *Session) Trim(low adapter.Position) {
	over := func(i RoomInterval) bool { return i.Ended && i.Left <= low }
	if !slices.ContainsFunc(s.Rooms, over) {
		return
	}
	s.own()
	s.Rooms, s.index = slices.DeleteFunc(s.Rooms, over), nil
}

// Snapshot returns a copy that does not change with s, and must not be changed. Rooms and
// data are copied only when s is changed.
func (s *Session) Snapshot() *Session {
	s.indexed() // completes the index, so that reading the copy does not write to it
	s.shared = true
	c := *s
	return &c
}

// own copies the rooms and data that a snapshot shares with s.
func (s *Session) own() {
	if !s.shared {
		return
	}
	s.shared, s.index = false, nil
	s.Rooms, s.Data, s.Presence = slices.Clone(s.Rooms), maps.Clone(s.Data), maps.Clone(s.Presence)
}
