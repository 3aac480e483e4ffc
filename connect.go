package socketio

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/packet"
	"github.com/pgsocket/socketio/recovery"
	"github.com/pgsocket/socketio/transport"
)

// This file contains the path from a CONNECT packet to a socket that receives
// events. It is the same for new and for returning clients, see connect:
//
//	identify        get the client's identity from the application
//	acquire         wait for one of Options.ConnectsAtOnce permits
//	resume          claim the session that the client names, if any
//	catchUp         apply the operations of the log that the session lacks, up to the
//	                cursor; from then on they are applied when they are delivered
//	runMiddlewares  run the application's connection middleware
//	awaitMoved      wait until the former node of the session may send nothing more
//	open            create a session, unless one was claimed; it is durable then
//	                (and publishHistories: the joins with a history that middleware asked for)
//	sendConnect     answer CONNECT
//	replay          send the records for the session up to the cursor, in parts; before the
//	                last part, attach the socket at the cursor, under the lock that moves
//	                it: live messages wait in the replayBuffer
//	flushBuffered   send the buffered messages; the socket is live
//	runOnConnect    run the application's OnConnect
//
// The replay covers (From, P], the live records cover (P, ∞), where P is the cursor
// at the moment of the attachment. Unlike in the official server the answer to
// CONNECT comes before the replay. An official client processes events after
// CONNECT at once and advances its offset. It only buffers events before CONNECT
// and keeps them when the connection breaks, so an interrupted replay would be
// delivered twice.

// shortReplay is how many records the last part of a replay may have read
// before the socket is attached.
const shortReplay = 256

func newSocket(c *conn, n *Namespace, auth []byte) *Socket {
	ctx, cancel := context.WithCancelCause(c.base)
	s := &Socket{id: newSocketID(), namespace: n, conn: c, auth: auth, ctx: ctx, cancel: cancel}
	s.member.socket, s.member.record = s, &recovery.Session{}
	return s
}

