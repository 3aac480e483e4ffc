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
	mark

	prior mark // names the batch before it, as far as that is known
	frame []byte
	here  []func() bool // of its packets, those that are near; see adapter.Envelope
}

// maxHanded bounds the batches that wait for a tail that has lost its connection.
const maxHanded = chunk

// appended tells the tail that this node has appended something: h, or what the
// bell rings for if it is nil.
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
	t.handed = append(t.handed, h)
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
		if h.id > t.cursor.id && !t.continues(h) {
			return false, nil
		}
		if h.id <= t.cursor.id {
			continue // read from the table meanwhile
		}
		b, err := decodeBatch(t.db.number.Load(), h.mark, h.frame)
		if err != nil {
			return false, err
		}
		if err := t.deliver(ctx, conn, b); err != nil {
			return false, err
		}
	}
	if wanted {
		return false, nil
	}
	return true, t.settle(ctx, conn)
}

// continues reports whether the log has h right behind what was delivered last. The
// id does not tell: this connection may not have noticed yet that Postgres has lost
// the end of the log.
func (t *tail) continues(h *handed) bool {
	return h.id == t.cursor.id+1 && t.cursor.origin != 0 &&
		h.prior.origin == t.cursor.origin && h.prior.seq == t.cursor.seq
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
