package adapter

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"
)

// MemoryOptions configures a Memory. The zero value means the defaults.
type MemoryOptions struct {
	// Retention is how long a record is kept for clients that reconnect.
	// Default: 5 minutes.
	Retention time.Duration

	// MaxBytes bounds the memory of the kept records, headers included. Beyond it
	// the oldest records are removed early, and a client that needs one of them
	// gets a new session.
	// Default: 64 MiB.
	MaxBytes int
}

func (o *MemoryOptions) withDefaults() MemoryOptions {
	var c MemoryOptions
	if o != nil {
		c = *o
	}
	if c.Retention == 0 {
		c.Retention = 5 * time.Minute
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 64 << 20
	}
	return c
}

// Memory is an Adapter for a single node that keeps the log in memory. It keeps the
// promises of an Adapter while the process runs.
type Memory struct {
	opts MemoryOptions
	log  uint32
	seed uint32

	mu    sync.Mutex
	local Local
	since time.Time  // when local was bound
	at    Position   // the head at that time
	kept  []stamped  // oldest first
	index *RoomIndex // of kept; nil until ReadRoom is called
	bytes int
	head  Position

	waiting    []Delivery    // in the log, and not yet delivered to local
	delivering bool          // a goroutine delivers them
	delivered  Position      // the newest position delivered
	moved      chan struct{} // closed when delivered changes; nil if no goroutine waits

	low atomic.Int64 // the newest position that is no longer kept; written under mu
}

type stamped struct {
	Delivery

	at time.Time
}

// NewMemory returns an empty log. A nil opts means the defaults.
func NewMemory(opts *MemoryOptions) *Memory {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return &Memory{
		opts: opts.withDefaults(),
		log:  binary.BigEndian.Uint32(b[0:]) | 1, // zero means no offset
		seed: binary.BigEndian.Uint32(b[4:]),
	}
}

// Bind implements Adapter.
func (m *Memory) Bind(l Local) (Offset, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.local != nil {
		return Offset{}, errors.New("adapter: this Memory belongs to a server already; make one for each server")
	}
	m.local, m.since, m.at, m.delivered = l, time.Now(), m.head, m.head
	return m.offset(m.head), nil
}

// Nodes implements Adapter. It returns at most one node.
func (m *Memory) Nodes(context.Context) ([]Node, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.local == nil {
		return nil, nil
	}
	return []Node{{
		ID: m.local.ID(), Name: "memory", Started: m.since, Seen: time.Now(), StartPosition: m.at, ReadPosition: m.head,
	}}, nil
}

// maxWaiting bounds the records that wait for their delivery.
const maxWaiting = 4096

// Publish implements Adapter. The envelope is delivered before Publish returns,
// unless another goroutine is delivering; that goroutine then delivers it too.
// Local.Deliver may therefore call Publish.
func (m *Memory) Publish(ctx context.Context, e *Envelope) (*Receipt, error) {
	if e.LocalOnly != nil { // there is no other node; and the closure would live as long as the record
		record := *e
		record.LocalOnly = nil
		e = &record
	}
	e = e.DropInvalidTraceContext()
	m.mu.Lock()
	for len(m.waiting) >= maxWaiting {
		if err := m.awaitMoveLocked(ctx); err != nil {
			m.mu.Unlock()
			return nil, fmt.Errorf("%w: %w", ErrQueueFull, err)
		}
	}
	m.head++
	now := time.Now()
	d := Delivery{Envelope: e, Offset: m.offset(m.head)}
	m.kept = append(m.kept, stamped{d, now})
	m.bytes += e.memory()
	m.index.Add(&d)
	m.trimLocked(now)
	if m.local == nil {
		m.delivered = m.head
	} else {
		m.waiting = append(m.waiting, d)
		m.deliverLocked()
	}
	m.mu.Unlock()
	return CompletedAt(d.Offset), nil
}

// deliverLocked delivers the waiting records, unless another goroutine does. It releases
// the lock meanwhile. Records published in that time are delivered by a new goroutine,
// so that the caller does not wait for them.
func (m *Memory) deliverLocked() {
	if m.delivering {
		return
	}
	m.delivering = true
	m.deliverOnceLocked()
	if m.delivering = len(m.waiting) > 0; m.delivering {
		go m.deliverRest() // owner: the log; ends when nothing waits
	}
}

func (m *Memory) deliverRest() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.waiting) > 0 {
		m.deliverOnceLocked()
	}
	m.delivering = false
}

func (m *Memory) deliverOnceLocked() {
	batch := m.waiting
	m.waiting = nil
	m.mu.Unlock()
	m.local.Deliver(batch)
	m.mu.Lock()
	m.delivered = batch[len(batch)-1].Offset.Position
	if m.moved != nil {
		close(m.moved)
		m.moved = nil
	}
}

