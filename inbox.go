package socketio

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/pgsocket/socketio/internal/boundary"
)

// An inbox is a socket's timeline: its items run one at a time, in the order in which
// they were pushed. It has a goroutine only while it is not empty.
type inbox struct {
	mu            sync.Mutex
	queue         []item
	outgoing      int
	outgoingBytes int // bytes of them; other sockets may share them
	working       bool
	handling      bool // an event of the client

	publishing      []*Message    // handled; they wait for the log, in the order in which they were handled
	publishingBytes int           // of what has waited with them, since none waited
	published       chan struct{} // closed when none waits; nil without a waiter
}

// An item is an event of the client, a step of the socket's own code, or an outgoing
// event for OnAnyOutgoing.
type item struct {
	message  *Message
	step     func()
	outgoing *OutgoingEvent
}

var errInboxFull = errors.New("more events than the handlers can keep up with")

// push appends an item and starts the goroutine if necessary. Outgoing events are
// bounded. Steps are few, and never refused. Events, which the connection's backlog
// counts, are refused only if the server has disconnected the socket.
func (s *Socket) push(it item) error {
	o := &s.namespace.server.opts
	b := &s.inbox
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case it.message != nil:
		if s.dropEvents.Load() {
			return nil
		}
		s.conn.backlog.received(it.message.size)
	case it.outgoing != nil:
		if b.outgoing >= o.InboxEvents || b.outgoing > 0 && b.outgoingBytes+it.outgoing.size > o.InboxBytes {
			return errInboxFull
		}
		b.outgoing++
		b.outgoingBytes += it.outgoing.size
	}
	b.queue = append(b.queue, it)
	if !b.working {
		b.working = true
		s.namespace.server.work.start()
		go s.dispatch() // owner: the socket; ends when the inbox is empty
	}
	return nil
}

// afterEvents calls f when the events that the socket has received are handled and
// answered.
func (s *Socket) afterEvents(f func()) {
	b := &s.inbox
	b.mu.Lock()
	wait := b.handling || len(b.publishing) > 0 || slices.ContainsFunc(b.queue, func(it item) bool { return it.message != nil })
	b.mu.Unlock()
	if !wait {
		f()
		return
	}
	_ = s.push(item{step: f}) // a step is never refused
}

func (s *Socket) dispatch() {
	over := false
	defer func() {
		if !over { // a handler has ended the goroutine
			go s.dispatch() // owner: the socket; ends when the inbox is empty
			return
		}
		s.namespace.server.work.done()
	}()
	for {
		b := &s.inbox
		b.mu.Lock()
		b.handling = false
		if len(b.queue) == 0 {
			b.queue, b.working = nil, false
			b.mu.Unlock()
			over = true
			return
		}
		it := b.queue[0]
		b.queue[0] = item{}
		b.queue = b.queue[1:]
		b.handling = it.message != nil
		if it.outgoing != nil {
			b.outgoing--
			b.outgoingBytes -= it.outgoing.size
		}
		b.mu.Unlock()
		switch {
		case it.message != nil:
			s.awaitRoom()
			if s.namespace.server.halted.Load() {
				continue // and it stays counted
			}
			s.conn.backlog.begun()
			s.handle(it.message)
		case it.outgoing != nil:
			s.runOnAnyOutgoing(it.outgoing, s.namespace.table.Load().onOutgoing)
		default:
			s.awaitPublished()
			it.step()
		}
	}
}

// discardEvents drops the events that wait, and all later ones.
func (s *Socket) discardEvents() {
	s.dropEvents.Store(true)
	b := &s.inbox
	b.mu.Lock()
	defer b.mu.Unlock()
	events, bytes := 0, 0
	b.queue = slices.DeleteFunc(b.queue, func(it item) bool {
		if it.message == nil {
			return false
		}
		events++
		bytes += it.message.size
		return true
	})
	s.conn.backlog.dropped(events, bytes)
}

// handle runs the handlers of an event, in the goroutine of dispatch.
func (s *Socket) handle(m *Message) {
	if s.dropEvents.Load() { // the server disconnected the socket; earlier events are dropped
		s.conn.backlog.handled(m.size)
		return
	}
	t := s.namespace.table.Load()
	m.handling = &handling{Context: s.startHandling(m, t), message: m}
	s.handleFrom(m.handling, m, t, t.onAny)
}

// handleFrom calls the remaining catch-alls, and then the handler.
func (s *Socket) handleFrom(ctx context.Context, m *Message, t *table, catchAlls []func(context.Context, *Message)) {
	for i, onAny := range catchAlls {
		boundary.Then(func() error { onAny(ctx, m); return nil }, func(err error, ended bool) {
			if err != nil {
				s.logContext(m.logContext(), slog.LevelError, "catch-all failed", eventAttr(m.event), slog.Any("error", err))
			}
			if ended {
				s.handleFrom(ctx, m, t, catchAlls[i+1:])
			}
		})
	}
	h := t.handler(m.event)
	boundary.Then(func() error { return h(ctx, m) }, func(err error, _ bool) { s.returned(m, err) })
}

