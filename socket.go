package socketio

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/internal/boundary"
	"github.com/pgsocket/socketio/packet"
	"github.com/pgsocket/socketio/recovery"
	"github.com/pgsocket/socketio/transport"
)

// A Socket is one client's connection to one namespace, on this node. After a
// recovery it is a new Socket with the id, the rooms and the data of the former.
type Socket struct {
	id            SocketID
	namespace     *Namespace
	conn          *conn
	auth          json.RawMessage
	clientOffset  string                 // the offset in the client's CONNECT, if it is valid
	recovers      bool                   // its client can recover; set first of all by the timeline
	identity      string                 // see Identity; set before the session is claimed
	pid           string                 // the private id, which the client has; the timeline's
	start         *adapter.StartPosition // where a new session begins, if not at the cursor; the timeline's
	startTimeline int                    // the timeline of the log that start belongs to
	result        RecoveryResult         // set before the middleware runs, except Replayed
	replayed      atomic.Int64
	permit        semaphore // of which it holds a slot while it is being connected; the timeline's

	ctx    context.Context //nolint:containedctx // it is the socket's lifetime, see Context
	cancel context.CancelCauseFunc

	connected    atomic.Bool // CONNECT was answered, or is about to be
	dropEvents   atomic.Bool // events that still wait are not handled
	connectErr   error       // why CONNECT failed, for its span; the timeline's
	presenceKey  string      // the hash of the private id of the session that the client connected with; "": none. Of the inbox's goroutine
	onConnectRan bool        // OnConnect has run, so OnDisconnect will; the timeline's
	inbox        inbox
	acks         acks

	disconnectSent bool // the client was sent DISCONNECT, or is about to be; guarded by the connection's lock

	dataMu sync.Mutex
	data   map[string]*dataValue

	member member
}

// A RecoveryResult is the outcome of a client's attempt to recover its session.
type RecoveryResult struct {
	Recovered bool
	Replayed  int   // events that the client had missed
	Reason    error // why it was not recovered; nil if it was, or did not try
}

// ID returns the socket's id.
func (s *Socket) ID() SocketID { return s.id }

func (s *Socket) hub() *hub { return s.namespace.server.hub }

// Namespace returns the socket's namespace.
func (s *Socket) Namespace() *Namespace { return s.namespace }

// Context returns a context that ends when the socket is disconnected; its cause
// is then a *DisconnectError. It carries the values of the HTTP request's
// context. For work that must finish anyway use context.WithoutCancel.
func (s *Socket) Context() context.Context { return s.ctx }

// Recovered reports whether the client recovered its session.
func (s *Socket) Recovered() bool { return s.result.Recovered }

// Recovery returns how many events a recovered client had missed, or why a client
// that tried to recover could not.
func (s *Socket) Recovery() RecoveryResult {
	r := s.result
	r.Replayed = int(s.replayed.Load())
	return r
}

// Rooms yields the rooms that the socket is in, its own first.
func (s *Socket) Rooms() iter.Seq[Room] {
	h := s.hub()
	h.mu.Lock()
	rooms := s.member.roomsLocked()
	h.mu.Unlock()
	return slices.Values(rooms)
}

// In reports whether the socket is in the room. Every socket is in the room named by
// its own id. The cost does not depend on the number of rooms.
func (s *Socket) In(room Room) bool {
	h := s.hub()
	h.mu.Lock()
	defer h.mu.Unlock()
	return s.member.inLocked(string(room))
}

func (m *member) roomsLocked() []Room {
	rooms := []Room{Room(m.socket.id)}
	if m.record != nil {
		for _, interval := range m.record.Rooms {
			if !interval.Ended {
				rooms = append(rooms, Room(interval.Room))
			}
		}
		return rooms
	}
	for i := 1; i < len(m.memberships.list); i++ {
		rooms = append(rooms, m.memberships.list[i].room.name)
	}
	return rooms
}

// To returns the audience of the sockets in any of the rooms, without this one.
func (s *Socket) To(rooms ...Room) Audience { return s.Others().To(rooms...) }

// Others returns the audience of all sockets of the namespace except this one.
func (s *Socket) Others() Audience { return s.namespace.Except(Room(s.id)) }

// Volatile returns the audience of this socket, for events that may be dropped.
func (s *Socket) Volatile() Audience { return Audience{s.route()}.Volatile() }

func (s *Socket) route() route {
	r := s.namespace.route()
	r.audience.Rooms = []string{string(s.id)}
	r.localOnly = s.isLocal
	r.socket = s
	return r
}

