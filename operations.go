package socketio

import (
	"context"
	"errors"
	"log/slog"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// An operation changes the rooms of an audience, or ends its sessions, on all
// nodes, whether their clients are connected or away. It is a record of the log
// like any event, and takes effect at its position there:
//
//   - a node changes its own sockets when it delivers the record;
//   - a session whose client is away, or whose node was killed in between, gets
//     the operations that it lacks applied when the client returns.

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
func (h *hub) applyLocally(e *adapter.Envelope) []*recovery.Outcome {
	h.mu.Lock()
	defer h.mu.Unlock()
	var outcomes []*recovery.Outcome
	h.applyToMembersLocked(&adapter.Delivery{Envelope: e, Offset: h.cursor}, func(m *member, c recovery.Change) {
		outcomes = append(outcomes, h.store.Change(m.key, c))
	})
	return outcomes
}

// disconnectLocally applies a Disconnect that is not in the log. As with
// Socket.Disconnect the clients receive DISCONNECT when the end of the session is
// durable, or ctx has ended: nothing in the log would refuse the session to a client that
// returns before.
func (h *hub) disconnectLocally(ctx context.Context, e *adapter.Envelope) error {
	h.mu.Lock()
	var over []*member
	if n, ok := h.namespaces[e.Namespace]; ok {
		for _, m := range h.membersLocked(n, e.Audience) {
			if !m.disconnectAfterReplayLocked(h.cursor.Position) && m.detachLocked(ReasonServerDisconnect) {
				over = append(over, m)
			}
		}
	}
	h.mu.Unlock()
	for _, m := range over {
		m.socket.discardEvents()
	}
	var first error
	for _, m := range over {
		if err := m.ended.Wait(ctx); err != nil && first == nil && !errors.Is(err, recovery.ErrLost) {
			first = err
		}
		m.socket.notifyDisconnect(&DisconnectError{Reason: ReasonServerDisconnect})
	}
	return first
}

// applyOpLocked applies an operation of the log to the sockets of this node. The
// sessions that are being restored apply it when they are attached.
func (h *hub) applyOpLocked(d *adapter.Delivery) {
	for m := range h.restoring {
		m.pendingOps = append(m.pendingOps, d)
	}
	h.applyToMembersLocked(d, func(m *member, c recovery.Change) {
		if !c.Empty() {
			h.store.Change(m.key, c) // no need to wait: it is in the log
		}
	})
}

// applyToMembersLocked applies an operation to the sockets of this node, and calls change
// with the change of each session, also if it is empty.
func (h *hub) applyToMembersLocked(d *adapter.Delivery, change func(*member, recovery.Change)) {
	n, ok := h.namespaces[d.Namespace]
	if !ok {
		return
	}
	var rooms []string
	if d.Kind != adapter.Disconnect {
		var err error
		if rooms, err = d.RoomList(); err != nil {
			h.logger.Error("operation not decoded", slog.Any("error", err))
			return
		}
	}
	for _, m := range h.membersLocked(n, d.Audience) {
		if c, moved := m.applyAttachedLocked(d, rooms); moved && m.socket.recovers {
			change(m, c)
		}
	}
}

// membersLocked returns the sockets of the audience.
func (h *hub) membersLocked(n *Namespace, a adapter.Audience) []*member {
	h.pass++
	var found []*member
	n.members.each(a, h.pass, func(m *member) { found = append(found, m) })
	return found
}

// applyAttachedLocked applies an operation to an attached socket. It returns the change of
// its session, unless that is over.
func (m *member) applyAttachedLocked(d *adapter.Delivery, rooms []string) (c recovery.Change, moved bool) {
	if d.Kind == adapter.Disconnect {
		if m.disconnectAfterReplayLocked(d.Offset.Position - 1) {
			return c, false
		}
		why := &DisconnectError{Reason: ReasonServerDisconnect}
		m.detachLocked(why.Reason)
		m.hub().afterLocked(func() { m.socket.notifyDisconnect(why) })
		return c, false
	}
	c.At = d.Offset.Position
	if d.Kind == adapter.Join {
		c.Join = rooms
	} else {
		c.Leave = rooms
	}
	m.applyLocked(&c)
	return c, true
}

// disconnectAfterReplayLocked has a socket that receives a replay disconnected after it.
// For other sockets it does nothing and returns false.
func (m *member) disconnectAfterReplayLocked(before adapter.Position) bool {
	if m.state == replaying {
		m.disconnectedAt = &before
		m.socket.namespace.members.remove(m)
	}
	return m.state == replaying
}

// trackOpsLocked collects the operations of the log for the socket's record, from the
// cursor on, until the socket is attached or detached.
func (m *member) trackOpsLocked() {
	m.hub().restoring[m] = struct{}{}
}

// applyPendingLocked applies the operations that were delivered while the session was
// being restored.
func (m *member) applyPendingLocked() {
	for _, d := range m.pendingOps {
		m.applyOpLocked(m.record, d)
	}
	m.pendingOps = nil
}

// applyOpLocked applies a record of the log to a session that is being restored, here and
// in the store.
func (m *member) applyOpLocked(session *recovery.Session, d *adapter.Delivery) {
	if m.disconnectedAt != nil {
		return
	}
	c, over := session.Apply(d)
	if over {
		m.disconnectedAt = new(d.Offset.Position - 1)
	}
	if !c.Empty() {
		// No need to wait: until it is written, the store reports that it may be missing.
		m.hub().store.Change(session.Key, c)
	}
}
