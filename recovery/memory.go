package recovery

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/pgsocket/socketio/adapter"
)

// Memory keeps the sessions of a single node in memory, beside an
// adapter.Memory. Its promises last as long as the process.
type Memory struct {
	// MaxParkedBytes bounds the memory of the sessions whose clients are away.
	// Beyond, the one that would expire first expires at once, so that clients
	// that connect and go take nothing from the node but each other's sessions.
	// It is not to be changed once the store is in use.
	// Default: 256 MiB, of which a session with a few rooms takes about a kB.
	MaxParkedBytes int

	log *adapter.Memory

	mu       sync.Mutex
	node     Node
	sessions map[string]*record
	parked   parked      // those of them whose clients are away
	over     []*Session  // the node has not been told of their end
	sweep    *time.Timer // armed while sessions are parked, or over
	sweeps   time.Time   // when that fires
	look     *time.Timer // armed while there are sessions: the next checkpoint
	position adapter.Position
}

type record struct {
	Session

	parked  bool
	expires time.Time    // valid if parked, as are place and size
	place   int          // among those that are parked
	size    int          // of memory
	facts   []Checkpoint // at most two, the one that reaches furthest first
	proven  []Checkpoint // at most one: what the last Resume has proven
	trimAt  int          // how many stays there may be before those that are of no use are looked for

	standing Progress // what the node last said of this tenure
}

// addCheckpoint adds a fact, unless it only carries the newest one further. One that does not
// reach as far as the newest, because the claim came late with an older offset, takes the
// place behind it.
func (r *record) addCheckpoint(f Checkpoint) {
	switch {
	case len(r.facts) == 0:
		r.facts = []Checkpoint{f}
	case r.facts[0].Last == f.Last:
		r.facts[0].Covered = max(r.facts[0].Covered, f.Covered)
	case f.Covered < r.facts[0].Covered:
		r.facts = []Checkpoint{r.facts[0], f}
	default:
		r.facts = []Checkpoint{f, r.facts[0]}
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
		return errors.New("store is bound to a server already")
	}
	m.node = n
	return nil
}

// Admit implements Store. Nothing waits to be written.
func (m *Memory) Admit(context.Context) error { return nil }

// Open implements Store.
func (m *Memory) Open(s *Session) *Outcome {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old, ok := m.sessions[s.PIDHash]; ok && old.parked {
		m.parked.remove(old)
	}
	m.sessions[s.PIDHash] = &record{Session: *s, facts: []Checkpoint{{Covered: s.Opened}}}
	if m.look == nil {
		m.look = time.AfterFunc(m.log.Retention()/4, m.checkpoint)
	}
	return Completed(nil)
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
		Log: m.log.Number(), Low: low, Head: head, Checkpoints: slices.Concat(r.facts, r.proven),
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
func (m *Memory) Change(k Key, c Change) *Outcome {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.heldLocked(k)
	if err != nil {
		return Completed(err)
	}
	r.ApplyChange(c)
	if len(r.Rooms) >= r.trimAt {
		r.Trim(m.log.Low()) // takes no lock: a server may call Change while records are delivered
		r.trimAt = 2 * max(indexThreshold, len(r.Rooms))
	}
	return Completed(nil)
}

// End implements Store.
func (m *Memory) End(k Key, e Release) *Outcome {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.heldLocked(k)
	if err != nil {
		return Completed(err)
	}
	if !e.Park {
		delete(m.sessions, k.PIDHash)
		return Completed(nil)
	}
	now := time.Now()
	r.Trim(m.log.Low())
	r.index = nil // until the client is back
	r.parked, r.Applied = true, max(r.Applied, e.At)
	r.addCheckpoint(Checkpoint{e.Last, e.At})
	r.expires = now.Add(r.Window)
	m.parked.add(r)
	for m.parked.bytes > m.MaxParkedBytes {
		m.endLocked(m.parked.next())
	}
	m.armLocked(now)
	return Completed(nil)
}

// checkpoint notes how far the sessions have come, and comes again while there
// are any. A session that is busy needs no note: the log has its last event.
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
		if r, err := m.heldLocked(s.Key); err == nil {
			r.standing = s
		}
	}
	for _, r := range m.sessions {
		if r.parked || r.standing.Epoch != r.Epoch {
			continue
		}
		r.Applied = max(r.Applied, at)
		if !r.standing.Busy {
			r.addCheckpoint(Checkpoint{r.standing.Last, at})
		}
	}
	m.look = nil
	if len(m.sessions) > 0 {
		m.look = time.AfterFunc(m.log.Retention()/4, m.checkpoint)
	}
}

// expire ends the sessions whose clients stayed away, and comes again while any
// are parked.
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

// endLocked ends a session that is parked.
func (m *Memory) endLocked(r *record) {
	m.parked.remove(r)
	delete(m.sessions, r.PIDHash)
	m.over = append(m.over, &r.Session)
}

// armLocked has expire called when there is something for it to do.
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
	if m.sweep != nil && !at.Before(m.sweeps) {
		return // it is called no later
	}
	if m.sweep != nil {
		m.sweep.Stop()
	}
	m.sweep, m.sweeps = time.AfterFunc(at.Sub(now), m.expire), at
}

func (m *Memory) heldLocked(k Key) (*record, error) {
	r, ok := m.sessions[k.PIDHash]
	if !ok || r.parked || r.Epoch != k.Epoch {
		return nil, ErrLost
	}
	return r, nil
}
