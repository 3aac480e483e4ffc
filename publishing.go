package socketio

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/transport"
)

// A handler that publishes does not wait for the log, and neither does the next event of
// its socket. The acknowledgement does:
//
//	handler of event 1 ─ Publish ─► returns      ┌► acknowledgement of 1
//	handler of event 2 ─ Publish ─► returns      │  ┌► acknowledgement of 2
//	log                        └──► append of both ─┘

// Publish emits the event like Emit, but in a handler it does not wait for the log: it
// returns when the event has its place in the order, and the acknowledgement of the event
// that is being handled waits instead. The peer receives the acknowledgement when the handler has
// returned and everything that its handler published is in the log, durable as the log is configured,
// and an error with CodeInternal if one of the events failed, which is logged. So the
// handler of the next event of the socket runs meanwhile, and the events of several
// handlers share an append.
//
// Publish belongs to the handler whose ctx it is given, or a context derived from that.
// With any other ctx, and after the handler has returned, it is Emit: it waits for the log.
// For local and volatile targets it always is.
//
// While the queue of the log is full Publish waits, until ctx ends. Its error means that the
// event is not emitted. An event that was published is emitted even if its client is
// disconnected then; if that fails, nobody learns of it. A handler that has published so much
// that keeping account of it takes Options.InboxBytes waits for the log from then on. Use Emit
// where the code that follows it depends on the event being in the log.
func (e Event[T]) Publish(ctx context.Context, to Target, v T) error {
	r := to.route()
	envelope, err := envelope(r, string(e), v)
	if err != nil {
		return err
	}
	h := handlingOf(ctx)
	if h == nil || r.local || r.volatile || r.nobody() {
		return r.emit(ctx, envelope)
	}
	return r.publishFor(ctx, h, envelope)
}

func (r route) publishFor(ctx context.Context, h *handling, e *adapter.Envelope) error {
	ctx, span := r.startPublish(ctx, SpanEmit, e)
	receipt, err := r.log.Publish(ctx, e)
	switch {
	case err != nil:
		span.end(err)
		return err
	case h.add(publish{receipt, span}):
		return nil
	}
	at, err := awaitAppend(ctx, receipt)
	span.endAt(at.Position, err)
	return err
}

// A publish is an event on its way to the log.
type publish struct {
	receipt *Receipt
	span    *span
}

// A handling is the context of the handler of a message, with what the handler published.
type handling struct {
	context.Context //nolint:containedctx // it is one itself

	message *Message

	mu        sync.Mutex
	waiting   []publish
	returned  bool                 // the handler
	err       error                // that it returned
	over      bool                 // the outcomes of the publishes are known
	concluded chan struct{}        // closed then, if the handler has returned before
	failed    bool                 // some publish has
	kept      []*transport.Message // the reply of the handler, which is sent when they are in the log
	bytes     int                  // of memory, for what waits
}

type handlingKey struct{}

// Value implements context.Context.
func (h *handling) Value(key any) any {
	if key == (handlingKey{}) {
		return h
	}
	return h.Context.Value(key)
}

// handlingOf returns the handling that ctx belongs to, or nil.
func handlingOf(ctx context.Context) *handling {
	h, _ := ctx.Value(handlingKey{}).(*handling)
	return h
}

// add reports whether the acknowledgement waits for the publish: the handler still runs, and has not published too much.
func (h *handling) add(one publish) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.returned || h.bytes > h.message.socket.namespace.server.opts.InboxBytes {
		return false
	}
	h.waiting = append(h.waiting, one)
	h.grow(publishMemory)
	return true
}

// publishMemory is what a publish takes in memory, in bytes, besides its event, which the
// queue of the log bounds.
const publishMemory = 256

// grow counts bytes until the event of the client is concluded.
func (h *handling) grow(bytes int) {
	h.bytes += bytes
	h.message.socket.conn.backlog.grew(bytes)
}

// end records that the handler has returned err. It reports whether there are publishes,
// and the bytes that wait with them.
func (h *handling) end(err error) (waits bool, bytes int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.returned, h.err = true, err
	h.over = len(h.waiting) == 0
	if !h.over {
		h.concluded = make(chan struct{})
	}
	return !h.over, h.bytes
}