// isLocal reports whether the client is served by this socket: then its events are
// delivered on this node, or replayed from what this node has read.
func (s *Socket) isLocal() bool {
	h := s.hub()
	h.mu.Lock()
	defer h.mu.Unlock()
	return s.member.state != detached
}

// Join puts the socket into rooms. It returns nil when that is durable: a client
// that returns, to any node, is in them and receives what was emitted to them.
// What this node emitted before the call does not reach the socket through the
// new rooms; what is emitted after Join has returned does.
//
// After an error the socket may be in the rooms, and may not be in them after a
// recovery. In middleware Join does not wait: the rooms become durable with the
// session.
//
// A room that is named by the id of another socket cannot be joined: the error is
// ErrSocketRoom, so that a client that chooses a room cannot receive the events
// of one other client. The application may do so with Audience.Join. It guards
// all other rooms itself. Beyond Options.MaxRooms or Options.MaxRoomBytes the
// socket joins none of the rooms, and the error is ErrTooManyRooms.
func (s *Socket) Join(ctx context.Context, rooms ...Room) error {
	for _, room := range rooms {
		if room != Room(s.id) && isSocketID(string(room)) {
			return ErrSocketRoom
		}
	}
	return s.move(ctx, rooms, func(names []string, at adapter.Position) recovery.Change {
		return recovery.Change{At: at, Join: names}
	})
}

// Leave takes the socket out of rooms, durably when it returns nil. What this
// node emitted to them before the call still reaches the socket.
func (s *Socket) Leave(ctx context.Context, rooms ...Room) error {
	return s.move(ctx, rooms, func(names []string, at adapter.Position) recovery.Change {
		return recovery.Change{At: at, Leave: names}
	})
}

func (s *Socket) move(
	ctx context.Context, rooms []Room, change func(names []string, at adapter.Position) recovery.Change,
) error {
	if err := validateRooms(rooms); err != nil {
		return err
	}
	server := s.namespace.server
	// The rooms change after what this node has emitted so far.
	if err := server.admit(ctx); err != nil {
		return err
	}
	names := roomNames(rooms)
	server.hub.mu.Lock()
	at := server.hub.cursor.Position
	if s.member.record != nil {
		at = max(at, s.member.record.MaxPosition())
	}
	c := change(names, at)
	if err := s.member.admitLocked(c.Join); err != nil {
		server.hub.mu.Unlock()
		return err
	}
	out := s.member.changeLocked(c)
	server.hub.mu.Unlock()
	return s.waitDurable(ctx, out)
}

// changeLocked applies a change here and passes it to the store.
func (m *member) changeLocked(c recovery.Change) *adapter.Receipt {
	switch {
	case m.state == detached:
		return adapter.Completed(m.socket.departure())
	case m.state == replaying && m.disconnectedAt != nil: // it has left the namespace and all rooms
		return adapter.Completed(&DisconnectError{Reason: ReasonServerDisconnect})
	}
	m.applyLocked(&c)
	return m.writeLocked(c) // also if nothing changes: an earlier call may not be durable yet
}

// writeLocked passes a change of the session, if there is one, to the store.
func (m *member) writeLocked(c recovery.Change) *adapter.Receipt {
	if m.key == (recovery.Key{}) {
		return adapter.Completed(nil)
	}
	return m.hub().store.Change(m.key, c)
}

// applyLocked reduces c to its effective part, and makes the change here.
func (m *member) applyLocked(c *recovery.Change) {
	in := make(map[string]bool, len(c.Join)+len(c.Leave))
	for _, room := range slices.Concat(c.Join, c.Leave) {
		in[room] = m.inLocked(room)
	}
	delete(in, string(m.socket.id)) // neither joined nor left
	c.Join, c.Leave = pick(c.Join, in, false), pick(c.Leave, in, true)
	if m.record != nil {
		m.record.ApplyChange(*c)
		return
	}
	for _, room := range c.Join {
		m.socket.namespace.members.join(m, Room(room))
	}
	for _, room := range c.Leave {
		m.socket.namespace.members.leave(m, Room(room))
	}
}

// pick returns a new slice of the names for which in contains want, each once, and
// removes them from in.
func pick(names []string, in map[string]bool, want bool) []string {
	var picked []string
	for _, name := range names {
		if is, known := in[name]; known && is == want {
			picked = append(picked, name)
			delete(in, name)
		}
	}
	return picked
}

