package socketio

import (
	"encoding/json"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// A member is the hub's state of a socket: the session that it owns, and the progress
// of its client. The hub's lock guards all of it.
type member struct {
	socket *Socket // never changes

	state  memberState
	reason Reason           // why it is detached
	ended  *adapter.Receipt // of releasing the session, which may precede the end of the socket; nil before

	key             recovery.Key       // of the session; zero without one
	boundIdentity   string             // the identity that the session is bound to, hashed
	record          *recovery.Session  // what middleware and operations change; nil once the socket is attached
	catchingUp      bool               // record lacks operations before those that are delivered
	pendingOps      []adapter.Delivery // operations that were delivered meanwhile
	disconnectedAt  *adapter.Position  // the last position of a session that is being restored, if an operation has ended it
	last            adapter.Offset     // the last offset addressed to the client
	replayedTo      adapter.Position   // until the socket is live: the progress of the replay
	checkpointState checkpointState

	buffered       replayBuffer        // live messages that wait for the end of the replay, or of a history
	flushed        chan struct{}       // closed when the last history, with what waited behind it, has been sent; nil without one
	histories      []*adapter.Envelope // that middleware has asked for, and that are published when the session is open
	historiesTaken bool                // and they have been
	memberships    membershipList
	presence       map[recovery.PresenceKey]json.RawMessage // where it is a member of a Presence, with its state
	truncations    int                                      // how often the log had lost its end when the socket became a member, see hub
	pass           uint64                                   // the last delivery that visited the socket
}

// A memberState is the phase of a socket. It only grows, except that a live socket that
// is sent a history replays again.
type memberState uint8

const (
	connecting memberState = iota // not a member of its namespace: only operations reach its record
	replaying                     // a member during a replay, or while a history is read: live messages are buffered
	live                          // a member
	detached                      // permanently
)

func (m *member) hub() *hub { return m.socket.hub() }

// socketsOf returns the sockets of the members.
func socketsOf(members []*member) []*Socket {
	sockets := make([]*Socket, len(members))
	for i, m := range members {
		sockets[i] = m.socket
	}
	return sockets
}
