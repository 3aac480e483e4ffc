package socketio

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/packet"
	"github.com/pgsocket/socketio/transport"
)

// This file is the side of a request that answers, see request.go.

// idsAtOnce bounds the ids in one answer, and chunkBytes the sockets.
const (
	idsAtOnce  = 5000
	chunkBytes = 256 << 10
)

// requestedLocked begins to answer a request at its place in the log. What takes
// time, or may wait, it leaves to a goroutine.
func (h *hub) requestedLocked(d *adapter.Delivery) {
	var r request
	body, err := cutHead(d.Payload, &r)
	if err != nil {
		h.logger.Error("request not understood", slog.Any("error", err))
		return
	}
	if r.Kind == requestServerEvent || r.Kind == requestServer {
		if r.Node != h.id {
			h.serverEventLocked(d.Offset.Position)
		}
		return
	}
	work := h.responderLocked(r.Kind, d, body)
	if work == nil {
		return // of a later version of ours
	}
	h.server.work.start()
	go func() { // owner: the server; ends when all have answered, or nobody waits any more
		defer h.server.work.done()
		ctx, cancel := context.WithTimeout(h.server.lifetime, r.Wait)
		defer cancel()
		say := func(ctx context.Context, a response) error { return h.server.respond(ctx, r, a) }
		if err := work(ctx, say); err != nil && ctx.Err() == nil {
			h.logger.Error("request not answered", slog.String("errand", string(r.Kind)), slog.Any("error", err))
		}
	}()
}

// A responder is what is left to do for a request: it says one answer after another.
type responder func(ctx context.Context, say func(context.Context, response) error) error

func (h *hub) responderLocked(e requestKind, d *adapter.Delivery, body []byte) responder {
	switch e {
	case requestCall:
		return h.pollLocked(d, body)
	case requestFetch:
		return h.listLocked(d)
	default:
		return nil
	}
}

// respond publishes an answer. In place of one that the log does not take, because it
// is too large for example, it publishes one that says so.
func (s *Server) respond(ctx context.Context, to request, a response) error {
	err := s.publishAnswer(ctx, to, a)
	if err == nil || ctx.Err() != nil {
		return err
	}
	a.body, a.attachments = nil, nil
	a.Error = &Error{Code: CodeInternal, Message: "answer not published: " + err.Error()}
	return s.publishAnswer(ctx, to, a)
}

func (s *Server) publishAnswer(ctx context.Context, to request, a response) error {
	a.Node, a.ID = s.hub.id, to.ID
	body, err := joinHead(a, a.body)
	if err != nil {
		return err
	}
	_, err = s.opts.Adapter.Publish(ctx, &adapter.Envelope{
		Kind: adapter.Answer, Audience: adapter.Audience{Rooms: []string{to.Node}}, Payload: body, Attachments: a.attachments,
	})
	return err
}

// A question is an event for one of the sockets that are asked.
type question struct {
	id       uint64 // of the acknowledgement
	messages []*transport.Message
	err      error // the parser failed
}

// A reply is what a socket that was asked did.
type reply struct {
	socket *Socket
	packet *packet.Packet // nil: it was disconnected, unless
	err    error          // it could not be asked
}

// questionsLocked returns the sockets of the audience with the event for each. Like
// encodeLocked it releases the lock while a parser encodes.
func (h *hub) questionsLocked(d *adapter.Delivery, args []byte) (sockets []*Socket, asked map[*Socket]*question) {
	asked = make(map[*Socket]*question)
	for {
		sockets = nil
		if n, ok := h.namespaces[d.Namespace]; ok {
			sockets = socketsOf(h.membersLocked(n, d.Audience))
		}
		var fresh []*Socket
		for _, s := range sockets {
			if asked[s] == nil {
				asked[s] = &question{id: s.acks.reserve()}
				fresh = append(fresh, s)
			}
		}
		if len(fresh) == 0 {
			return sockets, asked
		}
		unlocked := h.server.opts.Parser != nil
		if unlocked {
			h.mu.Unlock()
		}
		for _, s := range fresh {
			q := asked[s]
			q.messages, q.err = h.server.messages(&packet.Packet{
				Type: packet.Event, Namespace: d.Namespace, ID: q.id, HasID: true, Data: args, Attachments: d.Attachments,
			})
		}
		if !unlocked {
			return sockets, asked
		}
		h.mu.Lock()
	}
}

// pollLocked sends an event to the sockets of the audience and returns what is to
// be done with their acknowledgements.
func (h *hub) pollLocked(d *adapter.Delivery, args []byte) responder {
	sockets, asked := h.questionsLocked(d, args)
	replies := make(chan reply, len(sockets)) // nobody waits to put one in
	notice := sync.OnceValue(func() *OutgoingEvent { return newOutgoingEvent(args, d.Attachments) })
	for _, s := range sockets {
		q := asked[s]
		if q.err != nil {
			s.log(slog.LevelError, "request not encoded", slog.Any("error", q.err))
			replies <- reply{socket: s, err: q.err}
			continue
		}
		s.acks.expect(q.id, func(p *packet.Packet) { replies <- reply{socket: s, packet: p} })
		s.member.queueLocked(q.messages)
		s.tellOutgoing(notice)
	}
	return func(ctx context.Context, say func(context.Context, response) error) error {
		defer func() {
			for _, s := range sockets {
				s.acks.forget(asked[s].id)
			}
		}()
		if err := tellAsked(ctx, sockets, say); err != nil {
			return err
		}
		for left := len(sockets); left > 0; left-- {
			got, err := nextReply(ctx, replies)
			if err != nil {
				return err
			}
			a := got.answer()
			a.Done = left == 1
			if err := say(ctx, a); err != nil {
				return err
			}
		}
		return nil
	}
}

