package recovery

import (
	"slices"

	"github.com/pgsocket/socketio/adapter"
)

// Matches reports whether a replay contains d: an event of the session's namespace
// whose audience includes the rooms that the session was in at d's position.
func (s *Session) Matches(d *adapter.Delivery) bool {
	return d.Kind == adapter.Event && s.audienceMatches(d)
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
