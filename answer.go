package socketio

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/packet"
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
	if r.Errand == errandNotice || r.Errand == errandServer {
		if r.Node != h.id {
			h.noticedLocked(d.Offset.Position)
		}
		return
	}
	work := h.taskLocked(r.Errand, d, body)
	if work == nil {
		return // of a later version of ours
	}
	h.server.work.start()
	go func() { // owner: the server; ends when all have answered, or nobody waits any more
		defer h.server.work.done()
		ctx, cancel := context.WithTimeout(h.server.life, r.Wait)
		defer cancel()
		say := func(ctx context.Context, a answer) error { return h.server.answer(ctx, r, a) }
		if err := work(ctx, say); err != nil && ctx.Err() == nil {
			h.logger.Error("request not answered", slog.String("errand", string(r.Errand)), slog.Any("error", err))
		}
	}()
}

// A task is what is left to do for a request: it says one answer after another.
type task func(ctx context.Context, say func(context.Context, answer) error) error

func (h *hub) taskLocked(e errand, d *adapter.Delivery, body []byte) task {
	switch e {
	case errandCall:
		return h.pollLocked(d, body)
	case errandFetch:
		return h.listLocked(d)
	default:
		return nil
	}
}

// answer publishes an answer.
func (s *Server) answer(ctx context.Context, to request, a answer) error {
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

// A reply is what a socket that was asked did.
type reply struct {
	socket *Socket
	packet *packet.Packet // nil: it was disconnected
}

// pollLocked sends an event to the sockets of the audience and returns what is to
// be done with their acknowledgements.
func (h *hub) pollLocked(d *adapter.Delivery, args []byte) task {
	var sockets []*Socket
	if n, ok := h.namespaces[d.Namespace]; ok {
		sockets = h.membersLocked(n, d.Audience)
	}
	replies := make(chan reply, len(sockets)) // nobody waits to put one in
	ids := make([]uint64, len(sockets))
	for i, s := range sockets {
		ids[i] = s.acks.register(func(p *packet.Packet) { replies <- reply{s, p} })
		head := packet.Packet{
			Type: packet.Event, Namespace: d.Namespace, ID: ids[i], HasID: true, Data: args, Attachments: d.Attachments,
		}
		if messages, err := h.server.messages(&head); err != nil {
			s.log(slog.LevelError, "request not encoded", slog.Any("error", err))
		} else {
			s.queueLocked(messages)
		}
	}
	return func(ctx context.Context, say func(context.Context, answer) error) error {
		defer func() {
			for i, s := range sockets {
				s.acks.forget(ids[i])
			}
		}()
		if err := tellAsked(ctx, sockets, say); err != nil {
			return err
		}
		for left := len(sockets); left > 0; left-- {
			select {
			case got := <-replies:
				a := got.answer()
				a.Done = left == 1
				if err := say(ctx, a); err != nil {
					return err
				}
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	}
}

func (r reply) answer() answer {
	if r.packet == nil {
		return answer{From: r.socket.id, Lost: r.socket.goneFor()}
	}
	return answer{From: r.socket.id, body: r.packet.Data, attachments: r.packet.Attachments}
}

// tellAsked says who was asked.
func tellAsked(ctx context.Context, sockets []*Socket, say func(context.Context, answer) error) error {
	for rest := sockets; ; {
		n := min(len(rest), idsAtOnce)
		asked := make([]SocketID, n)
		for i, s := range rest[:n] {
			asked[i] = s.id
		}
		rest = rest[n:]
		err := say(ctx, answer{Asked: asked, All: len(rest) == 0, Done: len(sockets) == 0})
		if err != nil || len(rest) == 0 {
			return err
		}
	}
}

// goneFor returns why the socket is gone.
func (s *Socket) goneFor() Reason {
	h := s.namespace.server.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	return s.reason
}

// A listing is a socket as others see it.
type listing struct {
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
func (h *hub) listLocked(d *adapter.Delivery) task {
	var sockets []*Socket
	if n, ok := h.namespaces[d.Namespace]; ok {
		sockets = h.membersLocked(n, d.Audience)
	}
	rooms := make([][]Room, len(sockets))
	for i, s := range sockets {
		rooms[i] = s.roomsLocked()
	}
	return func(ctx context.Context, say func(context.Context, answer) error) error {
		var body []byte
		for i, s := range sockets {
			one, err := marshalJSON(s.listing(rooms[i]))
			if err != nil {
				return err
			}
			body = append(append(body, one...), '\n')
			if len(body) < chunkBytes {
				continue
			}
			if err := say(ctx, answer{body: body}); err != nil {
				return err
			}
			body = nil
		}
		return say(ctx, answer{body: body, Done: true})
	}
}

func (s *Socket) listing(rooms []Room) listing {
	h := s.Handshake()
	l := listing{
		ID: s.id, Rooms: rooms, Header: h.Header, URL: h.URL.String(),
		Address: h.Address, Secure: h.Secure, Time: h.Time, Auth: h.Auth,
	}
	s.dataMu.Lock()
	defer s.dataMu.Unlock()
	l.Data = make(map[string]json.RawMessage, len(s.data))
	for key, d := range s.data {
		l.Data[key] = d.raw
	}
	return l
}
