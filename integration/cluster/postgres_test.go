//nolint:paralleltest // each test runs several processes; in parallel they would overload the machine
package cluster_test

import (
	"os"
	"sync"
	"testing"
	"time"

	"github.com/pgsocket/socketio/integration/checker"
	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/internal/pgserver"
)

// TestPostgres_Restarts crashes Postgres three times under load. Nodes and clients stay up. An acknowledged event is
// delivered once, a failed one at most once.
func TestPostgres_Restarts(t *testing.T) {
	const size = 60
	srv, dsn, schema := harness.PrivatePostgres(t)
	cl := harness.NewClusterOn(t, dsn, schema, 3)
	cs := harness.NewClients(t, 1)
	cs.ConnectAll(size, cl.RunningURLs(), harness.Command{"roam": true})
	cs.Join(harness.Numbers(size), harness.RoomsOf)

	outcomes := make([]harness.PublishResult, 3)
	var publishers sync.WaitGroup
	for p := range outcomes {
		publishers.Go(func() {
			outcomes[p] = cl.Nodes[p].Publish(t.Context(), cs.History, harness.Publication{
				Publisher: p + 1, Count: 1500, Targets: harness.Targets(), PerSecond: 150, Wait: p == 0, TimeoutMS: 15_000,
			})
		})
	}
	restarts := 3
	var down time.Duration
	for range restarts {
		harness.Pause(t.Context(), 2*time.Second)
		began := time.Now()
		if err := srv.Restart(t.Context(), pgserver.Immediate); err != nil {
			t.Fatal(err)
		}
		down += time.Since(began)
	}
	publishers.Wait()
	cs.AwaitDelivery(cl.Nodes[1], harness.MaxWait)
	cs.Check()
	if back, _ := cs.Reconnections(); back != 0 {
		t.Errorf("%d clients lost their connection", back)
	}

	// Recovery works as before, without a restart of the nodes.
	cs.Cut("reset", nil, harness.Numbers(size)...)
	cs.Await(harness.MaxWait, "all are connected again", func() bool { return cs.ConnectedTimesLocked(2) })
	cs.AwaitDelivery(cl.Nodes[2], harness.MaxWait)
	cs.Check()
	cs.CheckAllRecovered(size)
	t.Logf("SUMMARY %s: %d crashes, Postgres down for %v in all; %+v; %d receipts", t.Name(), restarts, down.Round(time.Millisecond), outcomes, cs.History.Receipts())
}

