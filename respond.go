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

// This file is the answering side of requests, see request.go.

// idsAtOnce bounds the ids in one answer, and chunkBytes the sockets.
const (
	idsAtOnce  = 5000
	chunkBytes = 256 << 10
)

// requestedLocked begins to answer a request at its position in the log. A goroutine
// does what takes time or may block.
func (h *hub) requestedLocked(d *adapter.Delivery) {
	var r request
	body, err := cutHead(d.Payload, &r)
	if err != nil {
		h.logger.Error("request not decoded", slog.Any("error", err))
		return
	}
	r.trace = d.TraceContext
	if r.Kind == requestServerEvent || r.Kind == requestServer {
		if r.Node != h.id {
			h.serverEventLocked(d.Offset.Position)
		}
		return
	}
	if d.Redelivery != 0 {
		return // its sockets were asked when it was delivered first
	}
	work := h.responderLocked(r, d, body)
	if work == nil {
		return // of a later version
	}
	h.server.work.start()
	go func() { // owner: the server; ends when all have answered, or with r.Wait
		defer h.server.work.done()
		ctx, cancel := context.WithTimeout(h.server.lifetime, r.Wait)
		defer cancel()
		answers := uint64(0)
		send := func(ctx context.Context, a response) error {
			answers++
			a.Number = answers
			return h.server.respond(ctx, r, a)
		}
		ctx, span := h.server.sender.tracing.startEvent(ctx, respondSpan(d), body)
		err := work(ctx, send)
		span.endAt(d.Offset.Position, err)
		if err != nil && ctx.Err() == nil {
			h.logger.Error("request not answered", slog.String("kind", string(r.Kind)), slog.Any("error", err))
		}
	}()
}

// respondSpan describes the span of a request, or server-side event, of a node.
func respondSpan(d *adapter.Delivery) TraceSpan {
	return TraceSpan{Kind: SpanRespond, Namespace: d.Namespace, TraceContext: d.TraceContext}
}

// A responder completes a request: it sends one answer after another.
type responder func(ctx context.Context, send func(context.Context, response) error) error

func (h *hub) responderLocked(r request, d *adapter.Delivery, body []byte) responder {
	switch r.Kind {
	case requestCall:
		return h.broadcastWithAckLocked(r, d, body)
	case requestFetch:
		return h.listLocked(d)
	default:
		return nil
	}
}

// respond publishes an answer. If the log refuses it, for example because it is too
// large, respond publishes an answer with that error.
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
		TraceContext: to.trace,
	})
	return err
}

// A question is an event for one of the sockets that are asked.
type question struct {
	id       uint64 // of the acknowledgement
	messages []*transport.Message
	err      error // the parser failed
}

// A reply is the outcome of a question.
type reply struct {
	socket *Socket
	packet *packet.Packet // nil: the socket was disconnected, unless err is set
	err    error          // the question was not sent
}

// calledLocked returns the sockets of this node that a call is for.
func (h *hub) calledLocked(r request, d *adapter.Delivery) []*Socket {
	if r.Socket == "" {
		return socketsOf(h.membersLocked(d.Envelope))
	}
	if s := h.socketLocked(d.Namespace, r.Socket); s != nil {
		return []*Socket{s}
	}
	return nil
}

