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

func (m *recentBatches) add(b *logBatch) {
	m.batches = append(m.batches, b)
	m.bytes += b.bytes
	m.trim(b.read)
}

// trim removes batches that are too old, and the oldest ones beyond maxBytes.
func (m *recentBatches) trim(now time.Time) {
	n := 0
	for n < len(m.batches) && (m.bytes > m.maxBytes || now.Sub(m.batches[n].read) > m.maxAge) {
		m.bytes -= m.batches[n].bytes
		m.low = m.batches[n].position()
		n++
	}
	clear(m.batches[:n]) // drops references in the retained array
	m.batches = m.batches[n:]
}

// reset removes everything; afterwards m is complete after low.
func (m *recentBatches) reset(low adapter.Position) {
	clear(m.batches)
	m.low, m.batches, m.bytes = low, nil, 0
}

// cut removes the batches after the one with the given id, and returns them.
func (m *recentBatches) cut(id int64) []*logBatch {
	n := len(m.batches)
	for n > 0 && m.batches[n-1].id > id {
		n--
		m.bytes -= m.batches[n].bytes
	}
	lost := append([]*logBatch(nil), m.batches[n:]...)
	clear(m.batches[n:])
	m.batches = m.batches[:n]
	return lost
}

// after returns up to n batches that end after from.
func (m *recentBatches) after(from adapter.Position, n int) []*logBatch {
	low, high := 0, len(m.batches)
	for low < high {
		if mid := (low + high) / 2; m.batches[mid].position() > from {
			high = mid
		} else {
			low = mid + 1
		}
	}
	found := m.batches[low:min(low+n, len(m.batches))]
	return append([]*logBatch(nil), found...)
}
