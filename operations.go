package socketio

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// An operation changes the rooms of an audience, or ends its sessions, on all
// nodes, whether their clients are connected or away. It is a record of the log
// like any event, and takes effect at its position there:
//
//   - a node changes the sessions that it owns when it delivers the record;
//   - a session whose client is away, or whose node was killed in between, gets
//     the operations that it lacks applied when the client returns, see catchUp.

// Join puts every socket of the audience into the rooms, in the whole cluster.
// It returns nil when that is in the log: what is emitted to the rooms from then
// on reaches the sockets, what was emitted before does not. Sessions whose
// clients are away join as well. With [Audience.Local] it does so on this node
// only, and returns nil when it is durable.
func (a Audience) Join(ctx context.Context, rooms ...Room) error {
	return a.move(ctx, adapter.Join, rooms)
}

// Leave takes every socket of the audience out of the rooms, as Join puts it in.
func (a Audience) Leave(ctx context.Context, rooms ...Room) error {
	return a.move(ctx, adapter.Leave, rooms)
}

// Disconnect disconnects every socket of the audience, in the whole cluster, and
// ends their sessions, including those of clients that are away, which get a new
// session when they return. What was emitted before reaches the connected ones first.
// It returns nil when the operation is in the log.
func (a Audience) Disconnect(ctx context.Context) error {
	return a.operate(ctx, &adapter.Envelope{Kind: adapter.Disconnect, Namespace: a.r.namespace, Audience: a.r.audience})
}

func (a Audience) move(ctx context.Context, k adapter.Kind, rooms []Room) error {
	if err := validateRooms(rooms); err != nil {
		return err
	}
	payload, err := adapter.RoomList(roomNames(rooms))
	if err != nil {
		return err
	}
	return a.operate(ctx, &adapter.Envelope{Kind: k, Namespace: a.r.namespace, Audience: a.r.audience, Payload: payload})
}

func (a Audience) operate(ctx context.Context, e *adapter.Envelope) error {
	if a.r.err != nil || a.r.nobody() {
		return a.r.err
	}
	ctx, span := a.r.startPublish(ctx, spanOf(e.Kind), e)
	if !a.r.local {
		at, err := a.r.publish(ctx, e, true)
		span.endAt(at.Position, err)
		return err
	}
	err := a.operateLocally(ctx, e)
	span.end(err)
	return err
}

// spanOf returns the kind of the span of an operation.
func spanOf(k adapter.Kind) SpanKind {
	switch k {
	case adapter.Join:
		return SpanJoin
	case adapter.Leave:
		return SpanLeave
	default:
		return SpanDisconnect
	}
}

func (a Audience) operateLocally(ctx context.Context, e *adapter.Envelope) error {
	if a.r.server == nil {
		return errNoServer
	}
	// As for one socket: after what this node has emitted so far.
	if err := a.r.server.admit(ctx); err != nil {
		return err
	}
	if e.Kind == adapter.Disconnect {
		return a.r.server.hub.disconnectLocally(ctx, e)
	}
	for _, out := range a.r.server.hub.applyLocally(e) {
		if err := out.Wait(ctx); err != nil && !errors.Is(err, recovery.ErrLost) {
			return err
		}
	}
	return nil
}

// applyLocally applies a Join or Leave that is not in the log, at the cursor. It returns
// an outcome for every socket: where nothing changes, an earlier call may not be durable.
func (h *hub) applyLocally(e *adapter.Envelope) (outcomes []*adapter.Receipt) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := roomChange(e, h.cursor.Position, h.logger)
	for _, m := range h.membersLocked(e) {
		outcomes = append(outcomes, m.changeLocked(c))
	}
	return outcomes
}

// disconnectLocally applies a Disconnect that is not in the log. As with
// Socket.Disconnect the clients receive DISCONNECT when the end of the session is
// durable, or ctx has ended: nothing in the log would refuse the session to a client that
// returns before.
func (h *hub) disconnectLocally(ctx context.Context, e *adapter.Envelope) error {
	h.mu.Lock()
	var over, replays []*member
	for _, m := range h.membersLocked(e) {
		if m.endAfterLocked(h.cursor.Position) {
			over = append(over, m)
			continue
		}
		// The replay goes on, but the node may die before its end: the session ends now.
		m.ended = h.endLocked(m.key, recovery.Release{})
		replays = append(replays, m)
	}
	h.mu.Unlock()
	for _, m := range over {
		m.socket.discardEvents()
	}
	var first error
	wait := func(m *member) {
		if err := m.ended.Wait(ctx); err != nil && first == nil && !errors.Is(err, recovery.ErrLost) {
			first = err
		}
	}
	for _, m := range over {
		wait(m)
		m.socket.notifyDisconnect(&DisconnectError{Reason: ReasonServerDisconnect})
	}
	for _, m := range replays {
		wait(m)
	}
	return first
}

