package socketio

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
	"github.com/pgsocket/socketio/transport"
)

// A hub delivers the log to the sockets of this node: it has the cursor and the
// members of all rooms. One lock guards all of it, because a socket that is
// attached at the cursor must receive exactly the records after it.
//
// Nothing blocks and no user code runs under the lock: functions that may do either
// wait in after. Adapters take the lock while they hold their own locks, so no
// method of the adapter is called under it. The store's Change and End are called
// under it, so that their order is the order of the hub.
type hub struct {
	server  *Server
	id      string         // of this node, see adapter.Local
	store   recovery.Store // nil without recovery
	expired *callbackQueue[*ExpiredSession]
	logger  *slog.Logger
	traced  *callbackQueue[tracedDelivery] // nil without a Tracer

	mu           sync.Mutex
	cursor       adapter.Offset
	timeline     int  // incremented when the log has lost its end, or the node its position in it
	truncations  int  // how often the log has lost its end
	begun        bool // deliveries have begun, so the cursor is valid
	waiters      []waiter
	namespaces   map[string]*Namespace
	children     children               // of these
	sessions     map[string]*member     // by the hash of the private id, attached or being restored
	claims       map[string]*claimState // by hash, of the sessions with claims in progress
	restoring    map[*member]struct{}   // own a session, and are not attached yet
	pass         uint64                 // numbers the deliveries, to give each socket an event once
	repeats      allRepeats
	pendingCalls map[uint64]*pendingCall // of this node, that wait for answers
	serverEvents serverEventQueue
	releases     releases
	after        []func() // called when the lock is released
}

// afterLocked has f called when the lock is released. Shutdown waits for it.
func (h *hub) afterLocked(f func()) {
	h.server.work.start()
	h.after = append(h.after, f)
}

// unlock releases the lock where afterLocked may have been called.
func (h *hub) unlock() {
	after := h.after
	h.after = nil
	h.mu.Unlock()
	for _, f := range after {
		f()
		h.server.work.done()
	}
}

type waiter struct {
	position adapter.Position
	reached  chan struct{}
}

// A delivery is a record that is being delivered, encoded once for all sockets that
// recover, and once for all others.
type delivery struct {
	*adapter.Envelope

	offset   adapter.Offset
	since    int                  // for sockets that became members after so many truncations; zero: for all
	unmarked bool                 // without its offset for all clients
	messages []*transport.Message // with its offset, for clients that recover
	plain    []*transport.Message // without
	event    *OutgoingEvent       // for OnAnyOutgoing; nil until it is needed
	sockets  int                  // that it was addressed to
}

func (o *delivery) outgoingEvent() *OutgoingEvent {
	if o.event == nil {
		o.event = newOutgoingEvent(o.Payload, o.Attachments)
	}
	return o.event
}

// start sets the cursor to the beginning of deliveries, unless they have begun.
func (h *hub) start(at adapter.Offset) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.begun {
		h.begun, h.cursor = true, at
	}
}

// everyLocked returns all members of the node that are attached, or that own a
// session and will be.
func (h *hub) everyLocked() []*member {
	var all []*member
	for _, n := range h.namespaces {
		all = append(all, n.members.all.sockets...)
	}
	for _, m := range h.sessions {
		if len(m.memberships.list) == 0 { // not in its namespace
			all = append(all, m)
		}
	}
	return all
}

// ID implements adapter.Local.
func (h *hub) ID() string { return h.id }

// Deliver implements adapter.Local.
func (h *hub) Deliver(batch []adapter.Delivery) {
	h.mu.Lock()
	defer h.unlock()
	for i := range batch {
		d := &batch[i]
		switch d.Kind {
		case adapter.Event, adapter.Volatile:
			h.deliverEventLocked(d)
		case adapter.SessionMoved:
			h.sessionMovedLocked(d.Payload)
		case adapter.Join, adapter.Leave, adapter.Disconnect:
			h.applyOpLocked(d)
		case adapter.Request, adapter.Answer, adapter.NodeLeft:
			h.forServerLocked(d)
		}
		h.begun, h.cursor = true, d.Offset
	}
	h.wakeLocked()
}

// forServerLocked handles a record that is for the server of this node, not for sockets.
func (h *hub) forServerLocked(d *adapter.Delivery) {
	switch d.Kind { //nolint:exhaustive // Deliver handles what is for sockets
	case adapter.Request:
		h.requestedLocked(d)
	case adapter.Answer:
		h.responseLocked(d)
	case adapter.NodeLeft:
		h.nodeLeftLocked(d)
	}
}

// sinceLocked returns the number of truncations after which a socket must have become a member to be given d; zero for all
// sockets. See adapter.Delivery.
func (h *hub) sinceLocked(d *adapter.Delivery) int {
	if d.Redelivery == 0 {
		return 0
	}
	return max(h.truncations-d.Redelivery+1, 0)
}

