package recovery

import (
	"context"
	"errors"
	"maps"
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
}

type remembered struct {
	Session

	parked  bool
	expires time.Time        // valid if parked
	at      adapter.Position // valid if parked: served up to here
	last    adapter.Offset   // valid if parked: and the client was sent this last
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
func (m *Memory) Open(_ context.Context, s *Session) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sessions[s.PID] = &remembered{Session: clone(s)}
	return nil
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
		Claim: c, Opened: r.Opened, Held: r.Held, Log: m.log.Number(), Low: low, Head: head,
		Known: r.parked, Last: r.last, Covered: r.at,
	}
	from, last, err := p.Check(m.log.Offset)
	if err != nil {
		return nil, err
	}
	r.Epoch++
	r.parked = false
	s := clone(&r.Session)
	s.From, s.Last = from, last
	return &s, nil
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
	r.Rooms = slices.DeleteFunc(r.Rooms, func(s Stay) bool { return s.Left != 0 && s.Left <= low })
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
	r.parked, r.at, r.last = true, e.At, e.Last
	r.expires = time.Now().Add(r.Window)
	if m.sweep == nil {
		m.sweep = time.AfterFunc(r.Window, m.expire)
	}
	return Settled(nil)
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

func clone(s *Session) Session {
	c := *s
	c.Rooms = slices.Clone(s.Rooms)
	c.Data = maps.Clone(s.Data)
	return c
}
