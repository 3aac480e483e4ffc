package socketio

import (
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// A member is what the hub knows of a socket: the session that the socket holds, and how far its client
// has got. The hub's lock guards all of it.
type member struct {
	socket *Socket // whose it is; never changes

	state  memberState
	reason Reason            // why it is detached
	ended  *recovery.Outcome // of letting go of the session, when it is detached

	key             recovery.Key        // of the session; zero without one
	boundIdentity   string              // the identity that the session is bound to, hashed
	record          *recovery.Session   // what gates and operations change; nil once the socket is attached
	pendingOps      []*adapter.Delivery // operations that record lacks so far
	disconnectedAt  *adapter.Position   // up to where the session goes that is being restored, if an operation has ended it
	last            adapter.Offset      // the last offset addressed to the client
	replayedTo      adapter.Position    // until the socket is live: how far the replay has come
	checkpointState checkpointState

	buffered    replayBuffer // live messages that wait for the end of the replay
	memberships membershipList
	pass        uint64 // the last delivery that looked at the socket
}

// A memberState is how far a socket is on its way. It only grows.
type memberState uint8

const (
	connecting memberState = iota // no member of its namespace yet: records do not reach it
	replaying                     // a member, behind a replay: live messages are held back
	live                          // a member
	detached                      // for good
)

// attached reports whether records reach the socket.
func (m *member) attached() bool { return m.state == replaying || m.state == live }

func (m *member) hub() *hub { return m.socket.hub() }

// socketsOf returns the sockets of the members.
func socketsOf(members []*member) []*Socket {
	sockets := make([]*Socket, len(members))
	for i, m := range members {
		sockets[i] = m.socket
	}
	return sockets
}
