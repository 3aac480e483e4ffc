package recovery

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/pgsocket/socketio/adapter"
)

// A Key names one tenure of a session: the session and the epoch in which a
// node holds it. A write with a stale epoch is refused with ErrLost. Epochs begin
// at 1: the zero Key names no tenure.
type Key struct {
	PIDHash string // see HashPID
	Epoch   int64
}

// A RoomInterval is the time that a session spent in a room, from just after Joined up
// to and including Left if it is Ended.
type RoomInterval struct {
	Room   string
	Joined adapter.Position
	Ended  bool             // the session is not in the room any more
	Left   adapter.Position // of an Ended stay
}

// covers reports whether the stay holds at p.
func (s RoomInterval) covers(p adapter.Position) bool {
	return s.Joined < p && (!s.Ended || p <= s.Left)
}

// A Session is what a client can come back to.
type Session struct {
	Key

	Identity      string // that it is bound to, see HashIdentity; "" for none
	ID            string // the socket's public id, also the name of its own room
	Namespace     string
	Window        time.Duration    // how long the client may be away
	Opened        adapter.Position // the session is addressed by what comes after
	InitialOffset string           // the offset that the client came with when the session was opened
	Skip          []adapter.Range  // what came after Opened, but the client had seen before
	Rooms         []RoomInterval   // without the room of its own
	Data          map[string]json.RawMessage

	// Applied says up to where Rooms is complete: Opened, for a new session.
	// Operations of the log after it may be in Rooms already; Perform is made
	// for that.
	Applied adapter.Position

	// From, of a resumed session: the replay starts after this position.
	From adapter.Position
	// Last, of a resumed session: the offset that the client holds; zero if it
	// processed nothing of this session yet.
	Last adapter.Offset
	// OwnedElsewhere, of a resumed session: another node may still hold a
	// connection of it, and has to be told through the log.
	OwnedElsewhere bool

	index  *intervalIndex // of Rooms; nil while they are few
	shared bool           // with a snapshot: what is to be changed is copied first
}

// Clone returns a copy whose rooms and data can be changed by themselves.
func (s *Session) Clone() *Session {
	c := *s
	c.index, c.shared = nil, false
	c.Rooms, c.Data = slices.Clone(s.Rooms), maps.Clone(s.Data)
	return &c
}

// Matches reports whether a returning client has to get d: an event of the
// session's namespace whose audience includes the rooms held at d's position.
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

// Apply carries the session on to d, the next operation of the log: it makes
// its change and returns it, to be stored, or says that d ends the session. What
// Rooms has of the operation already, and operations up to Applied, change
// nothing.
func (s *Session) Apply(d *adapter.Delivery) (c Change, over bool) {
	if d.Offset.Position <= s.Applied {
		return Change{}, false
	}
	s.Applied = d.Offset.Position
	if !d.Kind.Operation() || !s.audienceMatches(d) {
		return Change{}, false
	}
	if d.Kind == adapter.Disconnect {
		return Change{}, true
	}
	rooms, err := d.RoomList()
	if err != nil {
		return Change{}, false // not written by us: the nodes ignore it as well
	}
	c = s.operation(d.Kind, rooms, d.Offset.Position)
	s.ApplyChange(c)
	return c, false
}

// operation returns what a Join or Leave at p changes in the record.
func (s *Session) operation(k adapter.Kind, rooms []string, p adapter.Position) Change {
	c := Change{At: p}
	named := map[string]bool{s.ID: true} // its own is neither joined nor left
	for _, room := range rooms {
		if named[room] {
			continue
		}
		named[room] = true
		switch {
		case k == adapter.Join && !s.joinedAt(room, p) && !s.heldAt(room, p):
			c.Join = append(c.Join, room)
		case k == adapter.Leave && s.In(room) && s.latest(room).Joined < p:
			c.Leave = append(c.Leave, room)
		}
	}
	return c
}

// Empty reports whether the change changes nothing.
func (c *Change) Empty() bool { return len(c.Join) == 0 && len(c.Leave) == 0 && len(c.Data) == 0 }

// MaxPosition returns the newest position that the session's record speaks of. A node
// that has not read the log up to there cannot serve the session yet: it would
// deliver again what the record already counts, or to a room not yet joined.
func (s *Session) MaxPosition() adapter.Position {
	p := max(s.Opened, s.From, s.Applied, s.roomsMaxPosition())
	for _, in := range s.Skip {
		p = max(p, in.Last)
	}
	return p
}

// A Change is what happened to a session's rooms and data at a position.
type Change struct {
	At    adapter.Position
	Join  []string                   // rooms it is not in
	Leave []string                   // rooms it is in
	Data  map[string]json.RawMessage // keys to set; a nil value deletes
}

// ApplyChange makes the change in the session's record. What Clone and Snapshot have
// returned before does not change with it.
func (s *Session) ApplyChange(c Change) {
	s.own()
	for _, room := range c.Leave {
		s.leave(room, c.At)
	}
	for _, room := range c.Join {
		s.join(room, c.At)
	}
	for key, value := range c.Data {
		if value == nil {
			delete(s.Data, key)
			continue
		}
		if s.Data == nil {
			s.Data = make(map[string]json.RawMessage)
		}
		s.Data[key] = value
	}
}

// An Release says how a node lets go of a session.
type Release struct {
	Park bool             // the client may come back; otherwise the session is over
	At   adapter.Position // Park: the position up to which the connection was served and Rooms is complete
	Last adapter.Offset   // Park: the last offset sent to the client; zero for none
}

// A ResumeRequest is what a returning client presents.
type ResumeRequest struct {
	PIDHash   string // see HashPID
	Identity  string // of the client now, see HashIdentity; "" for none
	Namespace string
	Offset    string // as the client sent it: any text, any length
}
