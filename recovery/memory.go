package recovery

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/pgsocket/socketio/adapter"
)

// Memory is a Store for a single node with an adapter.Memory. It keeps sessions in
// memory while the process runs.
type Memory struct {
	// MaxParkedBytes bounds the memory of the sessions whose clients are away.
	// Beyond it, the session that would expire first expires at once, so that
	// clients that connect and disconnect cannot exhaust the memory of the node.
	// It must not be changed once the store is in use.
	// Default: 256 MiB; a session with a few rooms takes about 1 KiB.
	MaxParkedBytes int

	log *adapter.Memory

	mu       sync.Mutex
	node     Node
	sessions map[string]*record
	parked   parked           // the sessions whose clients are away
	over     []*Session       // expired sessions that have not been reported to the node
	sweep    *time.Timer      // armed while sessions are parked or over
	sweepAt  time.Time        // when sweep expires
	look     *time.Timer      // the next checkpoint; armed while there are sessions
	position adapter.Position // of the last checkpoint
	presence memoryPresence
}

type record struct {
	Session

	parked      bool
	expires     time.Time    // valid if parked, as are place and size
	place       int          // the index in parked.list
	size        int          // the memory that it takes
	checkpoints []Checkpoint // at most two, the one that covers most first
	proven      []Checkpoint // at most one: the result of the last Resume
	trimAt      int          // the number of intervals at which Change trims them

	progress Progress // the last progress that the node reported
}

// addCheckpoint adds a checkpoint, or extends the newest one if both have the same offset.
// A checkpoint that covers less than the newest, because a late request presented an older
// offset, becomes the second.
func (r *record) addCheckpoint(c Checkpoint) {
	switch {
	case len(r.checkpoints) == 0:
		r.checkpoints = []Checkpoint{c}
	case r.checkpoints[0].Last == c.Last:
		r.checkpoints[0].Covered = max(r.checkpoints[0].Covered, c.Covered)
	case c.Covered < r.checkpoints[0].Covered:
		r.checkpoints = []Checkpoint{r.checkpoints[0], c}
	default:
		r.checkpoints = []Checkpoint{c, r.checkpoints[0]}
	}
}

// NewMemory returns an empty store for sessions whose events are in log.
func NewMemory(log *adapter.Memory) *Memory {
	return &Memory{MaxParkedBytes: 256 << 20, log: log, sessions: make(map[string]*record)}
}

// Bind implements Store.
func (m *Memory) Bind(n Node) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.node != nil {
		return errors.New("recovery: this Memory belongs to a server already; make one for each server")
	}
	m.node = n
	return nil
}

// Retention implements Retainer: it is that of the log.
func (m *Memory) Retention() time.Duration { return m.log.Retention() }

// Admit implements Store. It never waits.
func (m *Memory) Admit(context.Context) error { return nil }

// Open implements Store.
func (m *Memory) Open(s *Session) *adapter.Receipt {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old, ok := m.sessions[s.PIDHash]; ok && old.parked {
		m.parked.remove(old)
	}
	m.sessions[s.PIDHash] = &record{Session: *s, checkpoints: []Checkpoint{{Covered: s.Opened}}}
	m.changePresenceLocked(s, s.Presence)
	if m.look == nil {
		m.look = time.AfterFunc(m.log.Retention()/4, m.checkpoint)
	}
	return adapter.Completed(nil)
}

// Resume implements Store.
func (m *Memory) Resume(_ context.Context, c ResumeRequest) (*Session, error) {
	low, head := m.log.Extent()
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.sessions[c.PIDHash]
	if !ok || r.Namespace != c.Namespace {
		return nil, ErrUnknown
	}
	if r.parked && time.Now().After(r.expires) {
		return nil, ErrExpired
	}
	p := ContinuityCheck{
		ResumeRequest: c, Opened: r.Opened, Applied: r.Applied, InitialOffset: r.InitialOffset, BoundIdentity: r.Identity,
		Log: m.log.Number(), Low: low, Head: head, Checkpoints: slices.Concat(r.checkpoints, r.proven),
	}
	from, last, err := p.Check(m.log.Offset)
	if err != nil {
		return nil, err
	}
	r.proven = []Checkpoint{{last, from}}
	r.Epoch++
	r.Identity = c.Identity
	if r.parked {
		r.parked = false
		m.parked.remove(r)
	}
	s := r.Clone()
	s.From, s.Last = from, last
	return s, nil
}

