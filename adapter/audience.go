package adapter

import "slices"

// An Audience selects sockets of a namespace by the rooms they are in. The zero
// Audience is everyone; [Nobody] is no one. It is immutable once published.
//
// No socket is in a room whose name is empty.
type Audience struct {
	Rooms  []string // in any of these; none means everyone
	Except []string // and in none of these
}

// Nobody returns the audience of no socket. It is what becomes of an empty list
// of rooms that was meant as one, and has the same form in every log.
func Nobody() Audience { return Audience{Rooms: []string{""}} }

// IsNobody reports whether the audience is [Nobody], whatever it excepts.
func (a Audience) IsNobody() bool { return len(a.Rooms) == 1 && a.Rooms[0] == "" }

// Includes reports whether a socket that is in the given rooms belongs to the
// audience. It is the only statement of the rule: live delivery and replay are
// both held to it.
func (a Audience) Includes(rooms []string) bool {
	return a.IncludesFunc(func(room string) bool { return slices.Contains(rooms, room) })
}

// IncludesFunc is Includes for a socket whose rooms are known by a function.
func (a Audience) IncludesFunc(in func(room string) bool) bool {
	return (len(a.Rooms) == 0 || slices.ContainsFunc(a.Rooms, named(in))) && !a.ExcludesFunc(in)
}

// ExcludesFunc reports whether the audience excepts a socket whose rooms are known
// by a function. It is what is left of the rule for a socket that was found in one
// of the audience's rooms.
func (a Audience) ExcludesFunc(in func(room string) bool) bool {
	return len(a.Except) > 0 && slices.ContainsFunc(a.Except, named(in))
}

// named is in without the room that cannot be.
func named(in func(room string) bool) func(room string) bool {
	return func(room string) bool { return room != "" && in(room) }
}
