package socketio

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"strings"
	"unicode/utf8"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/packet"
	"github.com/pgsocket/socketio/recovery"
)

// A Presence is who is in a room, in the whole cluster, with a state of type T for each
// member, such as a name. Like an [Event] it is a name on the wire: that of the event with
// which a client that watches a room receives its members and then every change. The
// payload of the event is a [PresenceEvent].
//
//	const Online socketio.Presence[User] = "presence"
//
//	err := Online.Enter(ctx, s, "lobby", User{Name: "Ann"})
//	err = Online.Watch(ctx, s, "lobby")
//
// A member is a session, not a connection: a client that loses its connection stays a
// member while it may recover, and leaves when its session ends or expires, see
// Recovery.Window. So nobody is told that a client left that recovers, on any node,
// whatever its node did meanwhile. A client that calls socket.disconnect() leaves at once.
//
// Each Presence has members of its own, and so does each namespace. A room of a Presence
// is not a room of [Socket.Join]: to be a member a socket need not be in it, and to watch it
// neither.
//
// A Presence needs a Recovery.Store that implements [recovery.PresenceStore], as the
// default one and that of package pgadapter do. Without one, and for a socket without a
// session that its client could recover, the error is ErrNoPresence.
type Presence[T any] string

// A Member is a socket that is present in a room.
type Member[T any] struct {
	ID    SocketID `json:"id"`
	State T        `json:"state"`
}

// A PresenceEvent is the payload of the event of a [Presence]: a part of the list of a room's
// members, or what has changed since.
//
// A client keeps a map of the members for each room. It replaces the map when it has all
// parts of a list, and keeps the version. It ignores a change whose version is not greater:
// the list contains that. After every list and every change the map has the members that the
// room had at that version. The documentation of Presence has this in TypeScript.
type PresenceEvent[T any] struct {
	Room    Room  `json:"room"`
	Version int64 `json:"version"`

	// Of a list: some members, in the order of their ids, and which of how many
	// parts this is. Part 1 begins a list, also in place of one that was interrupted.
	Members []Member[T] `json:"members,omitzero"`
	Part    int         `json:"part,omitzero"`
	Parts   int         `json:"parts,omitzero"`

	// Of a change, which may combine those of up to 100 ms: a member that has entered
	// and left meanwhile is in none.
	Entered []Member[T] `json:"entered,omitempty"`
	Updated []Member[T] `json:"updated,omitempty"`
	Left    []SocketID  `json:"left,omitempty"`
}

// PresenceLimits bounds what a socket may do with a [Presence].
type PresenceLimits struct {
	// StateBytes bounds the state of a member, in bytes of JSON.
	// Default: 4,096.
	StateBytes int

	// Rooms bounds the rooms in which a socket is present, over all Presences.
	// Default: 100.
	Rooms int

	// ListMembers and ListBytes bound one event of a list. A longer list is several
	// events, which are sent at the pace of the connection.
	// Default: 500 members and 128 KiB.
	ListMembers, ListBytes int
}

// Signature returns the event's name and the type of its payload.
func (p Presence[T]) Signature() Signature { return Event[PresenceEvent[T]](p).Signature() }

// Enter makes the socket a member of the room with the state, or changes the state of a
// member. It returns nil when that is durable. Watchers are told within about 100 ms, if
// something has changed.
//
// In connection middleware Enter does not wait: the socket becomes a member with its
// session. Call it for a recovered socket, too: if it is a member with the same state,
// nothing happens.
//
// The state is JSON; binary data in it is text in base64. Beyond a limit of
// Options.Presence the error is ErrStateSize or ErrTooManyRooms. The name of the room and of
// the Presence together have at most 253 bytes, else the error is ErrRoomName, and that of the
// namespace at most 1,000, else it is ErrNoPresence.
func (p Presence[T]) Enter(ctx context.Context, s *Socket, room Room, state T) error {
	return p.set(ctx, s, room, &state, false)
}

// Update changes the state of a member. The error is ErrNotPresent if the socket is not in
// the room, and else as of Enter.
func (p Presence[T]) Update(ctx context.Context, s *Socket, room Room, state T) error {
	return p.set(ctx, s, room, &state, true)
}

// Leave ends the socket's membership of the room. It returns nil when that is durable, also
// if the socket was not a member.
func (p Presence[T]) Leave(ctx context.Context, s *Socket, room Room) error {
	return p.set(ctx, s, room, nil, false)
}