// deliverLocal delivers an event that is not in the log. It repeats the offset of the
// cursor: earlier records were queued before it, and a client takes the last string of
// any event for its offset. If the cursor moves while a parser encodes the event, it is
// encoded again, and after some attempts without an offset, so that a parser that
// publishes each time does not cause an endless loop: clients keep the offset that they
// have. A client that takes the last string of such an event for its offset gets a new
// session when it returns.
func (h *hub) deliverLocal(e *adapter.Envelope) {
	const attempts = 100
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range attempts {
		o := &delivery{Envelope: e, offset: h.cursor, unmarked: i == attempts-1}
		n := h.encodeLocked(o)
		if o.unmarked || o.offset == h.cursor {
			h.sendLocked(n, o)
			return
		}
	}
}

// fanOutLocked sends a record to its audience. Records keep their order, because the
// cursor does not move while the lock is released.
func (h *hub) fanOutLocked(o *delivery) { h.sendLocked(h.encodeLocked(o), o) }

// encodeLocked encodes o for all of its audience, and returns the namespace: nil if
// there is none. It releases the lock while a parser, which is user code, encodes o.
func (h *hub) encodeLocked(o *delivery) *Namespace {
	for {
		n := h.namespaces[o.Namespace]
		if n == nil || h.server.opts.Parser == nil {
			return n // without a parser it is encoded as it is sent
		}
		members := h.membersLocked(o.Envelope)
		i := slices.IndexFunc(members, func(m *member) bool { return !o.encodedFor(m.socket) })
		if i < 0 {
			return n
		}
		h.mu.Unlock()
		o.encodeFor(members[i].socket)
		h.mu.Lock()
	}
}

func (h *hub) sendLocked(n *Namespace, o *delivery) {
	if n == nil {
		return
	}
	h.pass++
	ended := 0
	n.members.each(o.Audience, h.pass, func(m *member) {
		switch {
		case m.truncations >= o.since:
			m.takeLocked(o)
		case o.Kind != adapter.Volatile && m.endSessionLocked():
			ended++
		}
	})
	if ended > 0 {
		h.afterLocked(func() {
			h.logger.Warn("sessions ended, because the log has an event again that their clients have received; the clients stay connected, and begin new sessions when they return",
				slog.Int("sessions", ended))
		})
	}
}

// takeLocked sends o to an attached socket, or buffers it behind a replay.
func (m *member) takeLocked(o *delivery) {
	o.sockets++
	if o.Kind == adapter.Volatile {
		if m.state == replaying || !m.socket.conn.session.TrySend(o.encodeFor(m.socket)...) {
			return
		}
	} else {
		m.queueLocked(o.encodeFor(m.socket))
	}
	// Also after a failure: last is what was addressed to the session, and a client
	// that has not received it does not present this offset.
	if !o.unmarked {
		m.last = o.offset
	}
	m.socket.queueOutgoing(o.outgoingEvent)
}

// queueLocked sends messages to an attached socket, behind a replay if there is
// one.
func (m *member) queueLocked(messages []*transport.Message) {
	switch {
	case m.state != replaying:
		// A failure ends the connection, and its reader detaches the socket.
		_ = m.socket.conn.session.Send(messages...)
	case !m.buffered.add(messages, &m.socket.namespace.server.opts):
		m.socket.conn.session.Abort(transport.ReasonSlowConsumer)
	}
}

// LogTruncated implements adapter.Local.
func (h *hub) LogTruncated(at adapter.Offset) {
	h.mu.Lock()
	defer h.unlock()
	h.truncations++
	h.logTruncatedLocked(at)
	h.voidClaimsLocked()
	for _, m := range h.sessions {
		if m.state != live {
			// The positions of its replay refer to records that the log has lost.
			m.dropLocked(&DisconnectError{Reason: ReasonNodeReset, Err: errLogTruncated})
		}
	}
}

// errLogTruncated is why sockets that were being restored are dropped.
var errLogTruncated = errors.New("the log has lost its end")

// logTruncatedLocked lowers all positions to the end of the log: once the log has grown
// again, a higher one would refer to other records, and those would be missed.
func (h *hub) logTruncatedLocked(at adapter.Offset) {
	h.timeline++
	if at.Position < h.cursor.Position {
		h.cursor = at
	}
	clear(h.repeats.of)
	for _, m := range h.sessions {
		m.replayedTo = min(m.replayedTo, at.Position)
	}
	for _, q := range h.pendingCalls {
		q.read, q.upTo = min(q.read, at.Position), min(q.upTo, at.Position)
	}
	w := &h.serverEvents
	w.from, w.upTo = min(w.from, at.Position), min(w.upTo, at.Position)
}

// LogGap implements adapter.Local.
func (h *hub) LogGap(at adapter.Offset, cause error) {
	h.mu.Lock()
	defer h.unlock()
	h.logTruncatedLocked(at)
	h.voidClaimsLocked()
	all := h.everyLocked()
	for _, m := range all {
		m.dropLocked(&DisconnectError{Reason: ReasonNodeReset, Err: cause})
	}
	h.begun, h.cursor = true, at
	h.wakeLocked()
	h.logger.Error("node reset: all clients disconnected",
		slog.Int("dropped", len(all)), slog.Any("error", cause))
}

