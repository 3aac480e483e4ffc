package socketio

import (
	"context"
	"errors"
	"sync"

	"github.com/pgsocket/socketio/packet"
	"github.com/pgsocket/socketio/transport"
)

// acks are the calls of a socket that wait for their answers.
type acks struct {
	ids     ackIDs
	mu      sync.Mutex
	calls   uint64
	pending map[uint64]func(*packet.Packet)
}

// register registers a call. Its function receives the answer, or nil when the socket
// is disconnected first, and must not block.
func (a *acks) register(answer func(*packet.Packet)) (id uint64) {
	id = a.reserve()
	a.expect(id, answer)
	return id
}

// reserve returns the id for a call that is registered with expect later.
func (a *acks) reserve() (id uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	id = a.ids.id(a.calls)
	a.calls++
	return id
}

func (a *acks) expect(id uint64, answer func(*packet.Packet)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pending == nil {
		a.pending = make(map[uint64]func(*packet.Packet))
	}
	a.pending[id] = answer
}

// resolve passes an answer to the call that waits for it. Like the official server it
// ignores an answer without a call: it may be late, even from an earlier connection,
// see ackIDs.
func (a *acks) resolve(p *packet.Packet) {
	a.mu.Lock()
	answer, ok := a.pending[p.ID]
	delete(a.pending, p.ID)
	a.mu.Unlock()
	if ok {
		answer(p)
	}
}

// abandon ends the calls of a socket that is disconnected.
func (a *acks) abandon() {
	a.mu.Lock()
	pending := a.pending
	a.pending = nil
	a.mu.Unlock()
	for _, answer := range pending {
		answer(nil)
	}
}

func (a *acks) forget(id uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.pending, id)
	if len(a.pending) == 0 {
		a.pending = nil
	}
}

// call sends a request and waits for its answer.
func (s *Socket) call(ctx context.Context, p payload) (*packet.Packet, error) {
	ctx, span := s.namespace.server.sender.tracing.startEvent(ctx,
		TraceSpan{Kind: SpanCall, Namespace: s.namespace.name, Socket: s.id}, p.json)
	reply, err := s.callUntraced(ctx, p)
	span.end(err)
	return reply, err
}

func (s *Socket) callUntraced(ctx context.Context, p payload) (*packet.Packet, error) {
	if !s.connected.Load() {
		return nil, ErrNotConnected
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.namespace.server.opts.AckTimeout)
		defer cancel()
	}
	answer := make(chan *packet.Packet, 1)
	id := s.acks.register(func(p *packet.Packet) { answer <- p })
	defer s.acks.forget(id)
	if err := s.send(&packet.Packet{Type: packet.Event, ID: id, HasID: true}, p); err != nil {
		return nil, s.notSent(ctx, err)
	}
	s.queueOutgoing(func() *OutgoingEvent { return newOutgoingEvent(p.json, p.attachments) })
	select {
	case reply := <-answer:
		if reply == nil {
			return nil, context.Cause(s.ctx)
		}
		return reply, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-s.ctx.Done():
		return nil, context.Cause(s.ctx)
	}
}

// notSent returns why a request was not sent. If the connection has ended, the reader is
// about to detach the socket.
func (s *Socket) notSent(ctx context.Context, err error) error {
	if !errors.Is(err, transport.ErrClosed) && !errors.Is(err, transport.ErrQueueFull) {
		return err
	}
	select {
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// send queues a packet that is not part of the log. The caller holds no lock.
func (s *Socket) send(head *packet.Packet, p payload) error {
	messages, err := s.messages(head, p)
	if err != nil {
		return err
	}
	return s.sendMessages(messages)
}

// messages returns a packet of the socket, encoded. It may run user code.
func (s *Socket) messages(head *packet.Packet, p payload) ([]*transport.Message, error) {
	head.Namespace, head.Data, head.Attachments = s.namespace.name, p.json, p.attachments
	return s.namespace.server.messages(head)
}

func (s *Socket) sendMessages(messages []*transport.Message) error {
	if err := s.conn.session.Send(messages...); err != nil {
		if cause := context.Cause(s.ctx); cause != nil {
			return cause
		}
		return err
	}
	return nil
}