func (p Presence[T]) set(ctx context.Context, s *Socket, room Room, state *T, update bool) error {
	key, err := p.key(room)
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if state != nil {
		if raw, err = marshalJSON(state); err != nil {
			return fmt.Errorf("presence %s: %w", string(p), err)
		}
	}
	return s.setPresence(ctx, key, raw, update)
}

// State returns the state with which the socket is a member of the room, and whether it is
// one.
func (p Presence[T]) State(s *Socket, room Room) (T, bool) {
	h := s.hub()
	h.mu.Lock()
	raw, in := s.member.presence[recovery.PresenceKey{Event: string(p), Room: string(room)}]
	h.mu.Unlock()
	var state T
	if !in || json.Unmarshal(raw, &state) != nil {
		var zero T
		return zero, false
	}
	return state, true
}

// Members yields the members of the room of a namespace, or, with a *Server, of the
// namespace "/", in the order of their ids. It includes every change for which Enter, Update
// or Leave has returned nil before, on any node, and all members whose clients are away. It
// reads them at once, and yields an error last.
func (p Presence[T]) Members(ctx context.Context, of ServerTarget, room Room) iter.Seq2[Member[T], error] {
	return func(yield func(Member[T], error) bool) {
		members, err := p.read(ctx, of.servers(), room)
		if err != nil {
			yield(Member[T]{}, err)
			return
		}
		for _, m := range members {
			member := Member[T]{ID: SocketID(m.ID)}
			if err := json.Unmarshal(m.State, &member.State); err != nil {
				yield(Member[T]{}, fmt.Errorf("presence %s: state of %s: %w", string(p), m.ID, err))
				return
			}
			if !yield(member, nil) {
				return
			}
		}
	}
}

func (p Presence[T]) read(ctx context.Context, r route, room Room) ([]recovery.PresenceMember, error) {
	key, err := p.key(room)
	if err != nil {
		return nil, err
	}
	if r.server == nil {
		return nil, errNoServer
	}
	store, err := r.server.presenceStore()
	if err != nil {
		return nil, err
	}
	return store.Members(ctx, recovery.PresenceTopic{Namespace: r.namespace, PresenceKey: key})
}

// Watch sends the socket the members of the room, and from then on every change. It returns
// nil when that is durable: a client that returns, to any node, continues to watch, and
// receives the list if it has not. Then the list has been queued for its client, before an
// acknowledgement that is sent now.
//
// The list and every change are events with offsets like others: a client receives all of
// them in one order, whatever becomes of its connection. A socket that watches the room
// already receives nothing. In connection middleware Watch does not wait, and the client
// receives the list after CONNECT. Call it there for a recovered socket, too.
//
// To watch is to be in a room of the watchers, which counts for Options.MaxRooms. Its name
// begins with U+001F. [Socket.Rooms] and OnRoom do not include it; view_rooms and
// view_sessions do.
//
// Only a call of this function makes a socket watch: a client cannot by itself, also not
// with a room that it chooses for [Socket.Join]. The errors are those of [History.Join].
func (p Presence[T]) Watch(ctx context.Context, s *Socket, room Room) error {
	key, err := p.key(room)
	if err != nil {
		return err
	}
	if _, err := s.namespace.server.presenceStore(); err != nil {
		return err
	}
	q := adapter.WatchRequest{Event: key.Event, Room: key.Room}
	payload, err := json.Marshal(q)
	if err != nil {
		return err
	}
	r := s.route()
	return s.joinAnswered(ctx, Room(q.Watchers()), &adapter.Envelope{
		Kind: adapter.Watch, Namespace: r.namespace, Audience: r.audience, Payload: payload, LocalOnly: r.localOnly,
	})
}

// Unwatch ends Watch, durably when it returns nil. It does not end the membership of the
// socket, if it is a member.
func (p Presence[T]) Unwatch(ctx context.Context, s *Socket, room Room) error {
	key, err := p.key(room)
	if err != nil {
		return err
	}
	return s.Leave(ctx, Room(adapter.WatchRequest{Event: key.Event, Room: key.Room}.Watchers()))
}

