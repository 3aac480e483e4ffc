package pgadapter

import (
	"sort"
	"time"

	"github.com/pgsocket/socketio/adapter"
)

// A batchPos names a batch in the log: its id, and the origin and seq that identify its content.
type batchPos struct {
	id      int64
	origin  int64
	seq     int64
	packets int
}

// position returns the position of the last packet of the batch.
func (m batchPos) position() adapter.Position {
	if m.id == 0 {
		return 0
	}
	return position(m.id, m.packets-1)
}

// batchPosAt returns a batchPos that ends at p and has no origin.
func batchPosAt(p adapter.Position) batchPos {
	return batchPos{id: batchID(p), packets: int(p)&(maxPackets-1) + 1}
}

// offset returns the offset of the last packet of the batch.
func (m batchPos) offset(log uint32) adapter.Offset {
	if m.origin == 0 {
		return adapter.Offset{Position: m.position(), Log: log}
	}
	return adapter.Offset{Position: m.position(), Log: log, Check: checkValue(log, m.origin, m.seq)}
}

// A logBatch is a decoded row of the log.
type logBatch struct {
	batchPos

	deliveries []adapter.Delivery
	names      []byte // of a relayed batch that the tail delivers, see eventNames
	bytes      int    // approximate memory
	read       time.Time
}

// Approximate memory of a decoded batch besides its frame: for the batch, per packet, per
// name of an audience, and per attachment.
const (
	batchOverhead   = 256
	deliveryBytes   = 200
	nameBytes       = 32
	attachmentBytes = 32
)

// batchMemory returns the approximate memory of a batch in bytes. Its packets share the
// memory of the frame, and the names of the previous packet if they are equal.
func batchMemory(frame []byte, envelopes []*adapter.Envelope) int {
	n := batchOverhead + len(frame) + len(frame)/8 + deliveryBytes*len(envelopes)
	last := &adapter.Envelope{}
	for _, e := range envelopes {
		if e == nil {
			continue
		}
		n += attachmentBytes * len(e.Attachments)
		n += namesMemory(last.Audience.Rooms, e.Audience.Rooms) + namesMemory(last.Audience.Except, e.Audience.Except)
		if e.Namespace != last.Namespace {
			n += len(e.Namespace)
		}
		last = e
	}
	return n
}

// namesMemory returns the approximate memory of names, zero if they are shared with before.
func namesMemory(before, names []string) int {
	if len(names) == 0 || len(before) > 0 && &before[0] == &names[0] {
		return 0
	}
	n := nameBytes * len(names)
	for _, name := range names {
		n += len(name)
	}
	return n
}

// decodeBatch decodes a row of the log with the given number. It returns an error if the frame version is above newest.
func decodeBatch(newest byte, log uint32, m batchPos, frame []byte) (*logBatch, error) {
	envelopes, err := decodeFrameUpTo(newest, frame, m.packets)
	if err != nil {
		return nil, err
	}
	b := &logBatch{batchPos: m, bytes: batchMemory(frame, envelopes), read: time.Now()}
	b.deliveries = make([]adapter.Delivery, 0, len(envelopes))
	check := checkValue(log, m.origin, m.seq)
	for i, e := range envelopes {
		if e != nil {
			b.deliveries = append(b.deliveries, adapter.Delivery{
				Envelope: e, Offset: adapter.Offset{Position: position(m.id, i), Log: log, Check: check},
			})
		}
	}
	return b, nil
}

// within returns the deliveries of the batch in (from, to].
func (b *logBatch) within(from, to adapter.Position) []adapter.Delivery {
	after := func(p adapter.Position) int {
		return sort.Search(len(b.deliveries), func(i int) bool { return b.deliveries[i].Offset.Position > p })
	}
	first := after(from)
	return b.deliveries[first:max(first, after(to))]
}
