package recovery

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/pgsocket/socketio/adapter"
)

// A Key identifies the ownership of a session: the session and the epoch in which a node
// owns it. A write with another epoch is refused with ErrLost. Epochs begin at 1; the
// zero Key identifies no ownership.
type Key struct {
	PIDHash string // see HashPID
	Epoch   int64
}

// A RoomInterval is a range of positions in which a session was in a room: from Joined,
// excluded, to Left, included, if it is Ended.
type RoomInterval struct {
	Room   string
	Joined adapter.Position
	Ended  bool             // the session has left the room
	Left   adapter.Position // if Ended
}

// covers reports whether the interval includes p.
func (s RoomInterval) covers(p adapter.Position) bool {
	return s.Joined < p && (!s.Ended || p <= s.Left)
}

// A Session is the state that a client can resume. Its methods are not safe for
// concurrent use.
type Session struct {
	Key

	Identity      string // the identity that it is bound to, see HashIdentity; "" for none
	ID            string // the socket's public id, also the name of its own room
	Namespace     string
	Window        time.Duration    // how long the client may be away
	Opened        adapter.Position // events after this position may be addressed to the session
	InitialOffset string           // the offset that the client presented when the session was opened
	Skip          []adapter.Range  // records after Opened that the client had received before
	Rooms         []RoomInterval   // without the session's own room
	Data          map[string]json.RawMessage
	Presence      map[PresenceKey]json.RawMessage // where it is a member, with its state

	// Applied is the position up to which Rooms is complete; Opened, for a new
	// session. Rooms may already contain later operations of the log, which Apply
	// recognizes.
	Applied adapter.Position

	// From, of a resumed session, is the position after which the replay starts.
	From adapter.Position
	// Last, of a resumed session, is the offset that the client presented; zero if it
	// processed no event of this session yet.
	Last adapter.Offset
	// OwnedElsewhere, of a resumed session, reports whether another node may still have
	// a connection of it. The caller then publishes SessionMoved.
	OwnedElsewhere bool

	index  *intervalIndex // of Rooms; nil while they are few
	shared bool           // with a snapshot: rooms and data are copied before a change
}

// Clone returns a copy with its own rooms and data.
func (s *Session) Clone() *Session {
	c := *s
	c.index, c.shared = nil, false
	c.Rooms, c.Data, c.Presence = slices.Clone(s.Rooms), maps.Clone(s.Data), maps.Clone(s.Presence)
	return &c
}

// Apply applies d, the next operation of the log, to the session. It returns the change
// that it made, to be stored, or reports that d ends the session. Changes that Rooms
// already contains, and operations up to Applied, have no effect.
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
		return Change{}, false // malformed: nodes ignore it as well
	}
	c = s.operation(d.Kind, rooms, d.Offset.Position)
	s.ApplyChange(c)
	return c, false
}

// operation returns what a Join, Leave or History at p changes in the record.
func (s *Session) operation(k adapter.Kind, rooms []string, p adapter.Position) Change {
	c := Change{At: p}
	named := map[string]bool{s.ID: true} // a session neither joins nor leaves its own room
	for _, room := range rooms {
		if named[room] {
			continue
		}
		named[room] = true
		switch {
		case k.Joins() && !s.joinedAt(room, p) && !s.heldAt(room, p):
			c.Join = append(c.Join, room)
		case k == adapter.Leave && s.In(room) && s.latest(room).Joined < p:
			c.Leave = append(c.Leave, room)
		}
	}
	return c
}

// Empty reports whether the change changes nothing.
func (c *Change) Empty() bool {
	return len(c.Join) == 0 && len(c.Leave) == 0 && len(c.Data) == 0 && len(c.Presence) == 0
}

// MaxPosition returns the newest position in the session. A node serves the session only
// after it has read the log up to there: otherwise it would deliver a record twice, or
// to a room that the session had not yet joined.
func (s *Session) MaxPosition() adapter.Position {
	p := max(s.Opened, s.From, s.Applied, s.roomsMaxPosition())
	for _, in := range s.Skip {
		p = max(p, in.Last)
	}
	return p
}

// A Change is a change of a session's rooms, data and presence at a position.
type Change struct {
	At    adapter.Position
	Join  []string                   // rooms it is not in
	Leave []string                   // rooms it is in
	Data  map[string]json.RawMessage // keys to set; a nil value deletes

	// Presence is where the session enters, or changes its state, if the value is not
	// nil; and where it leaves. Only a PresenceStore accepts it.
	Presence map[PresenceKey]json.RawMessage
}

// ApplyChange applies the change to the session. Earlier results of Clone and Snapshot
// do not change.
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
	for key, state := range c.Presence {
		if state == nil {
			delete(s.Presence, key)
			continue
		}
		if s.Presence == nil {
			s.Presence = make(map[PresenceKey]json.RawMessage)
		}
		s.Presence[key] = state
	}
}

// A Release describes how the owner releases a session.
type Release struct {
	Park bool             // keep the session for the client to resume; otherwise it ends
	At   adapter.Position // if Park: the position up to which the connection was served and Rooms is complete
	Last adapter.Offset   // if Park: the last offset sent to the client; zero for none
}

// A ResumeRequest is what a client presents to resume a session.
type ResumeRequest struct {
	PIDHash   string // see HashPID
	Identity  string // the client's current identity, see HashIdentity; "" for none
	Namespace string
	Offset    string // as the client sent it: any text, any length
}
