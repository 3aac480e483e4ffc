package pgadapter

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pgsocket/socketio/adapter"
)

// readRoom yields the events of a room up to the position to, newest first: from
// recentBatches, which has an index of them, and then everything that Postgres still has
// from before. Each step starts where the one before has ended and is complete or fails,
// so changes of memory and log between the steps cause no gap.
func (t *tail) readRoom(ctx context.Context, namespace, room string, to adapter.Position) iter.Seq2[adapter.PastDelivery, error] {
	return func(yield func(adapter.PastDelivery, error) bool) {
		for {
			part, next, end := t.recentRoom(namespace, room, to)
			if end > 0 {
				t.readBelow(ctx, to, end, yield)
				return
			}
			for _, d := range part {
				if !yield(d, nil) {
					return
				}
			}
			if to = next; to == 0 {
				return // the log began while this node followed it
			}
		}
	}
}

// recentRoom returns events of the room that are in memory, up to the position to, and the
// position after which the result is complete. If memory has nothing of that part of the
// log, it returns the id of a batch at or after that position up to which Postgres has to be
// read. These ids are few, so that many readers share what is read.
func (t *tail) recentRoom(namespace, room string, to adapter.Position) (part []adapter.PastDelivery, next adapter.Position, end int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if to <= t.recent.low {
		end = (batchID(to) + readBatches - 1) / readBatches * readBatches
		if end > t.cursor.id {
			end = batchID(t.recent.low)
		}
		return nil, 0, end
	}
	part = t.recent.room(namespace, room, to, readBatches)
	if len(part) == readBatches {
		return part, part[len(part)-1].Offset.Position - 1, 0
	}
	return part, min(to, t.recent.low), 0 // recent.room may have trimmed some
}

// readBelow yields all records up to the position to, newest first. They are in the batches
// up to the id end, and this node has read the log up to there.
func (t *tail) readBelow(ctx context.Context, to adapter.Position, end int64, yield func(adapter.PastDelivery, error) bool) {
	for end > 0 {
		e, err := t.backCache.get(ctx, idRange{0, end}, func() (logRange, error) {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), slowestRead)
			defer cancel()
			return t.readBack(ctx, end)
		})
		if err == nil && e.log != t.sealer.number.Load() {
			err = adapter.ErrTrimmed
		}
		if err != nil {
			yield(adapter.PastDelivery{}, err)
			return
		}
		for _, d := range pastDeliveries(e.batches, e.low, to) {
			if !yield(d, nil) {
				return
			}
		}
		if end = e.upTo; e.low > 0 && end <= batchID(e.low) {
			yield(adapter.PastDelivery{}, adapter.ErrTrimmed)
			return
		}
	}
}

// pastDeliveries returns the deliveries of batches in (from, to], newest first.
func pastDeliveries(batches []*logBatch, from, to adapter.Position) []adapter.PastDelivery {
	var found []adapter.PastDelivery
	for _, b := range batches {
		for _, d := range slices.Backward(b.within(from, to)) {
			found = append(found, adapter.PastDelivery{Delivery: d, At: b.read})
		}
	}
	return found
}

// readBack reads the batches up to the id end, the newest first, as many as one read
// returns. The result is complete after the batch upTo. See readLog.
func (t *tail) readBack(ctx context.Context, end int64) (e logRange, err error) {
	select {
	case t.rows <- struct{}{}:
		defer func() { <-t.rows }()
	case <-ctx.Done():
		return e, context.Cause(ctx)
	}
	p := fullPace()
	err = retryTransient(ctx, func() (err error) {
		e, err = t.readBackOnce(ctx, end, p)
		p = p.next(err)
		return err
	})
	e.low = max(e.low, t.unreadable.after(e.log))
	return e, err
}

func (t *tail) readBackOnce(ctx context.Context, end int64, p pace) (logRange, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	var e logRange
	rows, err := t.pool.Query(ctx, t.queries.readBack, end, readBatches, p.bytes)
	if err != nil {
		return e, err
	}
	defer rows.Close()
	read, size := 0, 0
	for rows.Next() {
		var number int64
		var id, origin, seq pgtype.Int8
		var packets pgtype.Int4
		var frame []byte
		var at pgtype.Timestamptz
		if err := rows.Scan(&number, &e.low, &id, &origin, &seq, &packets, &frame, &at); err != nil {
			return e, err
		}
		e.log = uint32(number)
		if !id.Valid {
			continue
		}
		read++
		size += len(frame)
		pos := batchPos{id: id.Int64, origin: origin.Int64, seq: seq.Int64, packets: int(packets.Int32)}
		if read == readBatches || size >= p.bytes {
			e.upTo = pos.id - 1 // there may be more
		}
		b, err := decodeBatch(t.opts.frames, e.log, pos, frame)
		if err != nil {
			_ = t.unreadable.note(e.log, pos, err) // the log is trimmed here
			continue
		}
		b.read = at.Time
		e.batches = append(e.batches, b)
	}
	if rows.Err() == nil && e.log == 0 {
		return e, errMetaLost(t.opts.Schema)
	}
	return e, rows.Err()
}

// clearCaches removes what was read from Postgres, because the log may have lost its end or
// was replaced.
func (t *tail) clearCaches() {
	t.cache.clear()
	t.backCache.clear()
}

// trimCaches removes what was not used lately.
func (t *tail) trimCaches(now time.Time) {
	t.cache.trim(now)
	t.backCache.trim(now)
}
