//nolint:paralleltest // each test runs several processes; in parallel they would overload the machine
package cluster_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pgsocket/socketio/integration/harness"
)

// TestCluster_OneOrder emits from four publishers at once to 200 clients on three nodes.
func TestCluster_OneOrder(t *testing.T) {
	cl := harness.NewCluster(t, 3)
	testOneOrder(t, cl, 200, 5000, 300)
}

// testOneOrder emits from four goroutines on the nodes of the cluster and checks what the clients received.
func testOneOrder(t *testing.T, cl *harness.Cluster, size, each, perSecond int) {
	t.Helper()
	cs := harness.NewClients(t, 2)
	cs.ConnectAll(size, cl.RunningURLs(), nil)
	cs.Join(harness.Numbers(size), harness.RoomsOf)

	began := time.Now()
	var publishers sync.WaitGroup
	for p := range 4 {
		publishers.Go(func() {
			n := cl.Nodes[p%len(cl.Nodes)]
			o := n.Publish(t.Context(), cs.History, harness.Publication{
				Publisher: p + 1, Count: each, Targets: harness.Targets(), PerSecond: perSecond,
			})
			if o.Acknowledged != each {
				t.Errorf("publisher %d: %+v", p+1, o)
			}
		})
	}
	publishers.Wait()
	published := time.Since(began)
	cs.AwaitDelivery(cl.Nodes[0], harness.MaxWait)

	cs.Check()
	all, acknowledged := cs.History.Emits()
	back, recovered := cs.Reconnections()
	t.Logf("SUMMARY %s: %d clients on %d nodes, %d events emitted (%d acknowledged) in %.1fs, %d receipts by %.1fs, %d reconnections (%d recovered)",
		t.Name(), size, len(cl.Nodes), all, acknowledged, published.Seconds(), cs.History.Receipts(), time.Since(began).Seconds(), back, recovered)
	if back != recovered {
		t.Errorf("%d of %d reconnections were not recovered", back-recovered, back)
	}
}

// TestCluster_UnderFaults is TestCluster_OneOrder with faults: clients are cut fifty at a time, a node is killed and
// replaced, and connections to Postgres are terminated again and again.
func TestCluster_UnderFaults(t *testing.T) {
	const (
		size, each, perSecond = 200, 2000, 90
		perCut                = 50
	)
	rng := harness.NewRand(harness.Seed(t))
	cl := harness.NewCluster(t, 3, "-lease", "3s")
	cs := harness.NewClients(t, 2)
	cs.ConnectAll(size, cl.RunningURLs(), harness.Command{"roam": true})
	cs.Join(harness.Numbers(size), harness.RoomsOf)
	conn := cl.Connect()

	began := time.Now()
	var publishers sync.WaitGroup
	unknown := make([]int, 4)
	for p := range 4 {
		n := cl.Nodes[p%3] // publisher 2 is on the node that is killed
		publishers.Go(func() {
			o := n.Publish(t.Context(), cs.History, harness.Publication{
				Publisher: p + 1, Count: each, Targets: harness.Targets(), PerSecond: perSecond,
			})
			unknown[p] = o.Unknown
			if o.Failed > 0 || o.Unknown > 0 && n != cl.Nodes[1] {
				t.Errorf("publisher %d: %+v", p+1, o)
			}
			if o.Unknown > 0 { // another publisher continues at another node
				o = cl.Nodes[0].Publish(t.Context(), cs.History, harness.Publication{
					Publisher: p + 11, Count: o.Unknown, Targets: harness.Targets(), PerSecond: perSecond,
				})
				if o.Failed+o.Unknown > 0 {
					t.Errorf("publisher %d: %+v", p+11, o)
				}
			}
		})
	}

	ctx, done := context.WithCancel(t.Context())
	var faults sync.WaitGroup
	terminated := 0
	faults.Go(func() {
		for round := 0; ctx.Err() == nil; round++ {
			terminated += cl.Terminate(ctx, conn, []string{"listen", "publish", "listen", "pool"}[round%4])
			harness.Pause(ctx, 300*time.Millisecond)
		}
	})
	cuts, roundsOfCuts := 0, 0
	faults.Go(func() {
		for ctx.Err() == nil {
			some := rng.Perm(size)[:perCut]
			half := perCut / 2
			cs.Cut("reset", nil, some[:half]...)
			cs.Cut("close", nil, some[half:]...)
			cuts += perCut
			roundsOfCuts++
			harness.Pause(ctx, 700*time.Millisecond)
		}
	})
	harness.Pause(ctx, 6*time.Second)
	victim := cl.Nodes[1]
	victim.Down = true // first, so that no client chooses it
	cs.SetNodes(cl.RunningURLs())
	victim.Kill()
	harness.Pause(ctx, 2*time.Second)
	cl.Start()
	cs.SetNodes(cl.RunningURLs())
	publishers.Wait()
	done()
	faults.Wait()

	quiet := time.Now()
	// Less than the 45 s after which a node closes a connection whose CONNECT it has not answered.
	if err := cs.WaitFor(30*time.Second, cs.AllConnectedLocked); err != nil {
		t.Errorf("clients hang after the last fault: %v\n%s", err, cl.Diagnose())
	}
	cs.Await(harness.MaxWait, "all clients are back", cs.AllConnectedLocked)
	t.Logf("all clients are connected %.1fs after the last fault", time.Since(quiet).Seconds())
	cs.AwaitDelivery(cl.Nodes[0], harness.MaxWait)
	cs.Check()
	all, acknowledged := cs.History.Emits()
	back, recovered := cs.Reconnections()
	refused := make(map[string]int)
	for _, n := range cl.Nodes {
		if n.Down {
			continue
		}
		for reason, times := range n.Stats().Refused {
			refused[reason] += times
		}
	}
	t.Logf("SUMMARY %s: %d clients, %d cuts in %d rounds, 1 node killed and replaced, %d backends terminated; %d events emitted (%d acknowledged), %d receipts in %.1fs; %d reconnections, %d recovered, refused %v",
		t.Name(), size, cuts, roundsOfCuts, terminated, all, acknowledged, cs.History.Receipts(), time.Since(began).Seconds(), back, recovered, refused)
	if back != recovered {
		t.Errorf("%d of %d reconnections were not recovered: %v", back-recovered, back, refused)
	}
	if slices.Max(unknown) == 0 {
		t.Error("the killed node was not publishing when it was killed")
	}
}