// waitDurable waits for a change to become durable.
func (s *Socket) waitDurable(ctx context.Context, out *adapter.Receipt) error {
	err := out.Wait(ctx)
	if errors.Is(err, recovery.ErrLost) {
		why := &DisconnectError{Reason: ReasonTakenOver, Err: err}
		h := s.hub()
		h.mu.Lock()
		s.member.dropLocked(why)
		h.unlock()
		return why
	}
	return err
}

// setData makes d the value, or removes the value if d has no text. If the store
// refuses that, it restores the former value.
func (s *Socket) setData(ctx context.Context, name string, d *dataValue) error {
	// The value has no position in the log, so there is no need to wait for earlier emits.
	if err := s.namespace.server.admitChange(ctx); err != nil {
		return err
	}
	h := s.hub()
	h.mu.Lock()
	if s.member.state == detached {
		h.mu.Unlock()
		return s.departure()
	}
	s.putData(name, d)
	out := s.member.changeLocked(recovery.Change{Data: map[string]json.RawMessage{name: d.raw}})
	h.mu.Unlock()
	err := s.waitDurable(ctx, out)
	s.completeData(name, d, err != nil && ctx.Err() == nil)
	return err
}

// datum returns the current value with the name, and where it is kept: nil if there
// is none.
func (s *Socket) datum(name string) (now dataValue, at *dataValue) {
	s.dataMu.Lock()
	defer s.dataMu.Unlock()
	if d := s.data[name]; d != nil && d.raw != nil {
		return *d, d
	}
	return dataValue{}, nil
}

// putData makes d the value. It keeps the former one until completeData.
func (s *Socket) putData(name string, d *dataValue) {
	s.dataMu.Lock()
	defer s.dataMu.Unlock()
	if s.data == nil {
		s.data = make(map[string]*dataValue)
	}
	d.former = s.data[name]
	s.data[name] = d
}

// completeData is called after the store has answered: it removes d if d was refused,
// else the value before d.
func (s *Socket) completeData(name string, d *dataValue, refused bool) {
	s.dataMu.Lock()
	defer s.dataMu.Unlock()
	former := d.former
	d.former = nil
	at := s.data[name]
	switch {
	case !refused:
	case at == d:
		s.data[name] = former
	default:
		for at != nil && at.former != d {
			at = at.former
		}
		if at != nil {
			at.former = former
		}
	}
	if at := s.data[name]; at == nil || at.raw == nil && at.former == nil {
		delete(s.data, name)
	}
}

// decoded caches the decoded form of a value.
func (s *Socket) decoded(d *dataValue, value any) {
	s.dataMu.Lock()
	defer s.dataMu.Unlock()
	d.value = value
}

// Disconnect takes the socket out of its namespace and ends its session, after
// what this node has emitted to it so far. The client receives DISCONNECT when
// that is durable, or ctx has ended, and does not reconnect by itself; a client
// that is not connected yet receives a CONNECT_ERROR with CodeDisconnected. It
// returns nil when the end of the session is durable.
func (s *Socket) Disconnect(ctx context.Context) error {
	if err := s.namespace.server.admit(ctx); err != nil {
		return err
	}
	answered, cancel := context.WithTimeout(ctx, s.namespace.server.opts.AckTimeout)
	s.awaitPublishedWithin(answered) // the acknowledgements of handled events precede DISCONNECT
	cancel()
	if err := s.endSession(ctx, nil); !errors.Is(err, recovery.ErrLost) {
		return err
	}
	return nil // another node owns the session, or it is over: nothing of it is left here
}

// endSession detaches a socket whose session the server ends, because of err. The
// client receives DISCONNECT when that is durable, or ctx has ended: it may return at
// once, and would otherwise recover its session.
func (s *Socket) endSession(ctx context.Context, err error) error {
	h := s.hub()
	h.mu.Lock()
	first := s.member.detachLocked(ReasonServerDisconnect)
	out := s.member.ended
	h.mu.Unlock()
	if !first {
		return out.Wait(ctx)
	}
	s.discardEvents() // events that the client sends meanwhile are too late
	outcome := out.Wait(ctx)
	s.notifyDisconnect(&DisconnectError{Reason: ReasonServerDisconnect, Err: err})
	return outcome
}

// detach removes the socket from its namespace and rooms and releases its session, once;
// later calls have no effect and return the first one's outcome.
func (s *Socket) detach(why *DisconnectError) *adapter.Receipt {
	h := s.hub()
	h.mu.Lock()
	first := s.member.detachLocked(why.Reason)
	out := s.member.ended
	h.mu.Unlock()
	if first {
		s.notifyDisconnect(why)
	}
	return out
}

