package pgadapter

import (
	"context"
	"errors"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pgsocket/socketio/adapter"
)

// A logRead is what one look at the log found.
type logRead struct {
	log           uint32
	low           adapter.Position
	outboxPending bool  // emits from SQL wait to be adopted, if that was asked
	origin, seq   int64 // of the batch that the reading starts after; zero if the log has it not
	rows          []logRow
	more          bool // there may be more batches in the range
}

type logRow struct {
	batchPos

	frame []byte
}

// A readScope is what a reading asks for.
type readScope bool

const (
	theLog     readScope = false
	withOutbox readScope = true // whether there is something to adopt, too
)

// A pace is how much a reader asks for at once, and for how long it waits for that.
type pace struct {
	bytes   int // beyond these no further batch is read
	timeout time.Duration
}

// A reader begins with full. On a line that is too slow for that it asks for less, and
// waits for longer, up to slowest.
const (
	fullBytes   = 4 << 20
	slowestRead = 8 * answerTimeout
)

func fullPace() pace { return pace{fullBytes, answerTimeout} }

// next returns the pace of the next read after one with this result.
func (p pace) next(err error) pace {
	switch {
	case err == nil:
		return pace{min(2*p.bytes, fullBytes), max(p.timeout/2, answerTimeout)}
	case errors.Is(err, context.DeadlineExceeded):
		return pace{max(p.bytes/8, 1), min(2*p.timeout, slowestRead)}
	default:
		return p
	}
}

// An idRange is the batches with ids in (after, to].
type idRange struct{ after, to int64 }

// readLog reads a chunk of the batches of an extent.
//
// What it finds is complete after the low mark it returns: the statement locks
// the partitions before it takes its snapshot, and a partition's low mark is
// committed together with its truncation.
func (db *DB) readLog(ctx context.Context, q querier, of idRange, s readScope, p pace) (logRead, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	var r logRead
	size := 0
	rows, err := q.Query(ctx, db.queries.read, of.after, of.to, readBatches, bool(s), p.bytes)
	if err != nil {
		return r, err
	}
	defer rows.Close()
	for rows.Next() {
		var number int64
		var cursorOrigin, cursorSeq, id, origin, seq pgtype.Int8
		var packets pgtype.Int4
		var frame []byte
		if err := rows.Scan(&number, &r.low, &r.outboxPending, &cursorOrigin, &cursorSeq, &id, &origin, &seq, &packets, &frame); err != nil {
			return r, err
		}
		r.log, r.origin, r.seq = uint32(number), cursorOrigin.Int64, cursorSeq.Int64
		if id.Valid {
			m := batchPos{id: id.Int64, origin: origin.Int64, seq: seq.Int64, packets: int(packets.Int32)}
			r.rows = append(r.rows, logRow{m, frame})
			size += len(frame)
		}
	}
	if rows.Err() == nil && r.log == 0 {
		return r, errMetaLost(db.opts.Schema)
	}
	r.more = len(r.rows) == readBatches || size >= p.bytes
	return r, rows.Err()
}

// parseNotification returns the batch that a notification carries: only its id if the batch
// does not come along, or is not sealed with the key that this node knows. It returns
// nothing for a bell of another sort. What it returns without a batch is a hint that
// anybody may have made up.
func (t *tail) parseNotification(payload string) (b *logBatch, carried bool) {
	fields := strings.SplitN(payload, " ", 5)
	m := batchPos{}
	for i, field := range [...]*int64{&m.id, &m.origin, &m.seq} {
		if i >= len(fields) {
			return &logBatch{}, false
		}
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return &logBatch{}, false
		}
		*field = n
	}
	if len(fields) < 5 {
		return &logBatch{batchPos: m}, false
	}
	name := payload[:len(fields[0])+len(fields[1])+len(fields[2])+3]
	frame, err := t.db.sealer.open(m, name, fields[3], fields[4])
	if err != nil {
		t.keyStale = true
		return &logBatch{batchPos: m}, false
	}
	m.packets = countPackets(frame)
	b, err = decodeBatch(t.db.opts.frames, t.db.number.Load(), m, frame)
	if err != nil {
		return &logBatch{batchPos: m}, false
	}
	return b, true
}

