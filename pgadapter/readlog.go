package pgadapter

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pgsocket/socketio/adapter"
)

// A logRead is the result of one read of the log.
type logRead struct {
	log           uint32
	low           adapter.Position
	outboxPending bool  // the outbox has events to relay, if withOutbox was set
	origin, seq   int64 // of the batch before the range; zero if the log does not have it
	rows          []logRow
	more          bool // there may be more batches in the range
}

type logRow struct {
	batchPos

	frame []byte
	names []byte // of a relayed batch: the names of its events, see eventNames
}

// A readScope selects what a read returns.
type readScope bool

const (
	theLog     readScope = false
	withOutbox readScope = true // also whether the outbox has events to relay
)

// A pace is the amount of log that one read asks for, and its timeout.
type pace struct {
	bytes   int // no further batch is read beyond this size
	timeout time.Duration
}

// A reader begins with fullBytes. On a slow connection it asks for less, and waits for
// longer, up to slowestRead.
const (
	fullBytes   = 4 << 20
	slowestRead = 8 * answerTimeout
)

func fullPace() pace { return pace{fullBytes, answerTimeout} }

// next returns the pace of the next read after one that returned err.
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

// readLog reads the first batches of a range, as many as the pace allows.
//
// The result is complete after the low position that it returns: the statement locks
// the partitions before it takes its snapshot, and the low position of a partition is
// committed together with its truncation.
func (t *tail) readLog(ctx context.Context, q querier, of idRange, s readScope, p pace) (logRead, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	var r logRead
	size := 0
	rows, err := q.Query(ctx, t.queries.read, of.after, of.to, readBatches, bool(s), p.bytes)
	if err != nil {
		return r, err
	}
	defer rows.Close()
	for rows.Next() {
		var number int64
		var cursorOrigin, cursorSeq, id, origin, seq pgtype.Int8
		var packets pgtype.Int4
		var frame, names []byte
		if err := rows.Scan(&number, &r.low, &r.outboxPending, &cursorOrigin, &cursorSeq, &id, &origin, &seq, &packets, &frame, &names); err != nil {
			return r, err
		}
		r.log, r.origin, r.seq = uint32(number), cursorOrigin.Int64, cursorSeq.Int64
		if id.Valid {
			m := batchPos{id: id.Int64, origin: origin.Int64, seq: seq.Int64, packets: int(packets.Int32)}
			r.rows = append(r.rows, logRow{m, frame, names})
			size += len(frame)
		}
	}
	if rows.Err() == nil && r.log == 0 {
		return r, errMetaLost(t.opts.Schema)
	}
	r.more = len(r.rows) == readBatches || size >= p.bytes
	return r, rows.Err()
}

// read yields the deliveries in (from, to], from recentBatches where possible and otherwise
// from Postgres. Each step starts at the end of the previous one and is complete or fails,
// so changes of memory and log between the steps cause no gap.
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

// readStep returns batches after from, and the position up to which the result is
// complete.
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

// readShared reads batches after from and below low through the cache.
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
		case from < e.low || e.log != t.sealer.number.Load():
			return nil, 0, adapter.ErrTrimmed
		case from < end || e.upTo == of.to:
			return e.batches, min(low, end), nil
		}
		of.after = e.upTo // the range has more than one read returns
	}
}

func (t *tail) readRows(ctx context.Context, from, to adapter.Position) ([]*logBatch, adapter.Position, error) {
	// The batch that from lies in may have packets after from.
	e, err := t.readRange(ctx, batchID(from+1)-1, batchID(to))
	switch {
	case err != nil:
		return nil, 0, err
	case from < e.low || e.log != t.sealer.number.Load():
		return nil, 0, adapter.ErrTrimmed
	case e.upTo == batchID(to):
		return e.batches, to, nil
	default:
		return e.batches, position(e.upTo, maxPackets-1), nil
	}
}

// A logRange is a range of batches with the state of the log when it was read. It is
// complete up to the batch upTo; read from its end, by readBack, after the batch upTo.
type logRange struct {
	batches []*logBatch
	upTo    int64
	low     adapter.Position
	log     uint32
}

// readRange reads batches with ids in (after, to], or the first ones if there are many.
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
		b, err := decodeBatch(t.opts.frames, r.log, row.batchPos, row.frame)
		if err != nil {
			_ = t.unreadable.note(r.log, row.batchPos, err) // for a reader that starts before it, the log is trimmed here
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

// readRetrying reads through the pool, and retries because idle connections may be dead.
func (t *tail) readRetrying(ctx context.Context, after, to int64) (logRead, error) {
	var r logRead
	p := fullPace()
	err := retryTransient(ctx, func() (err error) {
		r, err = t.readLog(ctx, t.pool, idRange{after, to}, theLog, p)
		p = p.next(err)
		return err
	})
	return r, err
}
