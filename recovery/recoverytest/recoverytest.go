// Package recoverytest holds implementations of recovery.Store to the promises
// of the contract.
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
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// patience is how long a case waits for what has to happen.
const patience = time.Minute

// A Cluster is a fresh log with a fresh store beside it for one case, and what
// the implementation lets a test do to them.
type Cluster struct {
	// Node returns a new node, not bound yet. It lasts until the test ends.
	Node func(t *testing.T) (adapter.Adapter, recovery.Store)

	// Nodes is how many nodes the cluster can have at once.
	Nodes int

	// Trim makes the log forget everything it has. It may publish to do so, in
	// the namespace "/trim".
	Trim func(t *testing.T)
}

// Run runs every case of the suite that the implementation can be put to.
// NewCluster returns a fresh cluster for each.
func Run(t *testing.T, newCluster func(t *testing.T) Cluster) {
	t.Helper()
	var ran atomic.Int32
	t.Run("promises", func(t *testing.T) {
		for _, p := range promises() {
			t.Run(p.name, func(t *testing.T) {
				c := newCluster(t)
				if c.Nodes < p.nodes {
					t.Skip("not for this implementation")
				}
				p.check(t, c)
				ran.Add(1)
			})
		}
	})
	if ran.Load() == 0 {
		t.Error("no case of the suite ran to its end")
	}
}

// A promise is a case of the suite.
type promise struct {
	name  string
	nodes int // needed; one if zero
	check func(t *testing.T, c Cluster)
}

func promises() []promise {
	return []promise{
		{name: "BindIsOnce", check: bindIsOnce},
		{name: "WhatWasOpenedComesBack", check: whatWasOpenedComesBack},
		{name: "AnyStringComesBack", check: anyStringComesBack},
		{name: "ReplayStartsAtTheOffset", check: replayStartsAtTheOffset},
		{name: "ReplayStartsAtTheOpening", check: replayStartsAtTheOpening},
		{name: "EveryRefusalHasItsReason", check: everyRefusalHasItsReason},
		{name: "GarbageIsUnknown", check: garbageIsUnknown},
		{name: "WhatIsRefusedIsNotTouched", check: whatIsRefusedIsNotTouched},
		{name: "AnIdentityIsCompared", check: anIdentityIsCompared},
		{name: "ASessionWithoutIdentityIsBoundToTheFirst", check: aSessionWithoutIdentityIsBoundToTheFirst},
		{name: "AStaleEpochIsLost", check: aStaleEpochIsLost},
		{name: "AnEndedSessionIsUnknown", check: anEndedSessionIsUnknown},
		{name: "ChangesTakeEffectInOrder", check: changesTakeEffectInOrder},
		{name: "JoiningAgainAtOnePosition", check: joiningAgainAtOnePosition},
		{name: "RoomLeftBeforeTheFirstRecord", check: roomLeftBeforeTheFirstRecord},
		{name: "ChangesDoNotBlock", check: changesDoNotBlock},
		{name: "AppliedSaysHowFarTheRoomsAre", check: appliedSaysHowFarTheRoomsAre},
		{name: "ParkedComesBackAgainAndAgain", check: parkedComesBackAgainAndAgain},
		{name: "AQuietClientOutlivesTheLog", check: aQuietClientOutlivesTheLog},
		{name: "ASilentClientOutlivesTheLog", check: aSilentClientOutlivesTheLog},
		{name: "WhatWasProvenOutlivesCuts", check: whatWasProvenOutlivesCuts},
		{name: "ALateClaimTakesNoProof", check: aLateClaimTakesNoProof},
		{name: "TheWindowEnds", check: theWindowEnds},
		{name: "OneClaimAtATimeHolds", check: oneClaimAtATimeHolds},
		{name: "AnyNodeTakesOver", nodes: 2, check: anyNodeTakesOver},
		{name: "OneNodeIsToldOfTheEnd", nodes: 2, check: oneNodeIsToldOfTheEnd},
		{name: "AStormIsServed", nodes: 2, check: aStormIsServed},
	}
}

// A node is a server reduced to what a store sees of it.
type node struct {
	log   adapter.Adapter
	store recovery.Store
	id    string

	mu      sync.Mutex
	at      adapter.Offset // the newest one delivered
	expired []*recovery.Session
}

// Deliver implements adapter.Local.
func (n *node) Deliver(ds []adapter.Delivery) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.at = ds[len(ds)-1].Offset
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

// ended returns the sessions that the node was told of.
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

// emit publishes an event for everybody and returns its offset once the node has
// it.
func (n *node) emit(t *testing.T) adapter.Offset {
	t.Helper()
	r, err := n.log.Publish(within(t), &adapter.Envelope{Namespace: "/", Payload: []byte(`["e"]`)})
	if err != nil {
		t.Fatalf("Publish: %v", err)
	}
	o, err := r.Wait(within(t))
	if err != nil {
		t.Fatalf("Wait: %v", err)
	}
	if err := n.log.WaitDelivered(within(t)); err != nil {
		t.Fatalf("Sync: %v", err)
	}
	return o
}

// session returns a session to be opened, like no other.
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

// resume claims a session, which has to succeed.
func (n *node) resume(t *testing.T, pid, offset string) *recovery.Session {
	t.Helper()
	s, err := n.store.Resume(within(t), recovery.ResumeRequest{PIDHash: pid, Namespace: "/", Offset: offset})
	if err != nil {
		t.Fatalf("Resume: %v", err)
	}
	return s
}

// refused claims a session, which has to be refused for the reason.
func (n *node) refused(t *testing.T, c recovery.ResumeRequest, reason error) {
	t.Helper()
	s, err := n.store.Resume(within(t), c)
	if s != nil || !errors.Is(recovery.RefusalReason(err), reason) {
		t.Errorf("Resume(%.80q): %v, %v; want %v", c, s, err, reason)
	}
}

// change makes a change, which has to succeed.
func (n *node) change(t *testing.T, k recovery.Key, c recovery.Change) {
	t.Helper()
	if err := n.store.Change(k, c).Wait(within(t)); err != nil {
		t.Fatalf("Change: %v", err)
	}
}

// park parks a session that was sent last and was served up to here.
func (n *node) park(t *testing.T, k recovery.Key, last adapter.Offset) {
	t.Helper()
	e := recovery.Release{Park: true, At: n.position(), Last: last}
	if err := n.store.End(k, e).Wait(within(t)); err != nil {
		t.Fatalf("End: %v", err)
	}
}

// within returns a ctx for what has to happen soon.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
