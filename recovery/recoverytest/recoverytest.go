// Package recoverytest checks that an implementation of recovery.Store keeps the
// promises of its documentation.
//
//	func TestConformance(t *testing.T) {
//		recoverytest.Run(t, func(t *testing.T) recoverytest.Cluster {
//			return recoverytest.Cluster{Nodes: 1, Node: …}
//		})
//	}
package recoverytest

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// patience is how long a case waits for an expected event.
const patience = time.Minute

// A Cluster is an empty log and an empty store for one case, with the operations that
// the implementation offers to a test.
type Cluster struct {
	// Node returns a new node, not yet bound. It stays open until the test ends.
	Node func(t *testing.T) (adapter.Adapter, recovery.Store)

	// Nodes is the number of nodes that the cluster can have at once.
	Nodes int

	// Trim removes every record from the log. It may publish to do so, in the
	// namespace "/trim".
	Trim func(t *testing.T)
}

// Run runs every case of the suite that the implementation supports. NewCluster
// returns an empty cluster for each.
func Run(t *testing.T, newCluster func(t *testing.T) Cluster) {
	t.Helper()
	var ran atomic.Int32
	t.Run("promises", func(t *testing.T) {
		for _, p := range promises() {
			t.Run(p.name, func(t *testing.T) {
				c := newCluster(t)
				if c.Nodes < p.nodes {
					t.Skip("the implementation does not support as many nodes")
				}
				p.check(t, c)
				ran.Add(1)
			})
		}
	})
	if ran.Load() == 0 {
		t.Error("no case of the suite completed")
	}
}

// A promise is a case of the suite.
type promise struct {
	name  string
	nodes int // how many nodes it needs; zero means one
	check func(t *testing.T, c Cluster)
}

func promises() []promise {
	return []promise{
		{name: "Bind_Twice", check: bindTwice},
		{name: "Resume_AllFields", check: resumeAllFields},
		{name: "Resume_AnyStrings", check: resumeAnyStrings},
		{name: "Resume_FromOffset", check: resumeFromOffset},
		{name: "Resume_FromOpening", check: resumeFromOpening},
		{name: "Refusal_Reasons", check: refusalReasons},
		{name: "Refusal_Garbage", check: refusalGarbage},
		{name: "Refusal_SessionUnchanged", check: refusalSessionUnchanged},
		{name: "Identity_Compared", check: identityCompared},
		{name: "Identity_BoundToFirst", check: identityBoundToFirst},
		{name: "Epoch_Stale", check: epochStale},
		{name: "Resume_EndedSession", check: resumeEndedSession},
		{name: "Change_Order", check: changeOrder},
		{name: "Change_RejoinAtOnePosition", check: changeRejoinAtOnePosition},
		{name: "Change_LeaveBeforeFirstRecord", check: changeLeaveBeforeFirstRecord},
		{name: "Change_NotBlocking", check: changeNotBlocking},
		{name: "Applied_Position", check: appliedPosition},
		{name: "Resume_ParkedRepeatedly", check: resumeParkedRepeatedly},
		{name: "Trim_QuietClient", check: trimQuietClient},
		{name: "Trim_NoEventReceived", check: trimNoEventReceived},
		{name: "Trim_RepeatedDisconnects", check: trimRepeatedDisconnects},
		{name: "Resume_LateOlderOffset", check: resumeLateOlderOffset},
		{name: "Expiry_Window", check: expiryWindow},
		{name: "Resume_Concurrent", check: resumeConcurrent},
		{name: "Presence_Life", check: presenceLife},
		{name: "Presence_Exact", check: presenceExact},
		{name: "Presence_ListIncludesDelivered", check: presenceListIncludesDelivered},
		{name: "Presence_ManyAtOnce", check: presenceManyAtOnce},
		{name: "Resume_OtherNode", nodes: 2, check: resumeOtherNode},
		{name: "Expiry_ReportedOnce", nodes: 2, check: expiryReportedOnce},
		{name: "Resume_ConnectionStorm", nodes: 2, check: resumeConnectionStorm},
	}
}

// A node implements adapter.Local and recovery.Node.
type node struct {
	log   adapter.Adapter
	store recovery.Store
	id    string

	mu      sync.Mutex
	at      adapter.Offset // of the last delivery
	expired []*recovery.Session

	announced []adapter.Delivery // events for watchers of a presence
}

