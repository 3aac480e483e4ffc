package adapter

import "slices"

// An Audience selects sockets of a namespace by the rooms they are in. The zero
// Audience is everyone. It is immutable once published.
type Audience struct {
	Rooms  []string // in any of these; none means everyone
	Except []string // and in none of these
}

// Includes reports whether a socket that is in the given rooms belongs to the
// audience. It is the only statement of the rule: live delivery and replay are
// both held to it.
func (a Audience) Includes(rooms []string) bool {
	return a.IncludesFunc(func(room string) bool { return slices.Contains(rooms, room) })
}

// IncludesFunc is Includes for a socket whose rooms are known by a function.
func (a Audience) IncludesFunc(in func(room string) bool) bool {
	return !slices.ContainsFunc(a.Except, in) && (len(a.Rooms) == 0 || slices.ContainsFunc(a.Rooms, in))
}
