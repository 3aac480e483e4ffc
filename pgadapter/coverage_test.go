package pgadapter

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/adapter/adaptertest"
	"github.com/pgsocket/socketio/recovery"
)

// A modelNode is a server reduced to what determines the progress of its clients.
type modelNode struct {
	t  *testing.T
	db *DB

	mu       sync.Mutex
	moved    *sync.Cond // at has changed
	at       adapter.Position
	sessions map[string]*modelSession
}

type modelSession struct {
	*recovery.Session

	attached bool
	last     adapter.Offset
	told     *recovery.Progress
}

func (n *modelNode) ID() string { return fmt.Sprintf("%p", n) }

func (n *modelNode) Deliver(ds []adapter.Delivery) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range ds {
		for _, s := range n.sessions {
			if s.attached && s.Matches(&ds[i]) {
				s.last = ds[i].Offset
			}
		}
	}
	n.at = ds[len(ds)-1].Offset.Position
	n.moved.Broadcast()
}

// wait waits until the node has read the log up to p, as a server does before it serves a session.
func (n *modelNode) wait(p adapter.Position) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for n.at < p {
		n.moved.Wait()
	}
}

func (n *modelNode) LogTruncated(at adapter.Offset)       { n.t.Errorf("rewound to %v", at) }
func (n *modelNode) LogGap(_ adapter.Offset, cause error) { n.t.Errorf("reset: %v", cause) }
func (n *modelNode) Expired(*recovery.Session)            {}

func (n *modelNode) Serving() bool { return true }

func (n *modelNode) Checkpoint(since adapter.Position) (adapter.Position, []recovery.Progress) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var changed []recovery.Progress
	for _, s := range n.sessions {
		now := recovery.Progress{Key: s.Key, Busy: s.last.Position > since}
		if !now.Busy {
			now.Last = s.last
		}
		if s.attached && (s.told == nil || *s.told != now) {
			s.told = &now
			changed = append(changed, now)
		}
	}
	return n.at, changed
}

// attach replays what the session missed up to the position of the node.
func (n *modelNode) attach(s *modelSession, emitted []modelEvent) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range emitted {
		if e.sid == s.ID && e.offset.Position > s.From && e.offset.Position <= n.at {
			s.last = e.offset
		}
	}
	s.attached = true
}

type modelEvent struct {
	offset adapter.Offset
	sid    string
}

// A model is a cluster whose events are all recorded.
type model struct {
	t       *testing.T
	b       *bench
	rng     *rand.Rand
	nodes   []*modelNode
	emitted []modelEvent
	opened  int
}

func (m *model) start() *modelNode {
	n := &modelNode{t: m.t, db: m.b.open(m.t, &Options{Retention: time.Hour, Lease: time.Hour}), sessions: make(map[string]*modelSession)}
	n.moved = sync.NewCond(&n.mu)
	at, err := n.db.Bind(n)
	if err != nil {
		m.t.Fatal(err)
	}
	n.at = max(n.at, at.Position)
	if err := n.db.Sessions().Bind(n); err != nil {
		m.t.Fatal(err)
	}
	return n
}

// any returns a random session of the node with the given attachment.
func (m *model) any(n *modelNode, attached bool) *modelSession {
	n.mu.Lock()
	defer n.mu.Unlock()
	var found []string
	for pid, s := range n.sessions {
		if s.attached == attached {
			found = append(found, pid)
		}
	}
	if len(found) == 0 {
		return nil
	}
	slices.Sort(found)
	return n.sessions[found[m.rng.IntN(len(found))]]
}

func (m *model) emit(n *modelNode) {
	sid := fmt.Sprintf("sid of %d", m.rng.IntN(m.opened+1))
	e := &adapter.Envelope{Namespace: "/", Audience: adapter.Audience{Rooms: []string{sid}}}
	m.emitted = append(m.emitted, modelEvent{adaptertest.Append(m.t, n.db, e), sid})
	if m.rng.IntN(2) == 0 {
		m.check(n.db.WaitDelivered(m.t.Context()))
	}
}

func (m *model) check(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *model) open(n *modelNode) {
	n.mu.Lock()
	s := session(fmt.Sprint(m.opened))
	s.Opened = n.at
	s.From = n.at
	n.mu.Unlock()
	m.opened++
	m.check(n.db.Sessions().Open(s).Wait(m.t.Context()))
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sessions[s.PIDHash] = &modelSession{Session: s}
}

