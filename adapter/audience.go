package adapter

import "slices"

// An Audience selects sockets of a namespace by the rooms they are in. The zero
// Audience includes every socket; [Nobody] includes none. It is immutable once
// published.
//
// No socket is in a room whose name is empty.
type Audience struct {
	Rooms  []string // sockets in any of these rooms; empty means every socket
	Except []string // except sockets in any of these rooms
}

// Nobody returns the audience that includes no socket. It represents an explicitly
// empty list of rooms, and has the same form in every log.
func Nobody() Audience { return Audience{Rooms: []string{""}} }

// IsNobody reports whether the audience is [Nobody], regardless of Except.
func (a Audience) IsNobody() bool { return len(a.Rooms) == 1 && a.Rooms[0] == "" }

// Includes reports whether the audience includes a socket that is in the given
// rooms. Live delivery and replay both follow this rule.
func (a Audience) Includes(rooms []string) bool {
	return a.IncludesFunc(func(room string) bool { return slices.Contains(rooms, room) })
}

// IncludesFunc is like Includes; in reports whether the socket is in a room.
func (a Audience) IncludesFunc(in func(room string) bool) bool {
	return (len(a.Rooms) == 0 || slices.ContainsFunc(a.Rooms, named(in))) && !a.ExcludesFunc(in)
}

// ExcludesFunc reports whether Except names a room of the socket; in reports whether
// the socket is in a room. It completes the rule of Includes for a socket that is
// already known to be in one of the audience's rooms.
func (a Audience) ExcludesFunc(in func(room string) bool) bool {
	return len(a.Except) > 0 && slices.ContainsFunc(a.Except, named(in))
}

// named returns in restricted to rooms whose names are not empty.
func named(in func(room string) bool) func(room string) bool {
	return func(room string) bool { return room != "" && in(room) }
}
