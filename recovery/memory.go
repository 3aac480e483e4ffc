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
	log *adapter.Memory

	mu       sync.Mutex
	node     Node
	sessions map[string]*remembered
	sweep    *time.Timer // armed while sessions are parked
	look     *time.Timer // armed while there are sessions: the next checkpoint
	position adapter.Position
}

type remembered struct {
	Session

	parked  bool
	expires time.Time // valid if parked
	facts   []Fact    // at most two, the newest first
	proven  []Fact    // at most one: what the last Resume has proven

	standing Standing // what the node last said of this tenure
}

// learn adds a fact, unless it only carries the newest one further.
func (r *remembered) learn(f Fact) {
	if len(r.facts) > 0 && r.facts[0].Last == f.Last {
		r.facts[0].Covered = max(r.facts[0].Covered, f.Covered)
		return
	}
	r.facts = append([]Fact{f}, r.facts...)
	r.facts = r.facts[:min(2, len(r.facts))]
}

// NewMemory returns an empty store for sessions whose events are in log.
func NewMemory(log *adapter.Memory) *Memory {
	return &Memory{log: log, sessions: make(map[string]*remembered)}
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

// Open implements Store.
func (m *Memory) Open(s *Session) *Outcome {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sessions[s.PID] = &remembered{Session: *s, facts: []Fact{{Covered: s.Opened}}}
	if m.look == nil {
		m.look = time.AfterFunc(m.log.Retention()/4, m.checkpoint)
	}
	return Settled(nil)
}

// Resume implements Store.
func (m *Memory) Resume(_ context.Context, c Claim) (*Session, error) {
	low, head := m.log.Extent()
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.sessions[c.PID]
	if !ok || r.Namespace != c.Namespace {
		return nil, ErrUnknown
	}
	if r.parked && time.Now().After(r.expires) {
		return nil, ErrExpired
	}
	p := Proof{
		Claim: c, Opened: r.Opened, Applied: r.Applied, Held: r.Held,
		Log: m.log.Number(), Low: low, Head: head, Facts: slices.Concat(r.facts, r.proven),
	}
	from, last, err := p.Check(m.log.Offset)
	if err != nil {
		return nil, err
	}
	r.proven = []Fact{{last, from}}
	r.Epoch++
	r.parked = false
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
		return Settled(err)
	}
	r.Apply(c)
	low := m.log.Low() // takes no lock: a server may call Change while records are delivered
	r.Rooms = slices.DeleteFunc(r.Rooms, func(s Stay) bool { return s.Ended && s.Left <= low })
	return Settled(nil)
}

// End implements Store.
func (m *Memory) End(k Key, e Ending) *Outcome {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.heldLocked(k)
	if err != nil {
		return Settled(err)
	}
	if !e.Park {
		delete(m.sessions, k.PID)
		return Settled(nil)
	}
	r.parked, r.Applied = true, max(r.Applied, e.At)
	r.learn(Fact{e.Last, e.At})
	r.expires = time.Now().Add(r.Window)
	if m.sweep == nil {
		m.sweep = time.AfterFunc(r.Window, m.expire)
	}
	return Settled(nil)
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
			r.learn(Fact{r.standing.Last, at})
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
	var over []*Session
	var next time.Time
	for pid, r := range m.sessions {
		switch {
		case !r.parked:
		case !r.expires.After(now):
			delete(m.sessions, pid)
			over = append(over, &r.Session)
		case next.IsZero() || r.expires.Before(next):
			next = r.expires
		}
	}
	m.sweep = nil
	if !next.IsZero() {
		m.sweep = time.AfterFunc(next.Sub(now), m.expire)
	}
	m.mu.Unlock()
	for _, s := range over {
		m.node.Expired(s)
	}
}

func (m *Memory) heldLocked(k Key) (*remembered, error) {
	r, ok := m.sessions[k.PID]
	if !ok || r.parked || r.Epoch != k.Epoch {
		return nil, ErrLost
	}
	return r, nil
}