// Change implements Store.
func (m *Memory) Change(k Key, c Change) *adapter.Receipt {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.ownedLocked(k)
	if err != nil {
		return adapter.Completed(err)
	}
	r.ApplyChange(c)
	m.changePresenceLocked(&r.Session, c.Presence)
	if len(r.Rooms) >= r.trimAt {
		r.Trim(m.log.Low()) // Low takes no lock: a server may call Change during a delivery
		r.trimAt = 2 * max(indexThreshold, len(r.Rooms))
	}
	return adapter.Completed(nil)
}

// End implements Store.
func (m *Memory) End(k Key, e Release) *adapter.Receipt {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.ownedLocked(k)
	if err != nil {
		return adapter.Completed(err)
	}
	if !e.Park {
		delete(m.sessions, k.PIDHash)
		m.leaveAllLocked(&r.Session)
		return adapter.Completed(nil)
	}
	now := time.Now()
	r.Trim(m.log.Low())
	r.index = nil // until the client resumes
	r.parked, r.Applied = true, max(r.Applied, e.At)
	r.addCheckpoint(Checkpoint{e.Last, e.At})
	r.expires = now.Add(r.Window)
	m.parked.add(r)
	for m.parked.bytes > m.MaxParkedBytes {
		m.endLocked(m.parked.next())
	}
	m.armLocked(now)
	return adapter.Completed(nil)
}

// checkpoint records the progress of the sessions, and runs again while there are any.
// A busy session needs no checkpoint: the log has its last event.
func (m *Memory) checkpoint() {
	m.mu.Lock()
	node, quiet := m.node, m.position
	m.mu.Unlock()
	if node == nil {
		return
	}
	at, changed := node.Checkpoint(quiet)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.position = at
	for _, s := range changed {
		if r, err := m.ownedLocked(s.Key); err == nil {
			r.progress = s
		}
	}
	for _, r := range m.sessions {
		if r.parked || r.progress.Epoch != r.Epoch {
			continue
		}
		r.Applied = max(r.Applied, at)
		if !r.progress.Busy {
			r.addCheckpoint(Checkpoint{r.progress.Last, at})
		}
	}
	m.look = nil
	if len(m.sessions) > 0 {
		m.look = time.AfterFunc(m.log.Retention()/4, m.checkpoint)
	}
}

// expire ends the sessions whose windows have passed, and runs again while any are
// parked.
func (m *Memory) expire() {
	m.mu.Lock()
	now := time.Now()
	for range maxSwept {
		r := m.parked.next()
		if r == nil || r.expires.After(now) {
			break
		}
		m.endLocked(r)
	}
	over := m.over
	m.over, m.sweep = nil, nil
	m.armLocked(now)
	m.mu.Unlock()
	for _, s := range over {
		m.node.Expired(s)
	}
}

// maxSwept bounds the sessions that are ended while the server waits for the lock.
const maxSwept = 256

// endLocked ends a parked session.
func (m *Memory) endLocked(r *record) {
	m.parked.remove(r)
	delete(m.sessions, r.PIDHash)
	m.leaveAllLocked(&r.Session)
	m.over = append(m.over, &r.Session)
}

// armLocked schedules expire for the next session that expires.
func (m *Memory) armLocked(now time.Time) {
	var at time.Time
	switch next := m.parked.next(); {
	case len(m.over) > 0:
		at = now
	case next != nil:
		at = next.expires
	default:
		return
	}
	if m.sweep != nil && !at.Before(m.sweepAt) {
		return // it is scheduled no later
	}
	if m.sweep != nil {
		m.sweep.Stop()
	}
	m.sweep, m.sweepAt = time.AfterFunc(at.Sub(now), m.expire), at
}

func (m *Memory) ownedLocked(k Key) (*record, error) {
	r, ok := m.sessions[k.PIDHash]
	if !ok || r.parked || r.Epoch != k.Epoch {
		return nil, ErrLost
	}
	return r, nil
}
