package pgadapter

import (
	"encoding/binary"
	"iter"
	"maps"
	"time"
)

// A lostDeliveries recognizes what a tail delivered before the log lost its end, and that the log gets again: a batch of a node
// because its publisher had no answer and sends it again; an event from SQL because Postgres, or the copy of the database
// that the nodes went to, still has the row of the outbox and not the batch that the row was relayed with. The relay may
// divide its events into other batches then, so events are recognized by name, not by batch.
//
// The zero value is empty.
type lostDeliveries struct {
	truncations int // how often the log has lost its end
	batches     map[batchName]lostAt
	events      map[eventName]lostAt
}

type batchName struct{ origin, seq int64 }

// An eventName names an event from SQL: by the columns xid, id and at of its row in the outbox. A copy of the database has
// the same row with the same name.
//
// Xid and id alone may name different events. A promoted standby gives transaction ids and ids again that the former primary
// gave to what the standby lacks, and a restored dump goes on with the ids of its sequence under the transaction ids of
// another server. Together with the time of the emit, in microseconds, the name is unique: two events could share it only
// if both servers took the same id, in a transaction with the same number, in the same microsecond. On one server not even
// two databases can, because they share the transaction ids.
type eventName struct{ xid, id, at uint64 }

// eventNameBytes is the size in the column names of the log, where the number of packets follows each name.
const eventNameBytes = 28

// A lostAt is the time at which the log lost its end, and the number of truncations before.
type lostAt struct {
	time        time.Time
	truncations int
}

// truncated adds batches that were delivered and that the log has lost.
func (r *lostDeliveries) truncated(lost []*logBatch, now time.Time) {
	if r.batches == nil {
		r.batches, r.events = make(map[batchName]lostAt), make(map[eventName]lostAt)
	}
	at := lostAt{now, r.truncations}
	r.truncations++
	for _, b := range lost {
		r.batches[batchName{b.origin, b.seq}] = at
		for name := range eventNames(b.names) {
			r.events[name] = at
		}
	}
}

// trim forgets what the log lost longer than retention ago: by then, publishers have sent unanswered batches again, and the
// outbox is relayed.
func (r *lostDeliveries) trim(now time.Time, retention time.Duration) {
	maps.DeleteFunc(r.batches, func(_ batchName, at lostAt) bool { return now.Sub(at.time) > retention })
	maps.DeleteFunc(r.events, func(_ eventName, at lostAt) bool { return now.Sub(at.time) > retention })
	if len(r.batches) == 0 && len(r.events) == 0 {
		r.batches, r.events = nil, nil // maps do not shrink
	}
}

// mark sets Redelivery of the deliveries of a batch that the tail has delivered before, and forgets their names.
func (r *lostDeliveries) mark(b *logBatch) {
	if len(r.batches) == 0 && len(r.events) == 0 {
		return
	}
	name := batchName{b.origin, b.seq}
	if at, again := r.batches[name]; again {
		delete(r.batches, name)
		r.markRange(b, 0, b.packets, at)
	}
	first := 0
	for name, packets := range eventNames(b.names) {
		if at, again := r.events[name]; again {
			delete(r.events, name)
			r.markRange(b, first, first+packets, at)
		}
		first += packets
	}
}

// markRange marks the packets of b from the index first to before end.
func (r *lostDeliveries) markRange(b *logBatch, first, end int, at lostAt) {
	for i := range b.deliveries {
		d := &b.deliveries[i]
		if index := int(d.Offset.Position) & (maxPackets - 1); index >= first && index < end {
			d.Redelivery = r.truncations - at.truncations
		}
	}
}

// eventNames yields the names of the events in a relayed batch, and the number of packets of each, as the column names of the
// log has them.
func eventNames(names []byte) iter.Seq2[eventName, int] {
	return func(yield func(eventName, int) bool) {
		for ; len(names) >= eventNameBytes; names = names[eventNameBytes:] {
			name := eventName{binary.BigEndian.Uint64(names), binary.BigEndian.Uint64(names[8:]), binary.BigEndian.Uint64(names[16:])}
			if !yield(name, int(binary.BigEndian.Uint32(names[24:]))) {
				return
			}
		}
	}
}
