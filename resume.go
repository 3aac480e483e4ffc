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

// This file is the road from a CONNECT packet to a socket that receives, the
// same for new and for returning clients:
//
//	identity ask the application whose the client is
//	turn     wait until few others are on this road
//	claim    the session that the client names, or none
//	catch up what operations did to it while nobody held it
//	gates    ask the application
//	open     a new session, unless one was claimed: durable from here on
//	CONNECT  the client knows
//	replay   what was addressed to the session up to the cursor
//	attach   at the cursor, under the lock that moves it; live records queue up
//	         behind the last part of the replay
//
// The replay covers (From, P], the live records cover (P, ∞), P being the cursor
// at the moment of the attachment. CONNECT goes first, unlike in the official
// server: its client processes what comes after CONNECT at once and moves its
// offset with it, while it only collects what comes before, and keeps that when
// the line breaks, so that a replay cut in the middle would be doubled.

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
// session is all that a client needs to come back.
func newID() string {
	var b [15]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// connect is the first step of the socket's timeline. The client claims a session if
// it was there before.
func (s *Socket) connect(claim recovery.ResumeRequest, back bool) {
	server := s.namespace.server
	s.clientOffset = validOffset(claim.Offset)
	ctx, cancel := context.WithTimeoutCause(s.ctx, server.opts.ConnectTimeout, errConnectTimeout)
	defer cancel()
	began := time.Now()

	if err := s.ensureNamespace(ctx); err != nil {
		s.reject(ctx, "namespace not decided on", err)
		return
	}
	if err := s.decideRecovery(); err != nil {
		s.drop("recovery not decided on", err)
		return
	}
	if err := s.identify(ctx, &claim); err != nil {
		s.reject(ctx, "client not identified", err)
		return
	}
	defer s.release()
	if err := s.acquire(ctx, server.claimPermits); err != nil {
		s.drop("socket not connected", err)
		return
	}
	session, err := s.resume(ctx, claim, back)
	if err != nil {
		s.drop("session not claimed", err)
		return
	}
	s.release()
	if err := s.runMiddlewares(ctx); err != nil {
		s.reject(ctx, "gate failed", err)
		return
	}
	err = s.acquire(ctx, server.connectPermits)
	switch {
	case err != nil:
	case !s.recovers:
		err = s.attach()
	case session == nil:
		if session, err = s.open(ctx, claim.Offset); err == nil {
			err = s.restore(ctx, session)
		}
	default:
		err = s.restore(ctx, session)
	}
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
	s.runOnConnect()
}

// resume claims the session that the client names. It returns nil without one,
// or when continuity cannot be proven; an error when the store cannot tell.
func (s *Socket) resume(ctx context.Context, claim recovery.ResumeRequest, back bool) (*recovery.Session, error) {
	h := s.hub()
	if !s.recovers || !back {
		return nil, nil
	}
	h.beginClaim(claim.PIDHash)
	defer h.endClaim(claim.PIDHash)
	if old := h.owner(claim); old != nil && old.namespace == s.namespace {
		// The client is back before its old connection was noticed as dead. The
		// old socket knows best how far the client was served.
		ended := old.detach(&DisconnectError{Reason: ReasonTransportClose})
		old.conn.session.Abort(transport.ReasonTransportClose)
		_ = ended.Wait(ctx)
	}
	session, err := h.store.Resume(ctx, claim)
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
	switch err := s.catchUp(ctx, session); {
	case errors.Is(err, errDisconnectedByOperation):
		return nil, s.startAnew(recovery.ErrOver)
	case err != nil:
		return nil, err
	}
	s.id = SocketID(session.ID)
	s.result = RecoveryResult{Recovered: true}
	for name, raw := range session.Data {
		s.putData(name, &dataValue{raw: raw})
	}
	return session, nil
}

// decideRecovery finds out whether the client can come back.
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

// notRecovered notes why a client cannot come back to its session.
func (s *Socket) notRecovered(reason error) {
	s.result = RecoveryResult{Reason: reason}
	s.namespace.server.counters.refusal(reason)
	s.log(slog.LevelInfo, "session not recovered", slog.String("reason", reason.Error()))
}

// catchUp performs the operations of the log that the session's record may lack.
// It returns errDisconnectedByOperation if one of them ended the session.
func (s *Socket) catchUp(ctx context.Context, session *recovery.Session) error {
	h := s.hub()
	// Whoever held the session was further along in the log than this node may be.
	if err := h.wait(ctx, session.MaxPosition()); err != nil {
		return err
	}
	for batch, err := range s.namespace.server.opts.Adapter.Read(ctx, session.Applied, h.position()) {
		if err != nil {
			return err
		}
		if _, end := s.applyOps(session, batch); end != nil {
			return errDisconnectedByOperation
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s.member.replayedTo = session.From
	return nil
}

// errDisconnectedByOperation ends the restoring of a session that an operation disconnected.
var errDisconnectedByOperation = errors.New("disconnected by the server")

// filterReplay performs the operations among records of the log and returns the records
// that are addressed to the session, up to the one that ends it, if any does.
func (s *Socket) filterReplay(session *recovery.Session, batch []adapter.Delivery) (mine []*adapter.Delivery, over bool) {
	view, end := s.applyOps(session, batch)
	for i := range batch {
		d := &batch[i]
		if end != nil && d.Offset.Position > *end {
			return mine, true
		}
		if view.Matches(d) {
			mine = append(mine, d)
		}
	}
	return mine, false
}

// applyOps performs the operations among records of the log. It returns the session
// as it is then, and up to where it goes if one of them has ended it.
func (s *Socket) applyOps(session *recovery.Session, batch []adapter.Delivery) (view *recovery.Session, end *adapter.Position) {
	h := s.hub()
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range batch {
		if batch[i].Kind.Operation() {
			s.member.applyOpLocked(session, &batch[i])
		}
	}
	return session.Snapshot(), s.member.disconnectedAt
}

// publishMoved tells the other nodes, through the log, that the session has gone on: also
// if the socket is gone meanwhile, for the former holder would not hear of it by
// anything else.
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

// runMiddlewares runs the gates and returns the first error.
func (s *Socket) runMiddlewares(ctx context.Context) error {
	if s.result.Recovered && s.namespace.server.opts.Recovery.SkipMiddlewares {
		return nil
	}
	for _, gate := range s.namespace.table.Load().middlewares {
		if err := protect(func() error { return gate(ctx, s) }); err != nil {
			return err
		}
	}
	return nil
}

// reject keeps the client out. An *Error is the application's decision, and final: a
// session that the gates do not let back in is over. It waits until that is durable.
// After anything else the client may try again, as after a failed OnConnect: nothing
// was decided, and official clients do not retry after a CONNECT_ERROR.
func (s *Socket) reject(ctx context.Context, what string, err error) {
	if s.ctx.Err() != nil { // nobody waits for the answer any more
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

// drop cuts the connection: the client keeps what it has, and asks again. A
// socket that was disconnected meanwhile has been seen to.
func (s *Socket) drop(what string, err error) {
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

// open makes a new session, with the rooms and data that the gates gave it.
func (s *Socket) open(ctx context.Context, held string) (*recovery.Session, error) {
	server := s.namespace.server
	// The session begins behind what this node has emitted so far, and what its client
	// has had already.
	if err := server.admit(ctx); err != nil {
		return nil, err
	}
	if err := s.waitClientOffset(ctx, held); err != nil {
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
		return nil, errLogTruncated // the client asks again, and so does the gate
	}
	session := s.member.record
	s.pid = newID()
	session.Key = recovery.Key{PIDHash: recovery.HashPID(s.pid), Epoch: 1}
	session.Identity = recovery.HashIdentity(s.pid, s.identity)
	session.ID, session.Namespace = string(s.id), s.namespace.name
	session.Window = server.opts.Recovery.Window
	session.Opened, session.Applied = h.cursor.Position, h.cursor.Position
	session.InitialOffset = validOffset(held)
	if s.start != nil {
		session.Opened, session.Skip = s.start.After, s.start.Skip
	}
	session.From = session.Opened
	session.StartRooms(session.Opened)
	// From here on changes are written, behind the session itself.
	opened := h.store.Open(session.Clone())
	h.ownLocked(&s.member, session)
	h.mu.Unlock()
	server.counters.opened.Add(1)
	return session, opened.Wait(ctx)
}

// waitClientOffset waits until this node has read the record whose offset the client came
// with, if there is one. Else the client would get once more what it had in the session
// before, and it could not be told which session it has that offset from.
func (s *Socket) waitClientOffset(ctx context.Context, held string) error {
	h := s.hub()
	o, err := adapter.ParseOffset(held)
	if err != nil || o.Position <= h.position() {
		return nil
	}
	for batch, err := range s.namespace.server.opts.Adapter.Read(ctx, o.Position-1, o.Position) {
		switch {
		case errors.Is(err, adapter.ErrTrimmed):
			return nil
		case err != nil:
			return err
		case slices.ContainsFunc(batch, func(d adapter.Delivery) bool { return d.Offset == o }):
			return h.wait(ctx, o.Position)
		}
	}
	return nil // it is of no record of this log
}

// validOffset returns the offset that a client came with, if it is one that a
// client may have been given; what else the application's auth object puts in its
// place proves nothing.
func validOffset(s string) string {
	if _, err := adapter.ParseOffset(s); err != nil {
		return ""
	}
	return s
}

// restore answers CONNECT, replays what the session missed and attaches it.
func (s *Socket) restore(ctx context.Context, session *recovery.Session) error {
	h := s.hub()
	if s.start != nil {
		// The state that the session goes on from may show more than this node has read.
		h.mu.Lock()
		reach := session.MaxPosition() // the application may change the rooms meanwhile
		h.mu.Unlock()
		if err := h.wait(ctx, reach); err != nil {
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
	for {
		to := h.position()
		n, err := s.replay(ctx, session, from, to, s.drainedThenAcquire)
		if err != nil {
			return err
		}
		from = to
		if n < shortReplay {
			break
		}
	}
	to, attached, err := s.attachBuffering()
	if err != nil {
		return err
	}
	// Live messages are held back, so there is no time to wait for a turn.
	if _, err := s.replay(ctx, session, from, to, s.drained); err != nil {
		return err
	}
	if !attached {
		return errDisconnectedByOperation
	}
	return s.flushBuffered(ctx)
}

// replay sends what was addressed to the session in (from, to], at the pace of
// the connection, and returns how many records it read.
func (s *Socket) replay(
	ctx context.Context, session *recovery.Session, from, to adapter.Position, pace func(context.Context) error,
) (int, error) {
	server := s.namespace.server
	read := 0
	for batch, err := range server.opts.Adapter.Read(ctx, from, to) {
		if err != nil {
			return read, err
		}
		read += len(batch)
		mine, over := s.filterReplay(session, batch)
		for _, d := range mine {
			if err := pace(ctx); err != nil {
				return read, err
			}
			o := delivery{Envelope: d.Envelope, offset: d.Offset}
			messages := o.encodeFor(s)
			s.recordReplayed(d.Offset, messages)
			if err := s.conn.session.Send(messages...); err != nil {
				return read, err
			}
			if s.result.Recovered {
				s.replayed.Add(1)
			}
		}
		if over {
			return read, errDisconnectedByOperation
		}
	}
	server.hub.mu.Lock()
	s.member.replayedTo = max(s.member.replayedTo, to)
	server.hub.mu.Unlock()
	return read, nil
}

// recordReplayed notes how far a replay has come, before the client is sent the event.
func (s *Socket) recordReplayed(o adapter.Offset, messages []*transport.Message) {
	size := 0
	for _, m := range messages {
		size += m.Len()
	}
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

// sendConnectLocked tells the client that it is connected, unless the socket is
// gone. From here on the client knows of its session.
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

// attachBuffering attaches the socket at the cursor and returns where that is. Live
// messages are held back until uncork. It does not attach a socket whose session
// an operation has ended, and returns where that was.
func (s *Socket) attachBuffering() (at adapter.Position, attached bool, err error) {
	h := s.hub()
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.member.state == detached {
		return 0, false, s.departure()
	}
	s.member.applyPendingLocked()
	if s.member.disconnectedAt != nil {
		return *s.member.disconnectedAt, false, nil
	}
	s.member.attachLocked(replaying)
	return h.cursor.Position, true, nil
}

func (m *member) attachLocked(as memberState) {
	m.socket.namespace.members.add(m)
	in := map[string]bool{string(m.socket.id): true}
	for _, stay := range m.record.Rooms {
		if !stay.Ended && !in[stay.Room] {
			in[stay.Room] = true
			m.socket.namespace.members.join(m, Room(stay.Room))
		}
	}
	delete(m.hub().restoring, m)
	m.record, m.pendingOps, m.state = nil, nil, as
}

// runOnConnect runs the application's OnConnect.
func (s *Socket) runOnConnect() {
	if err := s.namespace.server.presences.begin(s, s.namespace.server.opts.ConnectTimeout); err != nil {
		if s.ctx.Err() != nil {
			s.namespace.server.presences.end(s)
			return
		}
		s.log(slog.LevelError, "OnConnect comes before OnDisconnect of the former connection", slog.Any("error", err))
	}
	s.onConnectRan = true
	for _, onConnect := range s.namespace.table.Load().onConnect {
		if err := protect(func() error { return onConnect(s.ctx, s) }); err != nil {
			s.connectFailed(err)
			return
		}
	}
}

// connectFailed ends a socket whose OnConnect failed. An *Error is the application's
// decision, and final; after anything else the client may try again.
func (s *Socket) connectFailed(err error) {
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