// Deliver implements adapter.Local.
func (n *node) Deliver(ds []adapter.Delivery) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.at = ds[len(ds)-1].Offset
	for _, d := range ds {
		if d.Kind == adapter.Event && len(d.Audience.Rooms) == 1 && strings.HasPrefix(d.Audience.Rooms[0], adapter.WatchersPrefix) {
			n.announced = append(n.announced, d)
		}
	}
}

// ID implements adapter.Local.
func (n *node) ID() string { return n.id }

// LogTruncated implements adapter.Local.
func (n *node) LogTruncated(at adapter.Offset) { n.LogGap(at, nil) }

// LogGap implements adapter.Local.
func (n *node) LogGap(at adapter.Offset, _ error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.at = at
}

// Checkpoint implements recovery.Node.
func (n *node) Checkpoint(adapter.Position) (adapter.Position, []recovery.Progress) {
	return n.position(), nil
}

// Serving implements recovery.Node.
func (*node) Serving() bool { return true }

// Expired implements recovery.Node.
func (n *node) Expired(s *recovery.Session) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.expired = append(n.expired, s)
}

func (n *node) position() adapter.Position {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.at.Position
}

// ended returns the sessions for which Expired was called.
func (n *node) ended() []*recovery.Session {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.expired
}

// start opens a node and binds it.
func (c Cluster) start(t *testing.T) *node {
	t.Helper()
	n := &node{id: rand.Text()}
	n.log, n.store = c.Node(t)
	at, err := n.log.Bind(n)
	if err != nil {
		t.Fatalf("Bind: %v", err)
	}
	n.mu.Lock()
	if n.at.Position < at.Position {
		n.at = at
	}
	n.mu.Unlock()
	if err := n.store.Bind(n); err != nil {
		t.Fatalf("Bind: %v", err)
	}
	return n
}

// emit publishes an event for every socket and returns its offset after its delivery to
// the node.
func (n *node) emit(t *testing.T) adapter.Offset {
	t.Helper()
	r, err := n.log.Publish(within(t), &adapter.Envelope{Namespace: "/", Payload: []byte(`["e"]`)})
	if err != nil {
		t.Fatalf("Publish: %v", err)
	}
	if err := r.Wait(within(t)); err != nil {
		t.Fatalf("Wait: %v", err)
	}
	if err := n.log.WaitDelivered(within(t)); err != nil {
		t.Fatalf("WaitDelivered: %v", err)
	}
	return r.Offset()
}

// session returns a session to be opened, with new ids.
func (n *node) session() *recovery.Session {
	id, at := rand.Text(), n.position()
	return &recovery.Session{
		Key: recovery.Key{PIDHash: "pid-" + id, Epoch: 1},
		ID:  "sid-" + id, Namespace: "/", Window: time.Minute, Opened: at, Applied: at,
	}
}

// open opens a session, as it is or changed by the caller.
func (n *node) open(t *testing.T, change func(*recovery.Session)) *recovery.Session {
	t.Helper()
	s := n.session()
	if change != nil {
		change(s)
	}
	if err := n.store.Open(s).Wait(within(t)); err != nil {
		t.Fatalf("Open: %v", err)
	}
	return s
}

// resume claims a session, and fails the test on an error.
func (n *node) resume(t *testing.T, pid, offset string) *recovery.Session {
	t.Helper()
	s, err := n.store.Resume(within(t), recovery.ResumeRequest{PIDHash: pid, Namespace: "/", Offset: offset})
	if err != nil {
		t.Fatalf("Resume: %v", err)
	}
	return s
}

// refused checks that Resume refuses the request with the reason.
func (n *node) refused(t *testing.T, c recovery.ResumeRequest, reason error) {
	t.Helper()
	s, err := n.store.Resume(within(t), c)
	if s != nil || !errors.Is(recovery.RefusalReason(err), reason) {
		t.Errorf("Resume(%.80q): %v, %v; want %v", c, s, err, reason)
	}
}

// change makes a change, and fails the test on an error.
func (n *node) change(t *testing.T, k recovery.Key, c recovery.Change) {
	t.Helper()
	if err := n.store.Change(k, c).Wait(within(t)); err != nil {
		t.Fatalf("Change: %v", err)
	}
}

// park parks a session that was served up to the node's position, with last as the last
// offset sent to its client.
func (n *node) park(t *testing.T, k recovery.Key, last adapter.Offset) {
	t.Helper()
	e := recovery.Release{Park: true, At: n.position(), Last: last}
	if err := n.store.End(k, e).Wait(within(t)); err != nil {
		t.Fatalf("End: %v", err)
	}
}

// within returns a ctx that ends after patience.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