// reply reports whether a reply may be sent now. While the handler runs, it is kept until the
// outcomes of the publishes are known; after that reply waits for them. When one of them has
// failed, only the error may be sent.
func (h *handling) reply(reply []*transport.Message, isError bool) (now bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.returned && !h.over {
		h.mu.Unlock()
		<-h.concluded
		h.mu.Lock()
	}
	if h.failed && !isError || !h.message.wantsReply.CompareAndSwap(true, false) {
		return false, ErrReplied
	}
	if len(h.waiting) == 0 || h.over {
		return true, nil
	}
	h.kept = reply
	for _, m := range reply {
		h.grow(m.Len())
	}
	return false, nil
}

// conclude waits for the outcomes of the publishes. It returns the reply that was kept for
// them, or their errors: then the peer waits for another reply.
func (h *handling) conclude(ctx context.Context) (reply []*transport.Message, err error) {
	var failed []error
	for _, one := range h.waiting { // none is added any more
		err := one.receipt.Wait(ctx)
		one.span.endAt(one.receipt.Offset().Position, err)
		if err != nil {
			failed = append(failed, err)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
	close(h.concluded)
	h.message.size += h.bytes
	if len(failed) == 0 {
		return h.kept, nil
	}
	h.failed = true
	if h.kept != nil {
		h.message.wantsReply.Store(true)
	}
	return nil, errors.Join(failed...)
}

// returned ends an event whose handler has returned err, or has that done when its
// publishes are in the log.
func (s *Socket) returned(m *Message, err error) {
	waits, bytes := m.handling.end(err)
	if !waits {
		s.concluded(m, err)
		return
	}
	b := &s.inbox
	b.mu.Lock()
	defer b.mu.Unlock()
	b.publishing = append(b.publishing, m)
	b.publishingBytes += bytes
	if len(b.publishing) == 1 {
		s.namespace.server.work.start()
		go s.concludePublished() // owner: the socket; ends when no event waits for the log
	}
}

// concludePublished ends the events that wait for the log, in the order in which they
// were handled. It does not wait for the log when the socket is disconnected.
func (s *Socket) concludePublished() {
	defer s.namespace.server.work.done()
	for m := s.firstPublishing(); m != nil; m = s.nextPublishing() {
		reply, err := m.handling.conclude(s.ctx)
		result := m.handling.err
		_ = s.conn.session.Drained(s.ctx) // many may end at once, and the client is not slow
		switch {
		case err != nil && result != nil: // the peer receives the error of the handler
			s.logFailed(m, err)
		case err != nil:
			result = fmt.Errorf("publish: %w", err)
		case reply != nil:
			if err := s.sendMessages(reply); err != nil {
				s.logContext(m.logContext(), slog.LevelDebug, "reply not sent", eventAttr(m.event), slog.Any("error", err))
			}
		}
		s.concluded(m, result)
	}
}

// firstPublishing returns the event that waits for the log for longest.
func (s *Socket) firstPublishing() *Message {
	b := &s.inbox
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.publishing[0]
}

// nextPublishing removes the first event that waits, and returns the next one, or nil.
func (s *Socket) nextPublishing() *Message {
	b := &s.inbox
	b.mu.Lock()
	defer b.mu.Unlock()
	b.publishing[0] = nil
	b.publishing = b.publishing[1:]
	if len(b.publishing) > 0 {
		return b.publishing[0]
	}
	b.publishing, b.publishingBytes = nil, 0
	if b.published != nil {
		close(b.published)
		b.published = nil
	}
	return nil
}

// awaitRoom waits if the replies that wait for the log take too much memory.
func (s *Socket) awaitRoom() {
	b := &s.inbox
	b.mu.Lock()
	full := b.publishingBytes > s.namespace.server.opts.InboxBytes
	b.mu.Unlock()
	if full {
		s.awaitPublished()
	}
}

// awaitPublished waits until no handled event waits for the log.
func (s *Socket) awaitPublished() { s.awaitPublishedWithin(context.Background()) }

// awaitPublishedWithin is awaitPublished until ctx ends.
func (s *Socket) awaitPublishedWithin(ctx context.Context) {
	b := &s.inbox
	b.mu.Lock()
	if len(b.publishing) > 0 && b.published == nil {
		b.published = make(chan struct{})
	}
	published := b.published
	b.mu.Unlock()
	if published != nil {
		select {
		case <-published:
		case <-ctx.Done():
		}
	}
}