// concluded ends an event whose handler returned err, or whose publishes failed with it.
func (s *Socket) concluded(m *Message, err error) {
	defer s.conn.backlog.handled(m.size)
	defer m.endHandling(err)
	s.answer(m, err)
}

// answer logs the error of a handler, and answers the peer if it waits.
func (s *Socket) answer(m *Message, err error) {
	if err == nil {
		return
	}
	known, ok := publicError(err)
	switch wants := m.WantsReply(); {
	case ok && known.Code == CodeBadPayload: // the client can cause it at will
		s.namespace.server.counters.badPayloads.Add(1)
		s.logContext(m.logContext(), slog.LevelDebug, "arguments of an event do not fit", eventAttr(m.event), slog.Any("error", err))
	case !ok || !wants:
		s.logFailed(m, err)
	}
	if m.WantsReply() {
		s.replyError(m, known)
	}
}

func (s *Socket) logFailed(m *Message, err error) {
	level := slog.LevelError
	if _, left := asType[*DisconnectError](err); left {
		level = slog.LevelDebug // the client was disconnected meanwhile, which is no failure
	}
	s.logContext(m.logContext(), level, "event handler failed", eventAttr(m.event), slog.Any("error", err))
}

// eventAttr returns the log attribute of an event, with the name truncated: a client
// chooses it, and it may be as long as a message.
func eventAttr(name string) slog.Attr {
	const most = 100
	if len(name) > most {
		name = strings.ToValidUTF8(name[:most], "") + "…"
	}
	return slog.String("event", name)
}

// replyError answers with an error. It leaves out data that cannot be encoded.
func (s *Socket) replyError(m *Message, e *Error) {
	reply := s.namespace.server.opts.ErrorReply
	bare := &Error{Code: e.Code, Message: e.Message}
	for i, body := range []func() any{
		func() any { return reply(e) },
		func() any { return reply(bare) },
		func() any { return errorReply(bare) },
	} {
		err := protect(func() error { return m.reply(true, body()) })
		if err == nil {
			return
		}
		if !m.WantsReply() { // it was encoded
			s.logContext(m.logContext(), slog.LevelDebug, "error reply not sent", eventAttr(m.event), slog.Any("error", err))
			return
		}
		if i == 0 {
			s.logContext(m.logContext(), slog.LevelError, "error reply not encoded", eventAttr(m.event), slog.Any("error", err))
		}
	}
}

// queueOutgoing queues a call of the OnAnyOutgoing functions, if there are any, for an
// event that was queued for the client. It may be called under the hub's lock, where
// no user code may run.
func (s *Socket) queueOutgoing(e func() *OutgoingEvent) {
	if len(s.namespace.table.Load().onOutgoing) == 0 {
		return
	}
	event := e()
	if event == nil {
		return
	}
	if err := s.push(item{outgoing: event}); err != nil {
		s.log(slog.LevelWarn, "outgoing event not observed", eventAttr(event.event), slog.Any("error", err))
	}
}

// runOnAnyOutgoing calls the OnAnyOutgoing functions.
func (s *Socket) runOnAnyOutgoing(e *OutgoingEvent, hooks []func(*Socket, *OutgoingEvent)) {
	for i, hook := range hooks {
		boundary.Then(func() error { hook(s, e); return nil }, func(err error, ended bool) {
			if err != nil {
				s.log(slog.LevelError, "outgoing catch-all failed", eventAttr(e.event), slog.Any("error", err))
			}
			if ended {
				s.runOnAnyOutgoing(e, hooks[i+1:])
			}
		})
	}
}

// protect runs user code and recovers its panics. Only protect and package boundary
// do so.
func protect(f func() error) error { return boundary.Run(f) }

// tasks counts goroutines that run user code, so that Shutdown can wait for them.
type tasks struct {
	mu   sync.Mutex
	n    int
	idle chan struct{} // closed when n becomes 0; nil without a waiter
}

func (t *tasks) start() {
	t.mu.Lock()
	t.n++
	t.mu.Unlock()
}

// startWithin is start, unless ctx has ended: then wait may have returned.
func (t *tasks) startWithin(ctx context.Context) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if ctx.Err() != nil {
		return false
	}
	t.n++
	return true
}

func (t *tasks) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n--
	if t.n == 0 && t.idle != nil {
		close(t.idle)
		t.idle = nil
	}
}

func (t *tasks) wait(ctx context.Context) error {
	t.mu.Lock()
	if t.n == 0 {
		t.mu.Unlock()
		return nil
	}
	if t.idle == nil {
		t.idle = make(chan struct{})
	}
	idle := t.idle
	t.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