// Checkpoint implements recovery.Node.
func (h *hub) Checkpoint(quiet adapter.Position) (adapter.Position, []recovery.Progress) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var changed []recovery.Progress
	for _, m := range h.sessions {
		if m.state != live { // the client has not received the replay up to the cursor
			continue
		}
		now := checkpointState{written: true, busy: quiet != recovery.All && m.last.Position > quiet}
		if !now.busy {
			now.last = m.last
		}
		if now != m.checkpointState || quiet == recovery.All {
			m.checkpointState = now
			changed = append(changed, recovery.Progress{Key: m.key, Busy: now.busy, Last: now.last})
		}
	}
	return h.cursor.Position, changed
}

// A checkpointState is the progress of a client that the store received last.
type checkpointState struct {
	written bool
	busy    bool
	last    adapter.Offset
}

// A sessionMoved is the payload of adapter.SessionMoved.
type sessionMoved struct {
	PIDHash string `json:"pid_hash"`
	Epoch   int64  `json:"epoch"`
}

func (h *hub) sessionMovedLocked(payload []byte) {
	var e sessionMoved
	if json.Unmarshal(payload, &e) != nil {
		return // of a later version; epochs protect the session in any case
	}
	h.epochSeenLocked(recovery.Key{PIDHash: e.PIDHash, Epoch: e.Epoch})
	if m, ok := h.sessions[e.PIDHash]; ok && m.key.Epoch < e.Epoch {
		m.dropLocked(&DisconnectError{Reason: ReasonTakenOver})
	}
}

func (h *hub) ownLocked(m *member, session *recovery.Session) {
	m.key, m.boundIdentity, m.record = session.Key, session.Identity, session
	m.socket.presenceKey = session.PIDHash
	m.last, m.replayedTo = session.Last, min(session.From, session.Applied)
	h.sessions[session.PIDHash] = m
	h.restoring[m] = struct{}{}
}

// release ends the session that m owns; the socket continues without one.
func (h *hub) release(m *member) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m.state == detached {
		return false
	}
	m.endSessionLocked()
	m.ended, m.socket.presenceKey = nil, "" // a new one may follow
	delete(h.restoring, m)
	m.catchingUp, m.pendingOps, m.disconnectedAt = false, nil, nil
	m.record, m.last, m.replayedTo = &recovery.Session{}, adapter.Offset{}, 0
	return true
}

// endSessionLocked ends the session that m owns, and reports whether it owned one; the socket continues without. So does a
// socket that is not given an event again which the log had lost: with an offset before the place at which the log has it now,
// a replay would send it twice.
func (m *member) endSessionLocked() bool {
	if m.key == (recovery.Key{}) {
		return false
	}
	h := m.hub()
	m.ended = h.endLocked(m.key, recovery.Release{})
	delete(h.repeats.of, m.key.PIDHash)
	if h.sessions[m.key.PIDHash] == m {
		delete(h.sessions, m.key.PIDHash)
	}
	m.key, m.boundIdentity, m.checkpointState = recovery.Key{}, "", checkpointState{}
	return true
}

// owner returns the socket of this node that owns the requested session, if there is
// one and the identity of the request fits.
func (h *hub) owner(c recovery.ResumeRequest) *Socket {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m, ok := h.sessions[c.PIDHash]; ok && c.Fits(m.boundIdentity) {
		return m.socket
	}
	return nil
}

// currentTimeline returns the timeline, which changes when positions become invalid.
func (h *hub) currentTimeline() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.timeline
}

// position returns the cursor's position.
func (h *hub) position() adapter.Position {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cursor.Position
}

// wait returns nil when the cursor has reached p.
func (h *hub) wait(ctx context.Context, p adapter.Position) error {
	h.mu.Lock()
	if h.cursor.Position >= p {
		h.mu.Unlock()
		return nil
	}
	reached := make(chan struct{})
	h.waiters = append(h.waiters, waiter{p, reached})
	h.mu.Unlock()
	select {
	case <-reached:
		return nil
	case <-ctx.Done():
		h.mu.Lock()
		h.waiters = slices.DeleteFunc(h.waiters, func(w waiter) bool { return w.reached == reached })
		h.mu.Unlock()
		return context.Cause(ctx)
	}
}

func (h *hub) wakeLocked() {
	h.waiters = slices.DeleteFunc(h.waiters, func(w waiter) bool {
		if w.position > h.cursor.Position {
			return false
		}
		close(w.reached)
		return true
	})
}

// socketLocked returns the socket with the id, if it is connected to the namespace on this
// node.
func (h *hub) socketLocked(namespace string, id SocketID) *Socket {
	if n := h.namespaces[namespace]; n != nil {
		if m, ok := n.members.byID[id]; ok {
			return m.socket
		}
	}
	return nil
}

// socket is socketLocked without the lock.
func (h *hub) socket(namespace string, id SocketID) *Socket {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.socketLocked(namespace, id)
}

// snapshot returns the sockets that are connected to n.
func (h *hub) snapshot(n *Namespace) []*Socket {
	h.mu.Lock()
	defer h.mu.Unlock()
	return socketsOf(n.members.all.sockets)
}
