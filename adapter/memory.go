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

// MemoryOptions configures a Memory. The zero value is right for most.
type MemoryOptions struct {
	// Retention is how long a record is kept for clients that come back.
	// Default: 5 minutes.
	Retention time.Duration

	// MaxBytes bounds the memory of the kept records, headers and all; beyond
	// it the oldest go before their time, and who needed them starts a new session.
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

// Memory is the log of a single node, kept in memory. It gives one process the
// promises of the contract for as long as the process lives.
type Memory struct {
	opts MemoryOptions
	log  uint32
	seed uint32

	mu    sync.Mutex
	local Local
	since time.Time // when local was bound
	at    Position  // where
	kept  []stamped // oldest first
	bytes int
	head  Position

	waiting    []Delivery    // in the log, and not handed to local yet
	delivering bool          // a goroutine hands them over
	delivered  Position      // up to here they were
	moved      chan struct{} // closed when delivered moves; nil if nobody waits

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
		return Offset{}, errors.New("adapter is bound to a server already")
	}
	m.local, m.since, m.at, m.delivered = l, time.Now(), m.head, m.head
	return m.offset(m.head), nil
}

// Nodes implements Adapter. There is one at most.
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

// maxWaiting bounds what is in the log and waits for its delivery.
const maxWaiting = 4096

// Publish implements Adapter. The envelope is delivered before Publish returns,
// unless another goroutine delivers at the moment, which then delivers it too: so
// what runs during a delivery may publish.
func (m *Memory) Publish(ctx context.Context, e *Envelope) (*Receipt, error) {
	if e.LocalOnly != nil { // there is no other node; and who is meant may be gone long before the record is
		record := *e
		record.LocalOnly = nil
		e = &record
	}
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
	m.trimLocked(now)
	if m.local == nil {
		m.delivered = m.head
	} else {
		m.waiting = append(m.waiting, d)
		m.deliverLocked()
	}
	m.mu.Unlock()
	g := NewGroup(nil, nil)
	g.Complete(d.Offset, nil)
	return g.Receipt(0), nil
}

// deliverLocked hands over what waits, unless another goroutine does. It releases the
// lock meanwhile. What others publish in that time it leaves to a goroutine: this one
// has a caller that waits.
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

// ResolveSnapshot implements SnapshotResolver. A bookmark is the text of an offset of this log.
func (m *Memory) ResolveSnapshot(_ context.Context, bookmark string) (StartPosition, error) {
	o, err := ParseOffset(bookmark)
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
// the other methods it waits for nothing.
func (m *Memory) Low() Position { return Position(m.low.Load()) }

// Retention returns how long a record is kept.
func (m *Memory) Retention() time.Duration { return m.opts.Retention }

// Number returns the number of this log, which its offsets carry.
func (m *Memory) Number() uint32 { return m.log }

// Offset returns the offset of the given position of this log.
func (m *Memory) Offset(p Position) Offset { return m.offset(p) }

func (m *Memory) offset(p Position) Offset {
	if p == 0 {
		return Offset{Log: m.log}
	}
	// The check value tells records of this log apart; an odd factor makes
	// neighbours differ in many bits.
	return Offset{Position: p, Log: m.log, Check: m.seed ^ uint32(p)*2654435761}
}

func (m *Memory) trimLocked(now time.Time) {
	n := 0
	for n < len(m.kept) && (m.bytes > m.opts.MaxBytes || now.Sub(m.kept[n].at) > m.opts.Retention) {
		m.bytes -= m.kept[n].memory()
		m.low.Store(int64(m.kept[n].Offset.Position))
		n++
	}
	clear(m.kept[:n]) // what was trimmed can be collected though the array stays
	m.kept = m.kept[n:]
}