// detachLocked removes the socket from the hub, and releases its session.
func (m *member) detachLocked(reason Reason) bool {
	if m.state == detached {
		return false
	}
	was := m.state
	m.state, m.reason = detached, reason
	known := m.socket.connected.Load() || m.key.Epoch > 1                                    // else the client has not received its session, and cannot recover it
	parks := m.key.PIDHash != "" && known && reason.Recoverable() && m.disconnectedAt == nil // else the session is over
	m.socket.namespace.server.counters.departure(reason, parks, m.socket.connected.Load())
	over := m.ended != nil // the session has been ended before
	if !over {
		m.ended = adapter.Completed(nil)
	}
	h := m.hub()
	if was == replaying || was == live {
		if was == live { // else the replay has recorded its progress
			m.replayedTo = h.cursor.Position
		}
		rooms := m.roomsLocked()[1:]
		m.socket.namespace.members.remove(m)
		m.record = recordOf(rooms) // for later calls of Rooms
	}
	m.buffered, m.pendingOps = replayBuffer{}, nil
	delete(h.restoring, m)
	if m.key == (recovery.Key{}) {
		return true
	}
	if h.sessions[m.key.PIDHash] == m {
		delete(h.sessions, m.key.PIDHash)
	}
	if reason != ReasonTakenOver && !over { // else another socket owns the session already
		m.ended = h.endLocked(m.key, recovery.Release{Park: parks, At: m.replayedTo, Last: m.last})
	}
	return true
}

// departure returns why the socket is detached, also before its context has ended.
func (s *Socket) departure() error { return &DisconnectError{Reason: s.member.reason} }

func recordOf(rooms []Room) *recovery.Session {
	var record recovery.Session
	for _, room := range rooms {
		record.Rooms = append(record.Rooms, recovery.RoomInterval{Room: string(room)})
	}
	return &record
}

// dropLocked detaches the socket and cuts its connection.
func (m *member) dropLocked(why *DisconnectError) {
	if m.detachLocked(why.Reason) {
		m.hub().afterLocked(func() {
			m.socket.conn.session.Abort(transport.ReasonTransportClose)
			m.socket.notifyDisconnect(why)
		})
	}
}

// notifyDisconnect ends a detached socket: it notifies the client, cancels the context
// and the calls of the socket, and queues OnDisconnect. The caller holds no lock.
func (s *Socket) notifyDisconnect(why *DisconnectError) {
	if why.Reason == ReasonServerDisconnect {
		s.discardEvents()
		if err := s.sendDisconnect(why.Err); err != nil {
			// The client is not there, or the parser failed: close its connection
			// instead.
			s.conn.session.Abort(transport.ReasonForcedClose)
		}
	}
	s.conn.forget(s)
	s.cancel(why)
	s.acks.abandon()
	_ = s.push(item{step: func() { s.disconnected(why.Reason) }}) // a step is never refused
}

// sendDisconnect sends DISCONNECT to the client, or CONNECT_ERROR if the socket was not
// connected yet.
func (s *Socket) sendDisconnect(err error) error {
	s.conn.markDisconnectSent(s)
	if s.connected.Load() {
		return s.send(&packet.Packet{Type: packet.Disconnect}, payload{})
	}
	known := &Error{Code: CodeDisconnected}
	if err != nil {
		known, _ = publicError(err)
	}
	return s.conn.refuse(s.namespace.name, known)
}

// disconnected runs at the end of the inbox, after all events of the client.
func (s *Socket) disconnected(reason Reason) {
	defer s.conn.lifetimes.done()
	defer s.namespace.release()
	if !s.onConnectRan {
		return // OnConnect never ran
	}
	defer s.namespace.server.presences.end(s)
	boundary.All(s.namespace.table.Load().onDisconnect, func(h func(*Socket, Reason)) { h(s, reason) },
		func(_ func(*Socket, Reason), err error) {
			s.log(slog.LevelError, "disconnect handler failed", slog.Any("error", err))
		})
}

func (s *Socket) log(level slog.Level, text string, attrs ...slog.Attr) {
	s.logContext(s.ctx, level, text, attrs...)
}

func (s *Socket) logContext(ctx context.Context, level slog.Level, text string, attrs ...slog.Attr) {
	attrs = append(attrs, slog.String("namespace", s.namespace.name), slog.String("socket", string(s.id)))
	s.namespace.server.opts.Logger.LogAttrs(ctx, level, text, attrs...) //nolint:sloglint // the texts are the callers' and constant
}
