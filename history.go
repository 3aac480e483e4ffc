package socketio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/packet"
	"github.com/pgsocket/socketio/transport"
)

// A History is an event with which a socket receives, when it joins a room, what was
// emitted to the room before. Like an [Event] it is a name on the wire, and its payload is
// a [RoomHistory]:
//
//	const Earlier socketio.History = "chat:earlier"
//
//	err := Earlier.Join(ctx, s, "lobby", socketio.Past{Last: 50})
//
// The join has one place in the log, as [Audience.Join] has: the history contains what was
// emitted to the room before it, and the client receives what is emitted after it as
// events. Nothing is missing in between, and nothing is in both, whatever is emitted
// meanwhile, on any node. The history is one event with one offset, so a client that loses
// its connection has either processed it, or receives it in the replay at its place among
// the other events.
//
// The history contains the recorded events whose audience names the room, from any node
// and from SQL, in their order: an event to several rooms is in the history of each. It
// does not contain
//
//   - events to all sockets of the namespace, such as io.Except("muted"): a client does
//     not have to be in the room to receive them, so it may have;
//   - events to one socket, volatile and local ones, and requests;
//   - events from whose audience Except takes a room that the socket is in, or the socket
//     itself.
//
// What an event does not contain is not in its history either: the time at which it was
// emitted, for example.
type History string

// Past selects events of a room for [History.Join]. The zero value selects all that the log
// still keeps, within Options.History.
type Past struct {
	// Last is how many events there are at most: the newest ones. Zero means all.
	Last int

	// Since excludes events from before this time, in the precision of milliseconds: the
	// time at which their batch was appended to the log, by the clock of the log or, for
	// events that the node still has in memory, at which this node read it.
	// The zero time means all.
	Since time.Time

	// Only are the names of the events to select. Empty means all.
	Only []string
}

// A RoomHistory is the payload of a [History].
type RoomHistory struct {
	Room   Room        `json:"room"`
	Events []PastEvent `json:"events"` // oldest first

	// Complete reports whether the history contains everything that the Past selects:
	// as many events as Last, or those since Since, or all that were ever emitted to the room.
	// Otherwise there may have been earlier ones, which the log does not keep any more, or
	// for which a limit left no room.
	Complete bool `json:"complete"`
}

// A PastEvent is an event in a [RoomHistory]. Its JSON is an array of the event's name and
// its arguments, so that a client can treat it as the event that it was:
//
//	socket.on("chat:earlier", (history) => {
//	  for (const [event, ...args] of history.events) …
//	});
//
// Binary data in the arguments is an attachment, as in the event.
type PastEvent struct {
	Event string
	Args  []json.RawMessage
}

// MarshalJSON implements json.Marshaler.
func (e PastEvent) MarshalJSON() ([]byte, error) {
	array := make([]any, 0, 1+len(e.Args))
	array = append(array, e.Event)
	for _, arg := range e.Args {
		array = append(array, arg)
	}
	return json.Marshal(array)
}

// UnmarshalJSON implements json.Unmarshaler.
func (e *PastEvent) UnmarshalJSON(text []byte) error {
	var array []json.RawMessage
	if err := json.Unmarshal(text, &array); err != nil {
		return err
	}
	if len(array) == 0 {
		return errNoEventName
	}
	name, err := packet.EventName(array[0])
	e.Event, e.Args = name, array[1:]
	return err
}

var errNoEventName = errors.New("an event begins with its name")

// HistoryLimits bounds what [History.Join] sends and reads.
type HistoryLimits struct {
	// Events bounds the events of one history, and Bytes their size. At a limit the
	// history contains the newest events, and is not complete.
	// Default: 1,000 events and 256 KiB. Clients accept 10 binary attachments in one event,
	// so a history contains no more.
	Events, Bytes int

	// ReadBytes bounds how much of the log is read for one history. What the node has in
	// memory it finds by room, and reads nothing else. Older events are read from the
	// adapter's storage, with all that lies between them.
	// Default: 4 MiB.
	ReadBytes int
}

// Join puts the socket into the room, and sends it the history of the room that past
// selects. It returns nil when that is durable: a client that returns, to any node, is in the
// room, and receives the history if it has not. Then the socket is in the room,
// and the history has been queued for its client, before what was emitted to the room since and before an
// acknowledgement that is sent now.
//
// A socket that is in the room already receives nothing. After it has left the room, it may
// join with the history again.
//
// In connection middleware Join does not wait, and the socket is not in the room yet: it
// joins when it is connected, before OnConnect, and its client receives the history after
// CONNECT. Call Join there for a recovered socket, too: if it is in the room already,
// nothing happens.
//
// While a history waits for a client that reads slowly, or for Postgres, the other events
// of the socket wait behind it, and volatile ones are dropped.
//
// Only a call of this function sends a history: no client can ask for one by itself. The
// errors are those of [Socket.Join]; ErrSocketRoom also for the socket's own room.
// ErrReserved is the one for the name of the event. After any other error the socket may
// join all the same, if ctx has ended.
func (y History) Join(ctx context.Context, s *Socket, room Room, past Past) error {
	e, err := y.envelope(s, room, past)
	if err != nil {
		return err
	}
	return s.joinAnswered(ctx, room, e)
}

// joinAnswered puts the socket into the room with a record whose kind answers, and waits until
// the answer has been queued for its client.
func (s *Socket) joinAnswered(ctx context.Context, room Room, e *adapter.Envelope) error {
	h := s.hub()
	h.mu.Lock()
	in, deferred, err := s.member.joinsLocked(room, e)
	h.mu.Unlock()
	switch {
	case err != nil || deferred:
		return err
	case in:
		err = s.join(ctx, room) // an earlier call may not be durable yet
	default:
		err = s.publishHistory(ctx, e)
	}
	if err != nil {
		return err
	}
	return s.historySent(ctx)
}