func (m *model) park(n *modelNode) {
	s := m.any(n, true)
	if s == nil {
		return
	}
	n.mu.Lock()
	delete(n.sessions, s.PIDHash)
	e := recovery.Release{Park: true, At: n.at, Last: s.last}
	n.mu.Unlock()
	m.check(n.db.Sessions().End(s.Key, e).Wait(m.t.Context()))
}

// claim takes a session for n from any owner.
func (m *model) claim(n *modelNode) {
	if m.opened == 0 {
		return
	}
	pid := fmt.Sprint(m.rng.IntN(m.opened))
	offset := ""
	for _, e := range m.emitted { // a client with any event of its own as offset
		if e.sid == "sid of "+pid && m.rng.IntN(2) == 0 {
			offset = e.offset.String()
		}
	}
	s, err := n.db.Sessions().Resume(m.t.Context(), recovery.ResumeRequest{PIDHash: pid, Namespace: "/", Offset: offset})
	if recovery.RefusalReason(err) != nil {
		return
	}
	m.check(err)
	for _, other := range m.nodes {
		other.mu.Lock()
		delete(other.sessions, pid)
		other.mu.Unlock()
	}
	n.wait(s.MaxPosition())
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sessions[pid] = &modelSession{Session: s, last: s.Last}
}

// die crashes a node, has another one declare it dead, and starts a new one.
func (m *model) die(i int) {
	dead, other := m.nodes[i], m.nodes[(i+1)%len(m.nodes)]
	dead.db.crash()
	m.b.declareDead(m.t, other.db, dead.db.node.id.Load())
	m.nodes[i] = m.start()
}

// verify compares the checkpoints of every session with what was sent.
func (m *model) verify(step int) {
	m.t.Helper()
	rows, err := m.b.conn.Query(m.t.Context(), `select s.pid_hash, s.opened, s.last,
		case when s.checkpointed then greatest(s.covered, n.checkpoint) else s.covered end
		from sessions s left join nodes n on n.id = s.node where s.known
		union all
		select s.pid_hash, s.opened, s.last_before, s.covered_before from sessions s where s.last_before is not null`)
	m.check(err)
	var pid, text string
	var opened, covered adapter.Position
	_, err = pgx.ForEachRow(rows, []any{&pid, &opened, &text, &covered}, func() error {
		last, err := adapter.ParseOffset(text)
		if err != nil {
			return err
		}
		if covered < last.Position {
			m.t.Errorf("step %d: session %s is covered to %d, before its last event at %d", step, pid, covered, last.Position)
		}
		for _, e := range m.emitted {
			if p := e.offset.Position; e.sid == "sid of "+pid && p > opened && p > last.Position && p <= covered {
				m.t.Errorf("step %d: session %s is covered to %d after %d, but %d was for it", step, pid, covered, last.Position, p)
			}
		}
		return nil
	})
	m.check(err)
}

func TestCheckpoint_NeverHidesAnEvent(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	m := &model{t: t, b: newBench(t), rng: rand.New(rand.NewPCG(seed, 0))}
	for range 3 {
		m.nodes = append(m.nodes, m.start())
	}
	checkpointed, before := int64(0), int64(0)
	for step := range 1200 {
		i := m.rng.IntN(len(m.nodes))
		n := m.nodes[i]
		switch choice := m.rng.IntN(100); {
		case choice < 35:
			m.emit(n)
		case choice < 43 && m.opened < 25:
			m.open(n)
		case choice < 60:
			if s := m.any(n, false); s != nil {
				n.attach(s, m.emitted)
			}
		case choice < 75:
			m.check(n.db.sweeper.checkpoint(t.Context()))
			before = max(before, m.b.int(t, "select count(*) from sessions where covered_before > 0"))
			checkpointed = max(checkpointed, m.b.int(t, "select count(*) from sessions where checkpointed and known and last <> ''"))
		case choice < 83:
			m.park(n)
		case choice < 98:
			m.claim(n)
		case step%3 == 0:
			m.die(i)
		}
		m.verify(step)
		if t.Failed() {
			return
		}
	}
	if checkpointed == 0 || before == 0 {
		t.Errorf("%d sessions were checkpointed with an event, %d had a previous checkpoint: the model tests nothing", checkpointed, before)
	}
}
