package socketio

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
)

// An inbox is a socket's timeline: what happens to the socket in the order in
// which it happened, one at a time. A goroutine works on it only while there is
// something in it.
type inbox struct {
	mu          sync.Mutex
	queue       []item
	notices     int
	noticeBytes int // bytes of them; other sockets may have the same
	working     bool
}

// An item is an event of the client, a step in the life of the socket, or a
// notice of an event that was queued for the client.
type item struct {
	message *Message
	step    func()
	notice  *Emitted
	size    int // of the message, in bytes
}

var errInboxFull = errors.New("more events than the handlers keep up with")

// push appends an item, and sees to it that it is worked on. Notices are bounded;
// steps are few, and always taken. So are events, of which the connection's backlog
// keeps count, unless the server has disconnected the socket.
func (s *Socket) push(it item) error {
	o := &s.namespace.server.opts
	b := &s.inbox
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case it.message != nil:
		if s.deaf.Load() {
			return nil
		}
		s.conn.backlog.received(it.size)
	case it.notice != nil:
		if b.notices >= o.InboxEvents || b.notices > 0 && b.noticeBytes+it.notice.size > o.InboxBytes {
			return errInboxFull
		}
		b.notices++
		b.noticeBytes += it.notice.size
	}
	b.queue = append(b.queue, it)
	if !b.working {
		b.working = true
		s.namespace.server.work.start()
		go s.dispatch() // owner: the socket; ends when the inbox is empty
	}
	return nil
}

// afterEvents calls f when the events are handled that the socket has received: at once
// if none waits, though one may be being handled.
func (s *Socket) afterEvents(f func()) {
	b := &s.inbox
	b.mu.Lock()
	wait := slices.ContainsFunc(b.queue, func(it item) bool { return it.message != nil })
	if wait {
		b.queue = append(b.queue, item{step: f}) // somebody works on the queue
	}
	b.mu.Unlock()
	if !wait {
		f()
	}
}

func (s *Socket) dispatch() {
	defer s.namespace.server.work.done()
	for {
		b := &s.inbox
		b.mu.Lock()
		if len(b.queue) == 0 {
			b.queue, b.working = nil, false
			b.mu.Unlock()
			return
		}
		it := b.queue[0]
		b.queue[0] = item{}
		b.queue = b.queue[1:]
		if it.notice != nil {
			b.notices--
			b.noticeBytes -= it.notice.size
		}
		b.mu.Unlock()
		switch {
		case it.message != nil:
			if s.namespace.server.halted.Load() {
				continue // and it remains counted
			}
			s.conn.backlog.begun()
			s.handle(it.message)
			s.conn.backlog.handled(it.size)
		case it.notice != nil:
			s.noticed(it.notice)
		default:
			it.step()
		}
	}
}

// deafen drops the events that wait, and those that still come.
func (s *Socket) deafen() {
	s.deaf.Store(true)
	b := &s.inbox
	b.mu.Lock()
	defer b.mu.Unlock()
	events, bytes := 0, 0
	b.queue = slices.DeleteFunc(b.queue, func(it item) bool {
		if it.message == nil {
			return false
		}
		events++
		bytes += it.size
		return true
	})
	s.conn.backlog.dropped(events, bytes)
}

// handle runs the handler of an event and tells whoever waits what became of it.
func (s *Socket) handle(m *Message) {
	if s.deaf.Load() {
		return // the server disconnected the socket; what came before is void
	}
	t := s.namespace.table.Load()
	for _, tell := range t.onAny {
		if err := protect(func() error { tell(s.ctx, m); return nil }); err != nil {
			s.log(slog.LevelError, "catch-all failed", slog.String("event", m.event), slog.Any("error", err))
		}
	}
	h := t.handler(m.event)
	err := protect(func() error { return h(s.ctx, m) })
	if err == nil {
		return
	}
	known, ok := disclose(err)
	if !ok || !m.WantsReply() {
		level := slog.LevelError
		if _, left := errors.AsType[*DisconnectError](err); left {
			level = slog.LevelDebug // the client went away meanwhile, which is no failure
		}
		s.log(level, "event handler failed", slog.String("event", m.event), slog.Any("error", err))
	}
	if !m.WantsReply() {
		return
	}
	if err := m.Reply(s.namespace.server.opts.ErrorReply(known)); err != nil {
		s.log(slog.LevelDebug, "error reply not sent", slog.String("event", m.event), slog.Any("error", err))
	}
}

// tellOutgoing sees to it that the application is told of an event that was
// queued for the client, if it wants to know. It may be called under the hub's
// lock, where no user code may run.
func (s *Socket) tellOutgoing(e func() *Emitted) {
	if len(s.namespace.table.Load().onOutgoing) == 0 {
		return
	}
	notice := e()
	if notice == nil {
		return
	}
	if err := s.push(item{notice: notice}); err != nil {
		s.log(slog.LevelWarn, "outgoing event not told of", slog.String("event", notice.event), slog.Any("error", err))
	}
}

func (s *Socket) noticed(e *Emitted) {
	for _, tell := range s.namespace.table.Load().onOutgoing {
		if err := protect(func() error { tell(s, e); return nil }); err != nil {
			s.log(slog.LevelError, "outgoing catch-all failed", slog.String("event", e.event), slog.Any("error", err))
		}
	}
}

// protect runs user code. It is the one boundary at which a panic of it ends.
func protect(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f()
}

// tasks counts goroutines that run user code, so that Shutdown can wait for them.
type tasks struct {
	mu   sync.Mutex
	n    int
	idle chan struct{} // closed when n becomes 0; nil if nobody waits
}

func (t *tasks) start() {
	t.mu.Lock()
	t.n++
	t.mu.Unlock()
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
