package pgadapter

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/adapter"
)

// This file is the road of batches for which no bell rings: those that concern
// sockets of this node only, see adapter.Envelope's Here, and all while Postgres's
// queue of notifications is full. The publisher hands them to the tail of its own
// node; the others find them with the next bell, or when they look by themselves.

// A notifyBudget is what a publisher has appended since it rang last. It ends before the
// others have more than one chunk to read at once.
type notifyBudget struct{ batches, bytes int }

// exhausted reports whether the next batch has to ring.
func (h notifyBudget) exhausted(bytes int) bool {
	return h.batches >= readBatches-1 || h.bytes+bytes > batchBytes
}

// A handoff batch is in the log, and nobody was told.
type handoff struct {
	logRow

	sealed    []byte        // the frame as it comes along with the bell; nil if it does not
	before    []logRow      // in the log right before it, as far as is known; the first has no frame
	localOnly []func() bool // of its packets, those that are near; see adapter.Envelope
}

// after returns what the log has behind m, up to the batch itself. It returns nothing
// if it does not know m: the id alone does not tell, since this connection may not
// have noticed yet that Postgres has lost the end of the log.
func (h *handoff) after(m batchPos) []logRow {
	if i := slices.IndexFunc(h.before, func(r logRow) bool { return r.batchPos == m }); i >= 0 {
		return append(h.before[i+1:], h.logRow)
	}
	return nil
}

// A reader follows the log on the node of a publisher.
type reader interface {
	// has returns the id of the last batch that the reader has, or was handed.
	has() int64
	// appended tells it what the publisher has appended: the batch, or nil if the
	// bell rings for it.
	appended(h *handoff)
}

// A noopReader reads nothing.
type noopReader struct{}

func (noopReader) has() int64 { return 0 }

func (noopReader) appended(*handoff) {}

// maxHandoffs bounds the batches that wait for a tail that has lost its connection.
const maxHandoffs = readBatches

func (t *tail) has() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return max(t.cursor.id, t.newestHandoff)
}

func (t *tail) appended(h *handoff) {
	if h == nil {
		t.wakeIfPolling()
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.handoffs) == maxHandoffs {
		// The table has them as well. Of whom they concern nothing is known then.
		t.handoffs = append(t.handoffs[:0], &handoff{localOnly: []func() bool{notLocal}})
	}
	t.handoffs, t.newestHandoff = append(t.handoffs, h), h.id
	t.interruptLocked()
}

func notLocal() bool { return false }

// requestRead has the tail read the log now: it has something that no bell may have rung
// for, and that somebody waits for.
func (t *tail) requestRead() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.readRequested = true
	t.interruptLocked()
}

// wakeIfPolling is look for a tail that polls; one that listens is told by the bell.
func (t *tail) wakeIfPolling() {
	if t.db.opts.PollOnly {
		t.requestRead()
	}
}

func (t *tail) interruptLocked() {
	if t.interrupt != nil {
		t.interrupt()
		t.interrupt = nil
	}
}

// armInterrupt has interrupt called when there is something for the tail to do. It returns
// false if there is already.
func (t *tail) armInterrupt(interrupt context.CancelFunc) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.readRequested || len(t.handoffs) > 0 {
		return false
	}
	t.interrupt = interrupt
	return true
}

// takeHandoffs delivers what was handed over, as far as it continues the cursor. It
// returns false when the log has to be read.
func (t *tail) takeHandoffs(ctx context.Context, conn *pgx.Conn) (bool, error) {
	t.mu.Lock()
	batches, wanted := t.handoffs, t.readRequested
	t.handoffs, t.readRequested = nil, false
	t.mu.Unlock()
	// First of all: whatever becomes of the rest, those whom it concerns are asked for.
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

// notifyIfMoved rings for what was delivered here, if by now some of those whom it
// concerns may be elsewhere.
func (t *tail) notifyIfMoved(ctx context.Context, conn *pgx.Conn) error {
	if slices.ContainsFunc(t.pendingLocal, func(here func() bool) bool { return !here() }) {
		ctx, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		_, err := conn.Exec(ctx, t.db.queries.notifyRead, t.db.opts.Schema)
		if err != nil && !queueFull(err) { // else all nodes look by themselves
			return err
		}
	}
	clear(t.pendingLocal) // of an array that lives on
	t.pendingLocal = t.pendingLocal[:0]
	return nil
}

// ensureRead looks for the log up to p, which another node has read already.
func (t *tail) ensureRead(p adapter.Position) {
	if t.position() < p {
		t.requestRead()
	}
}