// TestPostgres_Outage stops Postgres for a long time. Nodes stay up, clients stay connected, emits fail with their
// context, and recovery works afterwards without a restart.
func TestPostgres_Outage(t *testing.T) {
	const size = 30
	away := 10 * time.Second
	if text := os.Getenv("SOCKETIO_TEST_AWAY"); text != "" {
		var err error
		if away, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	srv, dsn, schema := harness.PrivatePostgres(t)
	cl := harness.NewClusterOn(t, dsn, schema, 2, "-lease", "3s")
	cs := harness.NewClients(t, 1)
	cs.ConnectAll(size, cl.RunningURLs(), harness.Command{"roam": true})
	cs.Join(harness.Numbers(size), harness.RoomsOf)
	cl.Nodes[0].MustPublish(cs.History, harness.Publication{Publisher: 1, Count: 200, Targets: harness.Targets()})

	if err := srv.Shut(pgserver.Fast); err != nil {
		t.Fatal(err)
	}
	gone := time.Now()
	waiting := cl.Nodes[0].Publish(t.Context(), cs.History, harness.Publication{Publisher: 2, Count: 3, Wait: true, TimeoutMS: 500})
	if waiting.Failed != 3 {
		t.Errorf("emits while Postgres is down: %+v", waiting)
	}
	// Clients cannot reconnect meanwhile.
	cs.Cut("reset", nil, 0, 1, 2, 3)
	harness.Pause(t.Context(), away-time.Since(gone))
	if back, _ := cs.Reconnections(); back != 0 {
		t.Errorf("%d clients reconnected without Postgres", back)
	}
	for k := 4; k < size; k++ {
		if c := cs.Get(k); !c.Connected || len(c.Disconnects) > 0 {
			t.Fatalf("client %d did not stay connected: %q", k, c.Disconnects)
		}
	}
	if err := srv.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	booted := time.Now()
	cs.Await(harness.MaxWait, "all are connected", cs.AllConnectedLocked)
	connected := time.Since(booted)
	if o := cl.Nodes[1].Publish(t.Context(), cs.History, harness.Publication{Publisher: 3, Count: 500, Targets: harness.Targets(), PerSecond: 500}); o.Acknowledged != 500 {
		t.Errorf("emits after Postgres came back: %+v", o)
	}
	cs.AwaitDelivery(cl.Nodes[0], harness.MaxWait)
	cs.Check()
	back, _ := cs.Reconnections()
	cs.CheckAllRecovered(4)
	t.Logf("SUMMARY %s: Postgres down for %v; %d reconnections, the last one %v after its start", t.Name(), booted.Sub(gone).Round(time.Millisecond), back, connected.Round(time.Millisecond))
}

// TestNode_SuspendedLongerThanLease suspends a node for longer than its lease, after its wall clock was set back by a
// day. Its clients reconnect to other nodes. When it resumes, it sends nothing to the sessions that it lost, and
// serves again.
func TestNode_SuspendedLongerThanLease(t *testing.T) {
	const size = 30
	cl := harness.NewClusterOf(t, harness.SteppedClockProgram(t), 3, "-lease", "4s", "-ping-interval", "1s", "-ping-timeout", "3s")
	cs := harness.NewClients(t, 1)
	cs.ConnectAll(size, cl.RunningURLs(), harness.Command{"roam": true})
	cs.Join(harness.Numbers(size), harness.RoomsOf)
	suspended := cl.Nodes[0]
	// A session begins at the position to which its node has read. The resumed node has much to read: a client that
	// connects to it at once may receive earlier events.
	cs.History.Lag = 30 * time.Second

	// Two clients keep their connection, and would receive what the resumed node sends. The session of one of them is
	// taken over at another node meanwhile.
	observers := []*harness.Observer{harness.Observe(t, suspended), harness.Observe(t, suspended)}
	stop := harness.StartPublishing(t, cl.Nodes[1], cs.History, 1, 200)
	harness.Pause(t.Context(), time.Second)

	if _, err := suspended.SetClock(t.Context(), -24*time.Hour); err != nil {
		t.Fatal(err)
	}
	suspended.Suspend()
	stopped := time.Now()
	cs.SetNodes(cl.RunningURLs()[1:])
	harness.Pause(t.Context(), 7*time.Second)
	other := observers[0].TakeOver(t, cl.Nodes[1])
	cs.Await(harness.MaxWait, "the clients of the suspended node are at other nodes", cs.AllConnectedLocked)
	harness.Pause(t.Context(), 200*time.Millisecond)
	received := []int{len(observers[0].Received()), len(observers[1].Received())}
	suspended.Resume()
	resumed := time.Now()
	for i, w := range observers {
		select {
		case <-w.Closed:
		case <-time.After(harness.MaxWait):
			t.Errorf("the resumed node kept the connection of observer %d", i)
		}
	}
	closed := time.Since(resumed)
	stop()
	emitted := make(map[checker.ID]int64)
	for _, e := range cs.History.All() {
		emitted[e.ID] = e.Start
	}
	late := 0
	for i, w := range observers {
		for _, id := range w.Received()[received[i]:] {
			// Only what was being written when the node was suspended is still sent.
			late++
			if after := emitted[id] - stopped.UnixNano(); after > 0 {
				t.Errorf("the resumed node sent event %v to session %d, which it had lost; it was emitted %v after the suspension", id, i, time.Duration(after))
			}
		}
	}

	// It serves again.
	cs.Open(1000, suspended.URL, nil)
	cs.Await(harness.MaxWait, "a new client connects to the resumed node", func() bool { return cs.ByNumber[1000].Connected })
	o := suspended.Publish(t.Context(), cs.History, harness.Publication{Publisher: 2, Count: 100, Targets: []checker.Target{{}}})
	if o.Acknowledged != 100 {
		t.Errorf("publish on the resumed node: %+v", o)
	}
	cs.AwaitDelivery(suspended, harness.MaxWait)
	cs.Check()
	cs.CheckAllRecovered(size / 3)
	if !other.Recovered() {
		t.Error("the session that another node took over was not recovered")
	}
	back, recovered := cs.Reconnections()
	t.Logf("SUMMARY %s: %d clients of a suspended node, %d reconnections, %d recovered; two that kept their connection had %v events, received %d more that were being written, and were dropped %v after it resumed",
		t.Name(), size/3, back, recovered, received, late, closed.Round(time.Millisecond))
}
