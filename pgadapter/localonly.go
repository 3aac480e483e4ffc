package pgadapter

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/adapter"
)

// This file handles batches without a notification: those that concern only sockets of
// this node, see adapter.Envelope.LocalOnly, and all batches while the notification queue
// of Postgres is full. The publisher hands them to the tail of its own node; the other
// nodes read them after the next notification, or when they poll.

// A notifyBudget counts what a publisher has appended since its last notification. It is
// exhausted before the other nodes have more than one chunk to read.
type notifyBudget struct{ batches, bytes int }

// exhausted reports whether the next batch must send a notification.
func (b notifyBudget) exhausted(bytes int) bool {
	return b.batches >= readBatches-1 || b.bytes+bytes > batchBytes
}

// A handoff is a batch that is in the log and for which no notification was sent.
type handoff struct {
	logRow

	sealed    []byte        // the frame for the notification; nil if the notification does not contain it
	before    []logRow      // the batches directly before it in the log, as far as known; the first has no frame
	localOnly []func() bool // of its local-only packets; see adapter.Envelope
}

// after returns the batches after m up to and including the handoff. It returns nil if
// it does not have m: the id alone is no proof, since this connection may not have
// noticed yet that Postgres has lost the end of the log.
func (h *handoff) after(m batchPos) []logRow {
	if i := slices.IndexFunc(h.before, func(r logRow) bool { return r.batchPos == m }); i >= 0 {
		return append(h.before[i+1:], h.logRow)
	}
	return nil
}

// A reader follows the log on the node of a publisher.
type reader interface {
	// has returns the id of the last batch that the reader has read or received as a handoff.
	has() int64
	// appended reports that what the publisher appended up to p is in the log. It passes on
	// the last batch, or nil if a notification was sent for it.
	appended(p adapter.Position, h *handoff)
}

// A noopReader is the reader of an Emitter, which reads nothing.
type noopReader struct{}

func (noopReader) has() int64 { return 0 }

func (noopReader) appended(adapter.Position, *handoff) {}

// maxHandoffs bounds the handoffs that wait for a tail without a connection.
const maxHandoffs = readBatches

func (t *tail) has() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return max(t.cursor.id, t.newestHandoff)
}

func (t *tail) appended(p adapter.Position, h *handoff) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.acked = p
	if h == nil {
		if t.opts.PollOnly {
			t.requestReadLocked() // a tail that listens receives the notification
		}
		return
	}
	if len(t.handoffs) == maxHandoffs {
		// The table has them as well. Their LocalOnly functions are lost, so assume the worst.
		t.handoffs = append(t.handoffs[:0], &handoff{localOnly: []func() bool{notLocal}})
	}
	t.handoffs, t.newestHandoff = append(t.handoffs, h), h.id
	t.interruptLocked()
}

func notLocal() bool { return false }

// requestRead makes the tail read the log now, because a caller waits for a batch that
// may have no notification.
func (t *tail) requestRead() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.requestReadLocked()
}

func (t *tail) requestReadLocked() {
	t.readRequested = true
	t.interruptLocked()
}

// wakeIfPolling calls requestRead on a tail that polls; one that listens receives a notification.
func (t *tail) wakeIfPolling() {
	if t.opts.PollOnly {
		t.requestRead()
	}
}

func (t *tail) interruptLocked() {
	if t.interrupt != nil {
		t.interrupt()
		t.interrupt = nil
	}
}

// armInterrupt stores interrupt, to be called when the tail has work. It returns false
// if there is work already.
func (t *tail) armInterrupt(interrupt context.CancelFunc) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.readRequested || len(t.handoffs) > 0 {
		return false
	}
	t.interrupt = interrupt
	return true
}

// takeHandoffs delivers the handoffs that directly follow the cursor. It returns false
// when the log must be read.
func (t *tail) takeHandoffs(ctx context.Context, conn *pgx.Conn) (bool, error) {
	t.mu.Lock()
	batches, wanted := t.handoffs, t.readRequested
	t.handoffs, t.readRequested = nil, false
	t.mu.Unlock()
	// Before any delivery: notifyIfMoved must check all of them, even if one fails.
	for _, h := range batches {
		t.pendingLocal = append(t.pendingLocal, h.localOnly...)
	}
	for _, h := range batches {
		if h.id <= t.cursor.id {
			continue // read from the table meanwhile
		}
		rows := h.after(t.cursor)
		if len(rows) == 0 {
			wanted = true
			break
		}
		if err := t.deliverAll(ctx, conn, rows); err != nil {
			return false, err
		}
	}
	if wanted {
		t.update(func() { t.newestHandoff = 0 })
		return false, nil
	}
	return true, t.notifyIfMoved(ctx, conn)
}

// notifyIfMoved notifies the other nodes of delivered local-only batches, if some of their
// sockets may have moved to another node meanwhile.
func (t *tail) notifyIfMoved(ctx context.Context, conn *pgx.Conn) error {
	if slices.ContainsFunc(t.pendingLocal, func(here func() bool) bool { return !here() }) {
		ctx, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		_, err := conn.Exec(ctx, t.queries.notifyRead, t.opts.Schema)
		if err != nil && !queueFull(err) { // when the queue is full, all nodes poll
			return err
		}
	}
	clear(t.pendingLocal) // drops references in the reused array
	t.pendingLocal = t.pendingLocal[:0]
	return nil
}

// readableAfter returns the position after which this node can decode the log with the given number.
func (t *tail) readableAfter(log uint32) adapter.Position { return t.unreadable.after(log) }

// ensureRead makes the tail read the log up to p, which another node has already read.
func (t *tail) ensureRead(p adapter.Position) {
	if t.position() < p {
		t.requestRead()
	}
}
