//nolint:paralleltest // each test has several processes to itself; together they would outgrow the machine
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

// TestPostgres_Restarts: Postgres crashes three times in the middle of the traffic. Nodes and clients stay; what was
// acknowledged is delivered once, what failed at most once.
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

	// Recovery works as before, without a restart of anything.
	cs.Cut("reset", nil, harness.Numbers(size)...)
	cs.Await(harness.MaxWait, "all are back", func() bool { return cs.ConnectedTimesLocked(2) })
	cs.AwaitDelivery(cl.Nodes[2], harness.MaxWait)
	cs.Check()
	cs.CheckAllRecovered(size)
	t.Logf("SUMMARY %s: %d crashes, Postgres away for %v in all; %+v; %d receipts", t.Name(), restarts, down.Round(time.Millisecond), outcomes, cs.History.Receipts())
}

// TestPostgres_Outage: Postgres is away for long. Nodes stay up, clients stay connected, emits fail by their ctx, and
// recovery goes on afterwards without a restart.
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
		t.Errorf("emits while Postgres is away: %+v", waiting)
	}
	// Some clients try to come back meanwhile, in vain.
	cs.Cut("reset", nil, 0, 1, 2, 3)
	harness.Pause(t.Context(), away-time.Since(gone))
	if back, _ := cs.Reconnections(); back != 0 {
		t.Errorf("%d clients have come back without Postgres", back)
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
	t.Logf("SUMMARY %s: Postgres away for %v; %d reconnections, the last %v after its return", t.Name(), booted.Sub(gone).Round(time.Millisecond), back, connected.Round(time.Millisecond))
}

// TestNode_SuspendedLongerThanLease: a node is stopped for longer than its lease, and its wall clock was set back by a day just before. Its
// clients go on elsewhere; when it wakes it sends nothing to the sessions that it lost, and serves again.
func TestNode_SuspendedLongerThanLease(t *testing.T) {
	const size = 30
	cl := harness.NewClusterOf(t, harness.SteppedClockProgram(t), 3, "-lease", "4s", "-ping-interval", "1s", "-ping-timeout", "3s")
	cs := harness.NewClients(t, 1)
	cs.ConnectAll(size, cl.RunningURLs(), harness.Command{"roam": true})
	cs.Join(harness.Numbers(size), harness.RoomsOf)
	frozen := cl.Nodes[0]
	// A session begins where its node has read to, and the woken node has much to read: a client that connects to it
	// at once may get events from before.
	cs.History.Lag = 30 * time.Second

	// Two that do not let go of their connection: they would hear what the woken node sends. One comes back elsewhere
	// meanwhile, the other never does.
	watchers := []*harness.Observer{harness.Observe(t, frozen), harness.Observe(t, frozen)}
	stop := harness.StartPublishing(t, cl.Nodes[1], cs.History, 1, 200)
	harness.Pause(t.Context(), time.Second)

	if _, err := frozen.SetClock(t.Context(), -24*time.Hour); err != nil {
		t.Fatal(err)
	}
	frozen.Suspend()
	stopped := time.Now()
	cs.SetNodes(cl.RunningURLs()[1:])
	harness.Pause(t.Context(), 7*time.Second)
	twin := watchers[0].TakeOver(t, cl.Nodes[1])
	cs.Await(harness.MaxWait, "the frozen node's clients are elsewhere", cs.AllConnectedLocked)
	harness.Pause(t.Context(), 200*time.Millisecond)
	heard := []int{len(watchers[0].Received()), len(watchers[1].Received())}
	frozen.Resume()
	woken := time.Now()
	for i, w := range watchers {
		select {
		case <-w.Closed:
		case <-time.After(harness.MaxWait):
			t.Errorf("the woken node has kept the connection of watcher %d", i)
		}
	}
	closed := time.Since(woken)
	stop()
	emitted := make(map[checker.ID]int64)
	for _, e := range cs.History.All() {
		emitted[e.ID] = e.Start
	}
	late := 0
	for i, w := range watchers {
		for _, id := range w.Received()[heard[i]:] {
			// What was on its way to the connection when the node stopped goes on when it wakes; nothing else does.
			late++
			if after := emitted[id] - stopped.UnixNano(); after > 0 {
				t.Errorf("the woken node has sent event %v to session %d, which it had lost; it was emitted %v after the node stopped", id, i, time.Duration(after))
			}
		}
	}

	// It serves again.
	cs.Open(1000, frozen.URL, nil)
	cs.Await(harness.MaxWait, "a new client connects to the woken node", func() bool { return cs.ByNumber[1000].Connected })
	o := frozen.Publish(t.Context(), cs.History, harness.Publication{Publisher: 2, Count: 100, Targets: []checker.Target{{}}})
	if o.Acknowledged != 100 {
		t.Errorf("publish on the woken node: %+v", o)
	}
	cs.AwaitDelivery(frozen, harness.MaxWait)
	cs.Check()
	cs.CheckAllRecovered(size / 3)
	if !twin.Recovered() {
		t.Error("the watcher that came back elsewhere was not recovered")
	}
	back, recovered := cs.Reconnections()
	t.Logf("SUMMARY %s: %d clients of a frozen node, %d reconnections, %d recovered; two that kept their connection had %v events, heard %d more that were on their way when the node stopped, and were dropped %v after it woke",
		t.Name(), size/3, back, recovered, heard, late, closed.Round(time.Millisecond))
}
