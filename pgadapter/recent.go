package pgadapter

import (
	"slices"
	"sort"
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
	index   *adapter.RoomIndex // nil until room is called
}

func (r *recentBatches) add(b *logBatch) {
	r.batches = append(r.batches, b)
	r.bytes += b.bytes
	r.indexBatch(b)
	r.trim(b.read)
}

func (r *recentBatches) indexBatch(b *logBatch) {
	if r.index == nil {
		return
	}
	for i := range b.deliveries {
		r.index.Add(&b.deliveries[i])
	}
}

// trim removes batches that are too old, and the oldest ones beyond maxBytes.
func (r *recentBatches) trim(now time.Time) {
	n := 0
	for n < len(r.batches) && (r.bytes+r.index.Bytes() > r.maxBytes || now.Sub(r.batches[n].read) > r.maxAge) {
		b := r.batches[n]
		r.bytes -= b.bytes
		r.low = b.position()
		if r.index != nil {
			for i := range b.deliveries {
				r.index.RemoveFirst(&b.deliveries[i])
			}
		}
		n++
	}
	clear(r.batches[:n]) // drops references in the retained array
	r.batches = r.batches[n:]
}

// reset removes everything; afterwards r is complete after low.
func (r *recentBatches) reset(low adapter.Position) {
	clear(r.batches)
	r.low, r.batches, r.bytes, r.index = low, nil, 0, nil
}

// cut removes the batches after the one with the given id, and returns them.
func (r *recentBatches) cut(id int64) []*logBatch {
	n := len(r.batches)
	for n > 0 && r.batches[n-1].id > id {
		n--
		b := r.batches[n]
		r.bytes -= b.bytes
		if r.index != nil {
			for _, d := range slices.Backward(b.deliveries) {
				r.index.RemoveLast(&d)
			}
		}
	}
	lost := append([]*logBatch(nil), r.batches[n:]...)
	clear(r.batches[n:])
	r.batches = r.batches[:n]
	return lost
}

// after returns up to n batches that end after from.
func (r *recentBatches) after(from adapter.Position, n int) []*logBatch {
	first := r.firstAfter(from)
	found := r.batches[first:min(first+n, len(r.batches))]
	return append([]*logBatch(nil), found...)
}

// firstAfter returns the index of the first batch that ends after from.
func (r *recentBatches) firstAfter(from adapter.Position) int {
	return sort.Search(len(r.batches), func(i int) bool { return r.batches[i].position() > from })
}

// room returns up to n events of a room, newest first, that are at most at to.
func (r *recentBatches) room(namespace, room string, to adapter.Position, n int) []adapter.PastDelivery {
	if r.index == nil {
		r.index = &adapter.RoomIndex{}
		for _, b := range r.batches {
			r.indexBatch(b)
		}
		r.trim(time.Now())
	}
	positions := r.index.Before(namespace, room, to, n)
	found := make([]adapter.PastDelivery, len(positions))
	for i, p := range positions {
		b := r.batches[r.firstAfter(p-1)]
		found[i] = adapter.PastDelivery{Delivery: b.within(p-1, p)[0], At: b.read}
	}
	return found
}