// newID returns 20 characters that cannot be guessed: the private id of a
// session is all that a client needs to recover it.
func newID() string {
	var b [15]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// connect is the first step of the socket's timeline. The client claims a session if
// it is returning.
func (s *Socket) connect(request recovery.ResumeRequest, back bool) {
	ctx, end := s.startConnect()
	defer end()
	s.connectIn(ctx, request, back)
}

// connectIn is connect in the context of its span.
func (s *Socket) connectIn(traced context.Context, request recovery.ResumeRequest, back bool) {
	server := s.namespace.server
	s.clientOffset = validOffset(request.Offset)
	ctx, cancel := context.WithTimeoutCause(traced, server.opts.ConnectTimeout, errConnectTimeout)
	defer cancel()
	began := time.Now()

	if err := s.ensureNamespace(ctx); err != nil {
		s.reject(ctx, "namespace not resolved", err)
		return
	}
	if err := s.decideRecovery(); err != nil {
		s.drop("opt-out of recovery failed", err)
		return
	}
	if err := s.identify(ctx, &request); err != nil {
		s.reject(ctx, "client not identified", err)
		return
	}
	defer s.release()
	if err := s.acquire(ctx, server.claimPermits); err != nil {
		s.drop("socket not connected", err)
		return
	}
	session, err := s.resume(ctx, request, back)
	if err != nil {
		s.drop("session not claimed", err)
		return
	}
	s.release()
	if err := s.runMiddlewares(ctx); err != nil {
		s.reject(ctx, "middleware failed", err)
		return
	}
	err = s.enter(ctx, session, request.Offset)
	s.connectErr = err
	switch {
	case errors.Is(err, errDisconnectedByOperation):
		if err := s.endSession(ctx, nil); err != nil {
			s.log(slog.LevelDebug, "end of the session not confirmed", slog.Any("error", err))
		}
		return
	case err != nil:
		s.drop("socket not connected", err)
		return
	}
	if r := s.Recovery(); r.Recovered {
		server.counters.restoration(r, time.Since(began))
	}
	s.conn.joined()
	s.release()
	s.runOnConnect(traced)
}

// enter connects the socket, with the session that it has claimed or a new one.
func (s *Socket) enter(ctx context.Context, session *recovery.Session, offset string) error {
	if err := s.acquire(ctx, s.namespace.server.connectPermits); err != nil {
		return err
	}
	if !s.recovers {
		if err := s.attach(); err != nil {
			return err
		}
		return s.publishHistories(ctx)
	}
	if session == nil {
		var err error
		if session, err = s.open(ctx, offset); err != nil {
			return err
		}
	}
	return s.restore(ctx, session)
}

// resume claims the session that the client names. It returns nil without one,
// or when continuity cannot be proven; an error when the store fails.
func (s *Socket) resume(ctx context.Context, request recovery.ResumeRequest, back bool) (*recovery.Session, error) {
	h := s.hub()
	if !s.recovers || !back {
		return nil, nil
	}
	h.beginClaim(request.PIDHash)
	defer h.endClaim(request.PIDHash)
	if old := h.owner(request); old != nil && old.namespace == s.namespace {
		// The client returned before the server noticed that its old connection is
		// dead. The old socket has the latest progress of the client.
		ended := old.detach(&DisconnectError{Reason: ReasonTransportClose})
		old.conn.session.Abort(transport.ReasonTransportClose)
		_ = ended.Wait(ctx)
	}
	session, err := h.store.Resume(ctx, request)
	if reason := recovery.RefusalReason(err); reason != nil {
		s.notRecovered(reason)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if session.OwnedElsewhere {
		err = s.publishMoved(ctx, session.Key)
	}
	if !h.claim(s, session) {
		return nil, recovery.ErrLost
	}
	if err != nil {
		return nil, err
	}
	if h.tooMany(session.PIDHash, session.From) {
		return nil, s.startAnew(recovery.ErrRepeated)
	}
	data := session.Data // before catchUp is over: then the record changes under the lock
	switch err := s.catchUp(ctx, session); {
	case errors.Is(err, errDisconnectedByOperation):
		return nil, s.startAnew(recovery.ErrOver)
	case err != nil:
		return nil, err
	}
	s.id = SocketID(session.ID)
	s.result = RecoveryResult{Recovered: true}
	for name, raw := range data {
		s.putData(name, &dataValue{raw: raw})
	}
	return session, nil
}

// decideRecovery decides whether the client can recover later.
func (s *Socket) decideRecovery() error {
	server := s.namespace.server
	s.recovers = server.hub.store != nil
	optOut := server.opts.Recovery.OptOut
	if !s.recovers || optOut == nil {
		return nil
	}
	return protect(func() error {
		s.recovers = !optOut(s.namespace.name, s.Handshake())
		return nil
	})
}

// startAnew ends the session that was claimed; the client gets a new one.
func (s *Socket) startAnew(reason error) error {
	if !s.hub().release(&s.member) {
		return s.departure()
	}
	s.notRecovered(reason)
	return nil
}

// notRecovered records and logs why a client cannot recover its session.
func (s *Socket) notRecovered(reason error) {
	s.result = RecoveryResult{Reason: reason}
	s.namespace.server.counters.refusal(reason)
	s.log(slog.LevelInfo, "session not recovered", slog.String("reason", reason.Error()))
}

// catchUp applies the operations of the log that the session's record may lack, up to the
// cursor. It returns errDisconnectedByOperation if one of them ended the session; one that
// was delivered meanwhile ends it after the replay.
func (s *Socket) catchUp(ctx context.Context, session *recovery.Session) error {
	h := s.hub()
	// The former owner of the session may have been ahead of this node in the log.
	if err := h.wait(ctx, session.MaxPosition()); err != nil {
		return err
	}
	for batch, err := range s.namespace.server.opts.Adapter.Read(ctx, session.Applied, h.position()) {
		if err != nil {
			return err
		}
		h.mu.Lock()
		over := s.member.applyReadLocked(batch)
		h.mu.Unlock()
		if over {
			return errDisconnectedByOperation
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s.member.applyReadLocked(s.member.pendingOps)
	s.member.catchingUp, s.member.pendingOps = false, nil
	s.member.replayedTo = session.From
	return nil
}

// errDisconnectedByOperation ends the restoring of a session that an operation disconnected.
var errDisconnectedByOperation = errors.New("disconnected by the server")

// publishMoved notifies the other nodes, through the log, that the session has a new
// owner: also if the socket is gone meanwhile, because the former owner is not notified
// otherwise.
func (s *Socket) publishMoved(ctx context.Context, k recovery.Key) error {
	payload, err := json.Marshal(sessionMoved{PIDHash: k.PIDHash, Epoch: k.Epoch})
	if err != nil {
		return err
	}
	server := s.namespace.server
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), server.opts.EmitTimeout, errEmitTimeout)
	defer cancel()
	_, err = server.opts.Adapter.Publish(ctx, &adapter.Envelope{
		Kind: adapter.SessionMoved, Namespace: s.namespace.name, Payload: payload,
	})
	return err
}

// awaitMoved waits until this node has read its own SessionMoved, if it has published one.
// The former owner delivers the log up to there to the client, and this node what follows:
// at no position of the log is the socket on two nodes. Otherwise, if this node is behind
// the former one, both would send the client the same request or volatile event.
func (s *Socket) awaitMoved(ctx context.Context, session *recovery.Session) error {
	if !session.OwnedElsewhere {
		return nil
	}
	return s.namespace.server.opts.Adapter.WaitDelivered(ctx)
}

// runMiddlewares runs the connection middleware and returns the first error.
func (s *Socket) runMiddlewares(ctx context.Context) error {
	if s.result.Recovered && s.namespace.server.opts.Recovery.SkipMiddlewares {
		return nil
	}
	for _, middleware := range s.namespace.table.Load().middlewares {
		if err := protect(func() error { return middleware(ctx, s) }); err != nil {
			return err
		}
	}
	return nil
}

// reject refuses the client. An *Error is the application's decision, and final: it ends
// the session of a returning client, and reject waits until that is durable. After any
// other error it closes the connection, as after a failed OnConnect: the client may try
// again, while official clients do not retry after a CONNECT_ERROR.
func (s *Socket) reject(ctx context.Context, what string, err error) {
	s.connectErr = err
	if s.ctx.Err() != nil { // the client is gone
		s.log(slog.LevelDebug, "refusal not sent", slog.Any("error", err))
		return
	}
	if _, decided := publicError(err); !decided {
		s.drop(what, err)
		return
	}
	if s.result.Recovered {
		s.notRecovered(recovery.ErrRejected)
	}
	if err := s.endSession(ctx, err); err != nil {
		s.log(slog.LevelDebug, "end of the session not confirmed", slog.Any("error", err))
	}
}

// drop closes the connection: the client keeps its session, and tries again. It does
// nothing for a socket that was detached meanwhile.
func (s *Socket) drop(what string, err error) {
	s.connectErr = err
	s.cut(what, err)
}

// cut is drop for a socket that has been connected, from any goroutine.
func (s *Socket) cut(what string, err error) {
	h := s.hub()
	h.mu.Lock()
	gone := s.member.state == detached
	h.mu.Unlock()
	if gone {
		return
	}
	s.log(slog.LevelWarn, what, slog.Any("error", err))
	s.detach(&DisconnectError{Reason: ReasonTransportError, Err: err})
	s.conn.session.Abort(transport.ReasonTransportError)
}

// open creates a session, with the rooms and data that the middleware set.
func (s *Socket) open(ctx context.Context, offset string) (*recovery.Session, error) {
	server := s.namespace.server
	// The session begins after what this node has emitted so far, and after what its
	// client has received already.
	if err := server.admit(ctx); err != nil {
		return nil, err
	}
	if err := s.waitClientOffset(ctx, offset); err != nil {
		return nil, err
	}
	h := server.hub
	h.mu.Lock()
	if s.member.state == detached {
		h.mu.Unlock()
		return nil, s.departure()
	}
	if s.start != nil && s.startTimeline != h.timeline {
		h.mu.Unlock()
		return nil, errLogTruncated // the client tries again, and the middleware runs again
	}
	session := s.member.record
	s.pid = newID()
	session.Key = recovery.Key{PIDHash: recovery.HashPID(s.pid), Epoch: 1}
	session.Identity = recovery.HashIdentity(s.pid, s.identity)
	session.ID, session.Namespace = string(s.id), s.namespace.name
	session.Window = server.opts.Recovery.Window
	session.Opened, session.Applied = h.cursor.Position, h.cursor.Position
	session.InitialOffset = validOffset(offset)
	if s.start != nil {
		session.Opened, session.Skip = s.start.After, s.start.Skip
	}
	session.From = session.Opened
	session.StartRooms(session.Opened)
	// From here on changes are written, after the session itself.
	opened := h.store.Open(session.Clone())
	h.ownLocked(&s.member, session)
	h.mu.Unlock()
	server.counters.opened.Add(1)
	return session, opened.Wait(ctx)
}

// waitClientOffset waits until this node has read the record whose offset the client
// presents, if there is one. Else the client would receive again what it received in its
// former session, and its offset could belong to either session.
func (s *Socket) waitClientOffset(ctx context.Context, offset string) error {
	h := s.hub()
	o, _ := adapter.ParseOffset(offset) // zero if it is malformed: every node has read up to there
	if o.Position <= h.position() {
		return nil
	}
	if logged, err := s.namespace.server.logged(ctx, o); err != nil || !logged {
		return err
	}
	return h.wait(ctx, o.Position)
}

// logged reports whether the log still has a record with this offset.
func (s *Server) logged(ctx context.Context, o adapter.Offset) (bool, error) {
	for batch, err := range s.opts.Adapter.Read(ctx, o.Position-1, o.Position) {
		switch {
		case errors.Is(err, adapter.ErrTrimmed):
			return false, nil
		case err != nil:
			return false, err
		case slices.ContainsFunc(batch, func(d adapter.Delivery) bool { return d.Offset == o }):
			return true, nil
		}
	}
	return false, nil
}

// validOffset returns the offset that a client presents, or "" if it is malformed: the
// auth object may contain anything in its place.
func validOffset(s string) string {
	if _, err := adapter.ParseOffset(s); err != nil {
		return ""
	}
	return s
}

// restore answers CONNECT, replays what the session missed and attaches it.
func (s *Socket) restore(ctx context.Context, session *recovery.Session) error {
	if err := s.awaitMoved(ctx, session); err != nil {
		return err
	}
	h := s.hub()
	if err := s.publishHistories(ctx); err != nil {
		return err
	}
	if s.start != nil {
		// The state that the application read may be ahead of this node.
		h.mu.Lock()
		position := session.MaxPosition() // under the lock: the application may change the rooms
		h.mu.Unlock()
		if err := h.wait(ctx, position); err != nil {
			return err
		}
	}
	answer, err := s.connectAnswer()
	if err != nil {
		return err
	}
	h.mu.Lock()
	err = s.sendConnectLocked(answer)
	h.mu.Unlock()
	if err != nil {
		return err
	}
	from := session.From
	for read := shortReplay; ; {
		part, err := s.nextPart(read < shortReplay)
		if err != nil {
			return err
		}
		pace := s.drainedThenAcquire
		if part.last {
			pace = s.drained // live messages may be buffered, so do not wait for a permit
		}
		if read, err = s.replay(ctx, part, from, pace); err != nil {
			return err
		}
		switch {
		case part.over:
			return errDisconnectedByOperation
		case part.last:
			return s.flushBuffered(ctx, s.drained)
		}
		from = part.to
	}
}

// A replayPart is a part of a replay.
type replayPart struct {
	to      adapter.Position
	session *recovery.Session // the rooms up to there
	last    bool
	over    bool // an operation has ended the session
}

// nextPart returns the next part of the replay, up to the cursor. If it is to be the last,
// the socket is attached there: live messages are buffered until flushBuffered. The part of
// a session that an operation has ended is the last in any case, and ends before.
func (s *Socket) nextPart(last bool) (replayPart, error) {
	h, m := s.hub(), &s.member
	h.mu.Lock()
	defer h.mu.Unlock()
	if m.state == detached {
		return replayPart{}, s.departure()
	}
	part := replayPart{to: h.cursor.Position, session: m.record.Snapshot(), last: last}
	switch {
	case m.disconnectedAt != nil:
		part.to, part.last, part.over = *m.disconnectedAt, true, true
	case last:
		m.attachLocked(replaying)
	}
	return part, nil
}

// replay sends what was addressed to the session in a part of the log that begins after
// from, at the pace of the connection, and returns how many records it read.
func (s *Socket) replay(
	ctx context.Context, part replayPart, from adapter.Position, pace func(context.Context) error,
) (read int, err error) {
	server := s.namespace.server
	for batch, err := range server.opts.Adapter.Read(ctx, from, part.to) {
		if err != nil {
			return read, err
		}
		read += len(batch)
		for i := range batch {
			d := &batch[i]
			if !part.session.Matches(d) {
				continue
			}
			if err := s.replayRecord(ctx, d, part.session, pace); err != nil {
				return read, err
			}
		}
	}
	server.hub.mu.Lock()
	s.member.replayedTo = max(s.member.replayedTo, part.to)
	server.hub.mu.Unlock()
	return read, nil
}

// replayRecord sends what the session receives for a record.
func (s *Socket) replayRecord(
	ctx context.Context, d *adapter.Delivery, session *recovery.Session, pace func(context.Context) error,
) error {
	if err := pace(ctx); err != nil {
		return err
	}
	events := []*delivery{{Envelope: d.Envelope, offset: d.Offset}}
	if d.Kind.Answers() {
		var err error
		in := func(room string) bool { return session.WasIn(room, d.Offset.Position) }
		if events, err = s.answersTo(ctx, d, in); err != nil {
			return err
		}
	}
	size := 0
	for _, o := range events {
		for _, m := range o.encodeFor(s) {
			size += m.Len()
		}
	}
	s.recordReplayed(d.Offset, size)
	for i, o := range events {
		if i > 0 {
			if err := pace(ctx); err != nil {
				return err
			}
		}
		if err := s.conn.session.Send(o.encodeFor(s)...); err != nil {
			return err
		}
		if s.result.Recovered {
			s.replayed.Add(1)
		}
	}
	return nil
}

// recordReplayed records the progress of a replay, before the events of a record are sent.
func (s *Socket) recordReplayed(o adapter.Offset, size int) {
	h := s.hub()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.replayedLocked(s.member.key.PIDHash, o.Position, size)
	s.member.replayedTo = o.Position
	if s.member.last.Position < o.Position {
		s.member.last = o
	}
}

// connectAnswer returns the answer to CONNECT.
func (s *Socket) connectAnswer() ([]*transport.Message, error) {
	body := struct {
		SID SocketID `json:"sid"`
		PID string   `json:"pid,omitempty"`
	}{s.id, s.pid}
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return s.messages(&packet.Packet{Type: packet.Connect}, payload{json: data})
}

// sendConnectLocked answers CONNECT, unless the socket is detached. From here on the
// client may return to its session.
func (s *Socket) sendConnectLocked(answer []*transport.Message) error {
	if s.member.state == detached {
		return s.departure()
	}
	s.acks.ids = newAckIDs(s.id, s.member.key.Epoch)
	s.connected.Store(true)
	return s.sendMessages(answer)
}

// attach makes a socket that does not recover a member of its namespace.
func (s *Socket) attach() error {
	answer, err := s.connectAnswer()
	if err != nil {
		return err
	}
	h := s.hub()
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := s.sendConnectLocked(answer); err != nil {
		return err
	}
	s.member.attachLocked(live)
	return nil
}

func (m *member) attachLocked(as memberState) {
	m.socket.namespace.members.add(m)
	in := map[string]bool{string(m.socket.id): true}
	for _, interval := range m.record.Rooms {
		if !interval.Ended && !in[interval.Room] {
			in[interval.Room] = true
			m.socket.namespace.members.join(m, Room(interval.Room))
		}
	}
	delete(m.hub().restoring, m)
	m.truncations = m.hub().truncations
	m.record, m.state = nil, as
}

// runOnConnect runs the application's OnConnect.
func (s *Socket) runOnConnect(ctx context.Context) {
	if err := s.namespace.server.presences.begin(s, s.namespace.server.opts.ConnectTimeout); err != nil {
		if s.ctx.Err() != nil {
			s.namespace.server.presences.end(s)
			return
		}
		s.log(slog.LevelError, "OnConnect runs before OnDisconnect of the former connection", slog.Any("error", err))
	}
	s.onConnectRan = true
	for _, onConnect := range s.namespace.table.Load().onConnect {
		if err := protect(func() error { return onConnect(ctx, s) }); err != nil {
			s.connectFailed(err)
			return
		}
	}
}

// connectFailed ends a socket whose OnConnect failed. An *Error is the application's
// decision, and final; after any other error the client may try again.
func (s *Socket) connectFailed(err error) {
	s.connectErr = err
	if _, ok := publicError(err); ok {
		ctx, cancel := context.WithTimeoutCause(s.ctx, s.namespace.server.opts.ConnectTimeout, errConnectTimeout)
		defer cancel()
		if err := s.endSession(ctx, err); err != nil {
			s.log(slog.LevelDebug, "end of the session not confirmed", slog.Any("error", err))
		}
		return
	}
	s.drop("connect handler failed", err)
}
