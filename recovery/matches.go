package recovery

import (
	"slices"

	"github.com/pgsocket/socketio/adapter"
)

// Matches reports whether a replay contains d: an event of the session's namespace
// whose audience includes the rooms that the session was in at d's position, or a History
// or Watch with which the session joined a room.
func (s *Session) Matches(d *adapter.Delivery) bool {
	switch d.Kind {
	case adapter.Event:
		return s.audienceMatches(d)
	case adapter.History, adapter.Watch:
		return s.audienceMatches(d) && s.joinedWith(d)
	default:
		return false
	}
}

// joinedWith reports whether the session joined a room with d, and was not in it already.
func (s *Session) joinedWith(d *adapter.Delivery) bool {
	rooms, err := d.RoomList()
	return err == nil && slices.ContainsFunc(rooms, func(room string) bool {
		return room != s.ID && s.joinedAt(room, d.Offset.Position) && !s.heldAt(room, d.Offset.Position)
	})
}

// WasIn reports whether the session was in the room at p, just before the record there.
// Every session is in the room of its ID.
func (s *Session) WasIn(room string, p adapter.Position) bool {
	return room == s.ID || s.heldAt(room, p)
}

// audienceMatches reports whether d's audience includes the session at d's position.
func (s *Session) audienceMatches(d *adapter.Delivery) bool {
	if d.Namespace != s.Namespace || d.Offset.Position <= s.Opened {
		return false
	}
	if slices.ContainsFunc(s.Skip, func(in adapter.Range) bool { return in.First <= d.Offset.Position && d.Offset.Position <= in.Last }) {
		return false
	}
	return d.Audience.IncludesFunc(func(room string) bool {
		return room == s.ID || s.heldAt(room, d.Offset.Position)
	})
}