// applyOpLocked applies an operation of the log that is being delivered. A session that is
// catching up applies it when it has read what precedes.
func (h *hub) applyOpLocked(d *adapter.Delivery) {
	for m := range h.restoring {
		if m.catchingUp {
			m.pendingOps = append(m.pendingOps, *d)
		} else {
			m.applyOpLocked(d, recovery.Change{})
		}
	}
	attached := h.membersLocked(d.Envelope)
	if len(attached) == 0 {
		return
	}
	c := roomChange(d.Envelope, d.Offset.Position, h.logger)
	since := h.sinceLocked(d)
	for _, m := range attached {
		switch {
		case m.truncations >= since:
			m.applyOpLocked(d, c)
		case d.Kind.Answers():
			m.endSessionLocked() // a replay would send the answer again, at this place
		default:
			m.repeatedLocked(c)
		}
	}
}

// roomChange returns what an operation at a position changes in the rooms of its audience.
func roomChange(e *adapter.Envelope, at adapter.Position, logger *slog.Logger) recovery.Change {
	c := recovery.Change{At: at}
	if e.Kind == adapter.Disconnect {
		return c
	}
	rooms, err := e.RoomList()
	if err != nil {
		logger.Error("operation not decoded", slog.Any("error", err))
	}
	if e.Kind.Joins() {
		c.Join = rooms
	} else {
		c.Leave = rooms
	}
	return c
}

// membersLocked returns the sockets of the audience.
func (h *hub) membersLocked(e *adapter.Envelope) (found []*member) {
	if n := h.namespaces[e.Namespace]; n != nil {
		h.pass++
		n.members.each(e.Audience, h.pass, func(m *member) { found = append(found, m) })
	}
	return found
}

// applyOpLocked applies the next operation of the log to a session: to its rooms, here and
// in the store, or it ends the session. Until the socket is attached, the record
// decides whether the audience includes the session; then it does, and c is the change.
func (m *member) applyOpLocked(d *adapter.Delivery, c recovery.Change) {
	over := d.Kind == adapter.Disconnect
	switch {
	case m.disconnectedAt != nil:
		return
	case m.record != nil:
		c, over = m.record.Apply(d)
	case !over:
		if m.applyLocked(&c); d.Kind.Answers() && len(c.Join) > 0 {
			m.joinedWithHistoryLocked(d)
		}
	}
	switch {
	case over:
		if m.endAfterLocked(d.Offset.Position - 1) {
			why := &DisconnectError{Reason: ReasonServerDisconnect}
			m.hub().afterLocked(func() { m.socket.notifyDisconnect(why) })
		}
	case !c.Empty():
		// No need to wait: it is in the log, and the store reports that it may be missing.
		m.writeLocked(c)
	}
}

// repeatedLocked stores the rooms of an operation that the socket has applied before the log lost it: the store has lost them
// as well. If the socket has changed one of the rooms since, the log has the two changes in the other order. Then the session
// ends: a node that restored it from the log would give it other rooms than the socket has.
func (m *member) repeatedLocked(c recovery.Change) {
	in := make(map[string]bool, len(c.Join)+len(c.Leave))
	for _, room := range slices.Concat(c.Join, c.Leave) {
		in[room] = m.inLocked(room)
	}
	delete(in, string(m.socket.id)) // neither joined nor left
	rooms := len(in)
	c.Join, c.Leave = pick(c.Join, in, true), pick(c.Leave, in, false)
	switch {
	case len(c.Join)+len(c.Leave) < rooms:
		m.endSessionLocked()
	case !c.Empty():
		m.writeLocked(c)
	}
}

// applyReadLocked applies the operations among records that a session was catching up
// with. It returns true if the session is over.
func (m *member) applyReadLocked(batch []adapter.Delivery) bool {
	for i := range batch {
		if batch[i].Kind.Operation() {
			m.applyOpLocked(&batch[i], recovery.Change{})
		}
	}
	return m.disconnectedAt != nil
}

// endAfterLocked ends the session after the events up to a position. It detaches a live
// socket, which was sent them, and returns true. The replay sends them to any other, which
// receives no later ones, and ends the session.
func (m *member) endAfterLocked(last adapter.Position) bool {
	switch m.state {
	case live:
		return m.detachLocked(ReasonServerDisconnect)
	case replaying:
		m.socket.namespace.members.remove(m)
	default:
	}
	m.disconnectedAt = &last
	return false
}