// envelope returns the record of the join.
func (y History) envelope(s *Socket, room Room, past Past) (*adapter.Envelope, error) {
	switch err := room.validate(); {
	case err != nil:
		return nil, err
	case isSocketID(string(room)):
		return nil, ErrSocketRoom
	case isWatchersRoom(room):
		return nil, ErrReservedRoom
	case y == "" || packet.Reserved(string(y)):
		return nil, fmt.Errorf("%w: %q", ErrReserved, string(y))
	}
	limits := &s.namespace.server.opts.History
	q := adapter.HistoryRequest{
		Event: string(y), Room: string(room), Last: max(past.Last, 0), Only: past.Only,
		Most: limits.Events, Bytes: limits.Bytes,
	}
	if !past.Since.IsZero() {
		q.Since = max(past.Since.UnixMilli(), 1)
	}
	payload, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	r := s.route()
	return &adapter.Envelope{
		Kind: adapter.History, Namespace: r.namespace, Audience: r.audience, Payload: payload, LocalOnly: r.localOnly,
	}, nil
}

// joinsLocked reports whether the socket is in the room already, or joins it later: until its
// session is open, joins are deferred to publishHistories.
func (m *member) joinsLocked(room Room, e *adapter.Envelope) (in, deferred bool, err error) {
	switch {
	case m.state == detached:
		return false, false, m.socket.departure()
	case m.inLocked(string(room)):
		return true, false, nil
	}
	names := []string{string(room)}
	for _, earlier := range m.histories {
		rooms, _ := earlier.RoomList() // of this program
		names = append(names, rooms...)
	}
	if err := m.admitLocked(names); err != nil {
		return false, false, err
	}
	if m.state == connecting && !m.historiesTaken {
		m.histories = append(m.histories, e)
		return false, true, nil
	}
	return false, false, nil
}

// publishHistory appends the record of a join to the log, and waits until this node has
// read it.
func (s *Socket) publishHistory(ctx context.Context, e *adapter.Envelope) error {
	server := s.namespace.server
	if err := server.admitChange(ctx); err != nil {
		return err
	}
	r := s.route()
	ctx, span := r.startPublish(ctx, SpanJoin, e)
	at, err := r.publish(ctx, e, true)
	if err == nil {
		err = server.opts.Adapter.WaitDelivered(ctx)
	}
	span.endAt(at.Position, err)
	return err
}

// publishHistories publishes the joins that connection middleware has asked for. The session
// is open, and its client has not been answered: if the record is in the log, the replay
// finds it.
func (s *Socket) publishHistories(ctx context.Context) error {
	h := s.hub()
	h.mu.Lock()
	histories := s.member.histories
	s.member.histories, s.member.historiesTaken = nil, true
	h.mu.Unlock()
	for _, e := range histories {
		if err := s.publishHistory(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// A pendingHistory is a history that a member is to be sent, behind what is buffered before it.
type pendingHistory struct {
	adapter.Delivery

	rooms []Room // that the socket was in at this position
}

// joinedWithHistoryLocked is called when an attached socket has joined a room with d: its
// client receives the history, and until it does, the events after d are buffered as during
// a replay. So if the connection is lost meanwhile, the progress of the client is recorded as
// that of a replay is.
func (m *member) joinedWithHistoryLocked(d *adapter.Delivery) {
	h, server := m.hub(), m.socket.namespace.server
	if m.state == live {
		m.state, m.replayedTo = replaying, h.cursor.Position // before d
		m.flushed = make(chan struct{})
		server.work.start()
		go m.socket.flushHistories(m.flushed) // ends with the socket
	}
	m.last = d.Offset
	pending := &pendingHistory{*d, m.roomsLocked()}
	if !m.buffered.addHistory(pending, &server.opts) {
		m.socket.conn.session.Abort(transport.ReasonSlowConsumer)
	}
}

// flushHistories sends a history, and what has been buffered behind it.
func (s *Socket) flushHistories(flushed chan struct{}) {
	defer s.namespace.server.work.done()
	defer close(flushed)
	err := s.flushBuffered(s.ctx, s.conn.session.Drained)
	switch {
	case errors.Is(err, errDisconnectedByOperation):
		if err := s.endSession(s.ctx, nil); err != nil {
			s.log(slog.LevelDebug, "end of the session not confirmed", slog.Any("error", err))
		}
	case err != nil && s.ctx.Err() == nil:
		s.cut("history not sent", err)
	}
}

// historySent waits until the histories of the socket have been queued for its client, or it
// is detached: then another connection receives them.
func (s *Socket) historySent(ctx context.Context) error {
	h := s.hub()
	h.mu.Lock()
	flushed := s.member.flushed
	h.mu.Unlock()
	if flushed == nil {
		return nil
	}
	select {
	case <-flushed:
		return nil
	case <-s.ctx.Done():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// sendHistory sends a history that was buffered.
func (s *Socket) sendHistory(ctx context.Context, p *pendingHistory) error {
	events, err := s.answersTo(ctx, &p.Delivery, func(room string) bool { return slices.Contains(p.rooms, Room(room)) })
	if err != nil {
		return err
	}
	for i, o := range events {
		if i > 0 {
			if err := s.conn.session.Drained(ctx); err != nil {
				return err
			}
		}
		if err := s.conn.session.Send(o.encodeFor(s)...); err != nil {
			return err
		}
		s.queueOutgoing(o.outgoingEvent)
	}
	return nil
}