// questionsLocked returns the sockets that a call is for, with the event for each. Like
// encodeLocked it releases the lock while a parser encodes.
func (h *hub) questionsLocked(r request, d *adapter.Delivery, args []byte) (sockets []*Socket, asked map[*Socket]*question) {
	asked = make(map[*Socket]*question)
	for {
		sockets = h.calledLocked(r, d)
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

// broadcastWithAckLocked sends an event to the sockets that a call is for, and returns the
// responder that waits for their acknowledgements.
func (h *hub) broadcastWithAckLocked(r request, d *adapter.Delivery, args []byte) responder {
	sockets, asked := h.questionsLocked(r, d, args)
	replies := make(chan reply, len(sockets)) // never blocks a sender
	event := sync.OnceValue(func() *OutgoingEvent { return newOutgoingEvent(args, d.Attachments) })
	for _, s := range sockets {
		q := asked[s]
		if q.err != nil {
			s.log(slog.LevelError, "request not encoded", slog.Any("error", q.err))
			replies <- reply{socket: s, err: q.err}
			continue
		}
		s.acks.expect(q.id, func(p *packet.Packet) { replies <- reply{socket: s, packet: p} })
		s.member.queueLocked(q.messages)
		s.queueOutgoing(event)
	}
	return func(ctx context.Context, send func(context.Context, response) error) error {
		defer func() {
			for _, s := range sockets {
				s.acks.forget(asked[s].id)
			}
		}()
		if err := sendAsked(ctx, sockets, send); err != nil {
			return err
		}
		for left := len(sockets); left > 0; left-- {
			got, err := nextReply(ctx, replies)
			if err != nil {
				return err
			}
			a := got.answer()
			a.Done = left == 1
			if err := send(ctx, a); err != nil {
				return err
			}
		}
		return nil
	}
}

// nextReply waits for a reply until ctx ends. It returns a reply that is there then: a node
// that shuts down has disconnected all sockets before.
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
		return response{From: r.socket.id, Lost: r.socket.detachReason()}
	}
	return response{From: r.socket.id, body: r.packet.Data, attachments: r.packet.Attachments}
}

// sendAsked reports which sockets were asked.
func sendAsked(ctx context.Context, sockets []*Socket, send func(context.Context, response) error) error {
	for rest := sockets; ; {
		n := min(len(rest), idsAtOnce)
		asked := make([]SocketID, n)
		for i, s := range rest[:n] {
			asked[i] = s.id
		}
		rest = rest[n:]
		err := send(ctx, response{Asked: asked, All: len(rest) == 0, Done: len(sockets) == 0})
		if err != nil || len(rest) == 0 {
			return err
		}
	}
}

// detachReason returns why the socket is detached.
func (s *Socket) detachReason() Reason {
	h := s.hub()
	h.mu.Lock()
	defer h.mu.Unlock()
	return s.member.reason
}

// A socketInfo is the description of a socket for other nodes.
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

// listLocked records the sockets of the audience and their rooms at this position in
// the log. The responder reads the rest.
func (h *hub) listLocked(d *adapter.Delivery) responder {
	sockets := socketsOf(h.membersLocked(d.Envelope))
	rooms := make([][]Room, len(sockets))
	for i, s := range sockets {
		rooms[i] = s.member.roomsLocked()
	}
	return func(ctx context.Context, send func(context.Context, response) error) error {
		return sendInfos(ctx, sockets, rooms, send)
	}
}

// sendInfos describes the sockets, in answers of at most chunkBytes. A larger description
// is an answer by itself: if the log refuses it, only that socket is missing.
func sendInfos(ctx context.Context, sockets []*Socket, rooms [][]Room, send func(context.Context, response) error) error {
	var body []byte
	for i, s := range sockets {
		one, err := s.info(rooms[i])
		if err != nil { // a parser of the application returned invalid JSON
			err = send(ctx, response{From: s.id, Error: &Error{Code: CodeInternal, Message: "socket not described: " + err.Error()}})
			if err != nil {
				return err
			}
			continue
		}
		one = append(one, '\n')
		if len(body) > 0 && len(body)+len(one) > chunkBytes {
			if err := send(ctx, response{body: body}); err != nil {
				return err
			}
			body = nil
		}
		if len(one) <= chunkBytes {
			body = append(body, one...)
			continue
		}
		if err := send(ctx, response{From: s.id, body: one}); err != nil {
			return err
		}
	}
	return send(ctx, response{body: body, Done: true})
}

// info returns the encoded socketInfo. It contains what the client sent, except the
// private id, which must not be in the log.
func (s *Socket) info(rooms []Room) ([]byte, error) {
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