// nextReply waits for a reply until ctx ends. What is there by then is said: a node that
// shuts down has disconnected all sockets before.
func nextReply(ctx context.Context, replies <-chan reply) (reply, error) {
	select {
	case got := <-replies:
		return got, nil
	case <-ctx.Done():
	}
	select {
	case got := <-replies:
		return got, nil
	default:
		return reply{}, context.Cause(ctx)
	}
}

func (r reply) answer() response {
	switch {
	case r.err != nil:
		return response{From: r.socket.id, Error: &Error{Code: CodeInternal, Message: "request not encoded"}}
	case r.packet == nil:
		return response{From: r.socket.id, Lost: r.socket.goneFor()}
	}
	return response{From: r.socket.id, body: r.packet.Data, attachments: r.packet.Attachments}
}

// tellAsked says who was asked.
func tellAsked(ctx context.Context, sockets []*Socket, say func(context.Context, response) error) error {
	for rest := sockets; ; {
		n := min(len(rest), idsAtOnce)
		asked := make([]SocketID, n)
		for i, s := range rest[:n] {
			asked[i] = s.id
		}
		rest = rest[n:]
		err := say(ctx, response{Asked: asked, All: len(rest) == 0, Done: len(sockets) == 0})
		if err != nil || len(rest) == 0 {
			return err
		}
	}
}

// goneFor returns why the socket is gone.
func (s *Socket) goneFor() Reason {
	h := s.hub()
	h.mu.Lock()
	defer h.mu.Unlock()
	return s.member.reason
}

// A socketInfo is a socket as others see it.
type socketInfo struct {
	ID      SocketID                   `json:"id"`
	Rooms   []Room                     `json:"rooms"`
	Data    map[string]json.RawMessage `json:"data,omitempty"`
	Header  map[string][]string        `json:"header"`
	URL     string                     `json:"url"`
	Address string                     `json:"address"`
	Secure  bool                       `json:"secure,omitempty"`
	Time    time.Time                  `json:"time"`
	Auth    json.RawMessage            `json:"auth,omitempty"`
}

// listLocked notes who is in the audience, and in which rooms, at this place in
// the log; the rest is read while the answer is made.
func (h *hub) listLocked(d *adapter.Delivery) responder {
	var sockets []*Socket
	if n, ok := h.namespaces[d.Namespace]; ok {
		sockets = socketsOf(h.membersLocked(n, d.Audience))
	}
	rooms := make([][]Room, len(sockets))
	for i, s := range sockets {
		rooms[i] = s.member.roomsLocked()
	}
	return func(ctx context.Context, say func(context.Context, response) error) error {
		return sayListings(ctx, sockets, rooms, say)
	}
}

// sayListings says what the sockets are, in answers of at most chunkBytes. One that is larger
// is said by itself: if the log does not take it, only that socket is missing.
func sayListings(ctx context.Context, sockets []*Socket, rooms [][]Room, say func(context.Context, response) error) error {
	var body []byte
	for i, s := range sockets {
		one, err := s.listing(rooms[i])
		if err != nil { // a parser of the application has taken for JSON what is not
			err = say(ctx, response{From: s.id, Error: &Error{Code: CodeInternal, Message: "socket not described: " + err.Error()}})
			if err != nil {
				return err
			}
			continue
		}
		one = append(one, '\n')
		if len(body) > 0 && len(body)+len(one) > chunkBytes {
			if err := say(ctx, response{body: body}); err != nil {
				return err
			}
			body = nil
		}
		if len(one) <= chunkBytes {
			body = append(body, one...)
			continue
		}
		if err := say(ctx, response{From: s.id, body: one}); err != nil {
			return err
		}
	}
	return say(ctx, response{body: body, Done: true})
}

// listing returns the text of what others may see of the socket: what the client sent,
// but for the private id, which the log is not to have.
func (s *Socket) listing(rooms []Room) ([]byte, error) {
	h := s.Handshake()
	auth, err := withoutPID(h.Auth)
	if err != nil {
		return nil, err
	}
	l := socketInfo{
		ID: s.id, Rooms: rooms, Header: h.Header, URL: h.URL.String(),
		Address: h.Address, Secure: h.Secure, Time: h.Time, Auth: auth,
	}
	s.dataMu.Lock()
	l.Data = make(map[string]json.RawMessage, len(s.data))
	for key, d := range s.data {
		if d.raw != nil {
			l.Data[key] = d.raw
		}
	}
	s.dataMu.Unlock()
	return marshalJSON(l)
}