func (p Presence[T]) key(room Room) (recovery.PresenceKey, error) {
	key := recovery.PresenceKey{Event: string(p), Room: string(room)}
	if p == "" || packet.Reserved(string(p)) || strings.Contains(string(p), adapter.WatchersPrefix) {
		return key, fmt.Errorf("%w: %q", ErrReserved, string(p))
	}
	if err := room.validate(); err != nil {
		return key, err
	}
	return key, Room(adapter.WatchRequest{Event: key.Event, Room: key.Room}.Watchers()).validate()
}

func (s *Server) presenceStore() (recovery.PresenceStore, error) {
	if store, ok := s.hub.store.(recovery.PresenceStore); ok {
		return store, nil
	}
	return nil, ErrNoPresence
}

// maxPresenceNamespace bounds the name of a namespace whose sockets are present in rooms.
const maxPresenceNamespace = 1000

// setPresence makes state that of the socket, or ends its membership if state is nil.
func (s *Socket) setPresence(ctx context.Context, key recovery.PresenceKey, state json.RawMessage, update bool) error {
	server := s.namespace.server
	limits := &server.opts.Presence
	if len(state) > limits.StateBytes {
		return fmt.Errorf("%w: %d bytes, at most %d (Options.Presence.StateBytes)", ErrStateSize, len(state), limits.StateBytes)
	}
	if _, err := server.presenceStore(); err != nil {
		return err
	}
	// Stores have an index of namespaces.
	if n := s.namespace.name; len(n) > maxPresenceNamespace || !utf8.ValidString(n) || strings.IndexByte(n, 0) >= 0 {
		return fmt.Errorf("%w: the name of the namespace is UTF-8 of at most %d bytes without NUL", ErrNoPresence, maxPresenceNamespace)
	}
	if err := server.admitChange(ctx); err != nil {
		return err
	}
	server.hub.mu.Lock()
	out, err := s.member.setPresenceLocked(key, state, update)
	server.hub.mu.Unlock()
	if err != nil {
		return err
	}
	return s.waitDurable(ctx, out)
}

func (m *member) setPresenceLocked(key recovery.PresenceKey, state json.RawMessage, update bool) (*adapter.Receipt, error) {
	most := m.socket.namespace.server.opts.Presence.Rooms
	was, in := m.presence[key]
	switch {
	case m.state == detached:
		return nil, m.socket.departure()
	case m.key == (recovery.Key{}) && (m.state != connecting || !m.socket.recovers):
		return nil, ErrNoPresence
	case !in && update:
		return nil, ErrNotPresent
	case !in && state != nil && len(m.presence) >= most:
		return nil, fmt.Errorf("%w: present in %d, at most %d (Options.Presence.Rooms)", ErrTooManyRooms, len(m.presence), most)
	case in == (state != nil) && bytes.Equal(was, state):
		return m.changeLocked(recovery.Change{}), nil // an earlier call may not be durable yet
	}
	out := m.changeLocked(recovery.Change{Presence: map[recovery.PresenceKey]json.RawMessage{key: state}})
	if state == nil {
		delete(m.presence, key)
		return out, nil
	}
	if m.presence == nil {
		m.presence = make(map[recovery.PresenceKey]json.RawMessage)
	}
	m.presence[key] = state
	return out, nil
}

// ownPresenceLocked takes the presence of a session that the socket owns now.
func (m *member) ownPresenceLocked(session *recovery.Session) {
	m.presence = maps.Clone(session.Presence)
}

// watchesLocked reports whether the socket watches a presence.
func (m *member) watchesLocked() bool {
	for room := range m.joinedLocked() {
		if isWatchersRoom(room) {
			return true
		}
	}
	return false
}

// isWatchersRoom reports whether a room is one of the watchers of a presence, which applications
// do not see.
func isWatchersRoom(room Room) bool { return strings.HasPrefix(string(room), adapter.WatchersPrefix) }

// dropPresentLocked drops the sockets that are members or watchers of a presence, after the log
// has lost its end: what the watchers received last, and what the members have changed last,
// may be lost too. Their clients return to sessions of which that is known, or begin anew.
func (h *hub) dropPresentLocked() {
	for _, m := range h.everyLocked() {
		if m.state != detached && (len(m.presence) > 0 || m.watchesLocked()) {
			m.dropLocked(&DisconnectError{Reason: ReasonNodeReset, Err: errLogTruncated})
		}
	}
}
