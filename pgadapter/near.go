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

// A hush is what a publisher has appended since it rang last. It ends before the
// others have more than one chunk to read at once.
type hush struct{ batches, bytes int }

// over reports whether the next batch has to ring.
func (h hush) over(bytes int) bool { return h.batches >= chunk-1 || h.bytes+bytes > batchBytes }

// A handed batch is in the log, and nobody was told.
type handed struct {
	row

	sealed []byte        // the frame as it comes along with the bell; nil if it does not
	before []row         // in the log right before it, as far as is known; the first has no frame
	here   []func() bool // of its packets, those that are near; see adapter.Envelope
}

// after returns what the log has behind m, up to the batch itself. It returns nothing
// if it does not know m: the id alone does not tell, since this connection may not
// have noticed yet that Postgres has lost the end of the log.
func (h *handed) after(m mark) []row {
	if i := slices.IndexFunc(h.before, func(r row) bool { return r.mark == m }); i >= 0 {
		return append(h.before[i+1:], h.row)
	}
	return nil
}

// A reader follows the log on the node of a publisher.
type reader interface {
	// has returns the id of the last batch that the reader has, or was handed.
	has() int64
	// appended tells it what the publisher has appended: the batch, or nil if the
	// bell rings for it.
	appended(h *handed)
}

// A nobody reads nothing.
type nobody struct{}

func (nobody) has() int64 { return 0 }

func (nobody) appended(*handed) {}

// maxHanded bounds the batches that wait for a tail that has lost its connection.
const maxHanded = chunk

func (t *tail) has() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return max(t.cursor.id, t.newest)
}

func (t *tail) appended(h *handed) {
	if h == nil {
		t.nudge()
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.handed) == maxHanded {
		// The table has them as well. Of whom they concern nothing is known then.
		t.handed = append(t.handed[:0], &handed{here: []func() bool{nowhere}})
	}
	t.handed, t.newest = append(t.handed, h), h.id
	t.interruptLocked()
}

func nowhere() bool { return false }

// look has the tail read the log now: it has something that no bell may have rung
// for, and that somebody waits for.
func (t *tail) look() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wanted = true
	t.interruptLocked()
}

// nudge is look for a tail that polls; one that listens is told by the bell.
func (t *tail) nudge() {
	if t.db.opts.PollOnly {
		t.look()
	}
}

func (t *tail) interruptLocked() {
	if t.interrupt != nil {
		t.interrupt()
		t.interrupt = nil
	}
}

// await has interrupt called when there is something for the tail to do. It returns
// false if there is already.
func (t *tail) await(interrupt context.CancelFunc) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.wanted || len(t.handed) > 0 {
		return false
	}
	t.interrupt = interrupt
	return true
}

// takeHanded delivers what was handed over, as far as it continues the cursor. It
// returns false when the log has to be read.
func (t *tail) takeHanded(ctx context.Context, conn *pgx.Conn) (bool, error) {
	t.mu.Lock()
	batches, wanted := t.handed, t.wanted
	t.handed, t.wanted = nil, false
	t.mu.Unlock()
	// First of all: whatever becomes of the rest, those whom it concerns are asked for.
	for _, h := range batches {
		t.unsure = append(t.unsure, h.here...)
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
		t.note(func() { t.newest = 0 })
		return false, nil
	}
	return true, t.settle(ctx, conn)
}

// settle rings for what was delivered here, if by now some of those whom it
// concerns may be elsewhere.
func (t *tail) settle(ctx context.Context, conn *pgx.Conn) error {
	if slices.ContainsFunc(t.unsure, func(here func() bool) bool { return !here() }) {
		ctx, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		_, err := conn.Exec(ctx, t.db.queries.ring, t.db.opts.Schema)
		if err != nil && !queueFull(err) { // else all nodes look by themselves
			return err
		}
	}
	clear(t.unsure) // of an array that lives on
	t.unsure = t.unsure[:0]
	return nil
}

// seek looks for the log up to p, which another node has read already.
func (t *tail) seek(p adapter.Position) {
	if t.position() < p {
		t.look()
	}
}
