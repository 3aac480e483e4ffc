package pgadapter

import (
	"time"

	"github.com/pgsocket/socketio/adapter"
)

// A recentBatches is the newest part of the log in memory, complete after low.
type recentBatches struct {
	maxBytes int
	maxAge   time.Duration

	low     adapter.Position
	batches []*logBatch // oldest first
	bytes   int
}

func (r *recentBatches) add(b *logBatch) {
	r.batches = append(r.batches, b)
	r.bytes += b.bytes
	r.trim(b.read)
}

// trim removes batches that are too old, and the oldest ones beyond maxBytes.
func (r *recentBatches) trim(now time.Time) {
	n := 0
	for n < len(r.batches) && (r.bytes > r.maxBytes || now.Sub(r.batches[n].read) > r.maxAge) {
		r.bytes -= r.batches[n].bytes
		r.low = r.batches[n].position()
		n++
	}
	clear(r.batches[:n]) // drops references in the retained array
	r.batches = r.batches[n:]
}

// reset removes everything; afterwards r is complete after low.
func (r *recentBatches) reset(low adapter.Position) {
	clear(r.batches)
	r.low, r.batches, r.bytes = low, nil, 0
}

// cut removes the batches after the one with the given id, and returns them.
func (r *recentBatches) cut(id int64) []*logBatch {
	n := len(r.batches)
	for n > 0 && r.batches[n-1].id > id {
		n--
		r.bytes -= r.batches[n].bytes
	}
	lost := append([]*logBatch(nil), r.batches[n:]...)
	clear(r.batches[n:])
	r.batches = r.batches[:n]
	return lost
}

// after returns up to n batches that end after from.
func (r *recentBatches) after(from adapter.Position, n int) []*logBatch {
	low, high := 0, len(r.batches)
	for low < high {
		if mid := (low + high) / 2; r.batches[mid].position() > from {
			high = mid
		} else {
			low = mid + 1
		}
	}
	found := r.batches[low:min(low+n, len(r.batches))]
	return append([]*logBatch(nil), found...)
}