// awaitMoveLocked waits for the end of a delivery, without the lock.
func (m *Memory) awaitMoveLocked(ctx context.Context) error {
	if m.moved == nil {
		m.moved = make(chan struct{})
	}
	moved := m.moved
	m.mu.Unlock()
	defer m.mu.Lock()
	select {
	case <-moved:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// WaitDelivered implements Adapter.
func (m *Memory) WaitDelivered(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for head := m.head; m.delivered < head; {
		if err := m.awaitMoveLocked(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Read implements Adapter.
func (m *Memory) Read(_ context.Context, from, to Position) iter.Seq2[[]Delivery, error] {
	return func(yield func([]Delivery, error) bool) {
		batch, err := m.read(from, to)
		if err != nil || len(batch) > 0 {
			yield(batch, err)
		}
	}
}

func (m *Memory) read(from, to Position) ([]Delivery, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trimLocked(time.Now())
	if from < m.Low() && to > from {
		return nil, ErrTrimmed
	}
	var batch []Delivery
	for _, s := range m.kept[min(max(from-m.Low(), 0), Position(len(m.kept))):] {
		if s.Offset.Position > to {
			break
		}
		batch = append(batch, s.Delivery)
	}
	return batch, nil
}

// roomPart is how many records one step of ReadRoom finds at most.
const roomPart = 64

// ReadRoom implements Adapter.
func (m *Memory) ReadRoom(_ context.Context, namespace, room string, to Position) iter.Seq2[PastDelivery, error] {
	return func(yield func(PastDelivery, error) bool) {
		for {
			part, low := m.readRoom(namespace, room, to)
			for _, d := range part {
				if !yield(d, nil) {
					return
				}
			}
			switch {
			case len(part) == roomPart:
				to = part[len(part)-1].Offset.Position - 1
				continue
			case low > 0:
				yield(PastDelivery{}, ErrTrimmed)
			}
			return
		}
	}
}

// readRoom returns some events of the room, newest first, and the newest position that is
// no longer kept.
func (m *Memory) readRoom(namespace, room string, to Position) ([]PastDelivery, Position) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trimLocked(time.Now())
	if m.index == nil {
		m.index = &RoomIndex{}
		for i := range m.kept {
			m.index.Add(&m.kept[i].Delivery)
		}
		m.trimLocked(time.Now())
	}
	found := m.index.Before(namespace, room, to, roomPart)
	part := make([]PastDelivery, len(found))
	for i, p := range found {
		s := m.kept[p-m.Low()-1]
		part[i] = PastDelivery{s.Delivery, s.at}
	}
	return part, m.Low()
}

// ResolveSnapshot implements SnapshotResolver. A token is the text of an offset of this log.
func (m *Memory) ResolveSnapshot(_ context.Context, token string) (StartPosition, error) {
	o, err := ParseOffset(token)
	low, head := m.Extent()
	switch {
	case err != nil, o.Position > head, o != m.offset(o.Position):
		return StartPosition{}, ErrSnapshot
	case o.Position < low:
		return StartPosition{}, ErrTrimmed
	}
	return StartPosition{After: o.Position}, nil
}

// Extent returns the newest position that is no longer kept and the newest
// position of all.
func (m *Memory) Extent() (low, head Position) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trimLocked(time.Now())
	return m.Low(), m.head
}

// Low returns the newest position that is known to be no longer kept. Unlike
// the other methods it takes no lock.
func (m *Memory) Low() Position { return Position(m.low.Load()) }

// Retention returns how long a record is kept.
func (m *Memory) Retention() time.Duration { return m.opts.Retention }

// Number returns the number of this log, which is in its offsets.
func (m *Memory) Number() uint32 { return m.log }

// Offset returns the offset of the given position of this log.
func (m *Memory) Offset(p Position) Offset { return m.offset(p) }

func (m *Memory) offset(p Position) Offset {
	if p == 0 {
		return Offset{Log: m.log}
	}
	// The check value identifies the record within this log. The odd factor makes
	// the values of neighboring records differ in many bits.
	return Offset{Position: p, Log: m.log, Check: m.seed ^ uint32(p)*2654435761}
}

func (m *Memory) trimLocked(now time.Time) {
	n := 0
	for n < len(m.kept) && (m.bytes+m.index.Bytes() > m.opts.MaxBytes || now.Sub(m.kept[n].at) > m.opts.Retention) {
		m.bytes -= m.kept[n].memory()
		m.low.Store(int64(m.kept[n].Offset.Position))
		m.index.RemoveFirst(&m.kept[n].Delivery)
		n++
	}
	clear(m.kept[:n]) // frees the trimmed records while the array is in use
	m.kept = m.kept[n:]
}