// read yields the deliveries in (from, to]: what memory has from there, the rest
// from Postgres. Whatever comes between two looks at memory and log, each step
// starts at the end of the one before and is complete or fails.
func (t *tail) read(ctx context.Context, from, to adapter.Position) iter.Seq2[[]adapter.Delivery, error] {
	return func(yield func([]adapter.Delivery, error) bool) {
		for from < to {
			batches, next, err := t.readStep(ctx, from, to)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, b := range batches {
				if d := b.within(from, to); len(d) > 0 && !yield(d, nil) {
					return
				}
			}
			from = next
		}
	}
}

// readStep returns batches after from, and the position up to which there are no
// others.
func (t *tail) readStep(ctx context.Context, from, to adapter.Position) ([]*logBatch, adapter.Position, error) {
	t.mu.Lock()
	low, high := t.recent.low, t.cursor.position()
	var batches []*logBatch
	if from >= low && from < high {
		batches = t.recent.after(from, readBatches)
	}
	t.mu.Unlock()
	switch {
	case from >= low && from < high && len(batches) == 0:
		return nil, high, nil
	case len(batches) > 0:
		return batches, batches[len(batches)-1].position(), nil
	case from < low:
		return t.readShared(ctx, from, low)
	default:
		return t.readRows(ctx, from, to)
	}
}

// readShared reads what comes after from, below low, with all others who want it.
func (t *tail) readShared(ctx context.Context, from, low adapter.Position) ([]*logBatch, adapter.Position, error) {
	of := idRangeAfter(from, low)
	for {
		e, err := t.cache.get(ctx, of, func() (logRange, error) {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), slowestRead)
			defer cancel()
			return t.readRange(ctx, of.after, of.to)
		})
		switch end := position(e.upTo, maxPackets-1); {
		case err != nil:
			return nil, 0, err
		case from < e.low || e.log != t.db.number.Load():
			return nil, 0, adapter.ErrTrimmed
		case from < end || e.upTo == of.to:
			return e.batches, min(low, end), nil
		}
		of.after = e.upTo // the stretch has more than is read at once
	}
}

func (t *tail) readRows(ctx context.Context, from, to adapter.Position) ([]*logBatch, adapter.Position, error) {
	// The batch that from lies in may have packets after from.
	e, err := t.readRange(ctx, batchID(from+1)-1, batchID(to))
	switch {
	case err != nil:
		return nil, 0, err
	case from < e.low || e.log != t.db.number.Load():
		return nil, 0, adapter.ErrTrimmed
	case e.upTo == batchID(to):
		return e.batches, to, nil
	default:
		return e.batches, position(e.upTo, maxPackets-1), nil
	}
}

// An logRange is batches of the log, with what it said of itself then. It is complete up
// to the batch upTo.
type logRange struct {
	batches []*logBatch
	upTo    int64
	low     adapter.Position
	log     uint32
}

// readRange reads batches with ids in (after, to]: the first ones, if they are many.
func (t *tail) readRange(ctx context.Context, after, to int64) (e logRange, err error) {
	select {
	case t.rows <- struct{}{}:
		defer func() { <-t.rows }()
	case <-ctx.Done():
		return e, context.Cause(ctx)
	}
	r, err := t.readRetrying(ctx, after, to)
	if err != nil {
		return e, err
	}
	e = logRange{make([]*logBatch, 0, len(r.rows)), to, r.low, r.log}
	for _, row := range r.rows {
		b, err := decodeBatch(t.db.opts.frames, r.log, row.batchPos, row.frame)
		if err != nil {
			_ = t.unreadable.note(r.log, row.batchPos, err) // for a reader that comes from before it, it is as if trimmed
			continue
		}
		e.batches = append(e.batches, b)
	}
	e.low = max(e.low, t.unreadable.after(r.log))
	if r.more {
		e.upTo = r.rows[len(r.rows)-1].id
	}
	return e, nil
}

// readRetrying reads through the pool, whose connections may have died unseen.
func (t *tail) readRetrying(ctx context.Context, after, to int64) (logRead, error) {
	var r logRead
	p := fullPace()
	err := retryTransient(ctx, func() (err error) {
		r, err = t.db.readLog(ctx, t.db.pool, idRange{after, to}, theLog, p)
		p = p.next(err)
		return err
	})
	return r, err
}
