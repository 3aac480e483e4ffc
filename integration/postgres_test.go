//nolint:paralleltest // each test has several processes to itself; together they would outgrow the machine
package integration_test

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/pgsocket/socketio/integration/history"
	"github.com/pgsocket/socketio/internal/pgserver"
	"github.com/pgsocket/socketio/pgtest"
)

// privatePostgres starts a Postgres that the test may hurt, and returns a migrated schema in it.
func privatePostgres(t *testing.T) (srv *pgserver.Server, dsn, schema string) {
	t.Helper()
	return privatePostgresWith(t, pgserver.Options{Fast: true})
}

func privatePostgresWith(t *testing.T, opts pgserver.Options) (srv *pgserver.Server, dsn, schema string) {
	t.Helper()
	srv, err := pgserver.Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Stop(); err != nil {
			t.Errorf("stop the private Postgres: %v", err)
		}
	})
	dsn, schema = pgtest.Schema(t, pgtest.On(srv.DSN()))
	return srv, dsn, schema
}

// TestPostgresRestart: Postgres crashes three times in the middle of the traffic. Nodes and clients stay; what was
// acknowledged is delivered once, what failed at most once.
func TestPostgresRestart(t *testing.T) {
	const size = 60
	srv, dsn, schema := privatePostgres(t)
	cl := newClusterOn(t, dsn, schema, 3)
	cs := newClients(t, 1)
	cs.connectAll(size, cl.alive(), order{"roam": true})
	cs.join(numbers(size), rooms)

	outcomes := make([]outcome, 3)
	var publishers sync.WaitGroup
	for p := range outcomes {
		publishers.Go(func() {
			outcomes[p] = cl.nodes[p].publish(t.Context(), cs.history, publication{
				Publisher: p + 1, Count: 1500, Targets: targets(), PerSecond: 150, Wait: p == 0, TimeoutMS: 15_000,
			})
		})
	}
	restarts := 3
	var down time.Duration
	for range restarts {
		pause(t.Context(), 2*time.Second)
		began := time.Now()
		if err := srv.Restart(t.Context(), pgserver.Immediate); err != nil {
			t.Fatal(err)
		}
		down += time.Since(began)
	}
	publishers.Wait()
	cs.settleAll(cl.nodes[1], patience)
	cs.judge()
	if back, _ := cs.reconnections(); back != 0 {
		t.Errorf("%d clients lost their connection", back)
	}

	// Recovery works as before, without a restart of anything.
	cs.cut("reset", nil, numbers(size)...)
	cs.await(patience, "all are back", func() bool { return cs.connectsLocked(2) })
	cs.settleAll(cl.nodes[2], patience)
	cs.judge()
	cs.allRecovered(size)
	t.Logf("SUMMARY %s: %d crashes, Postgres away for %v in all; %+v; %d receipts", t.Name(), restarts, down.Round(time.Millisecond), outcomes, cs.history.Receipts())
}

// TestPostgresAway30s: Postgres is away for long. Nodes stay up, clients stay connected, emits fail by their ctx, and
// recovery goes on afterwards without a restart.
func TestPostgresAway30s(t *testing.T) {
	const size = 30
	away := 10 * time.Second
	if text := os.Getenv("SOCKETIO_TEST_AWAY"); text != "" {
		var err error
		if away, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	srv, dsn, schema := privatePostgres(t)
	cl := newClusterOn(t, dsn, schema, 2, "-lease", "3s")
	cs := newClients(t, 1)
	cs.connectAll(size, cl.alive(), order{"roam": true})
	cs.join(numbers(size), rooms)
	cl.nodes[0].mustPublish(cs.history, publication{Publisher: 1, Count: 200, Targets: targets()})

	if err := srv.Shut(pgserver.Fast); err != nil {
		t.Fatal(err)
	}
	gone := time.Now()
	waiting := cl.nodes[0].publish(t.Context(), cs.history, publication{Publisher: 2, Count: 3, Wait: true, TimeoutMS: 500})
	if waiting.failed != 3 {
		t.Errorf("emits while Postgres is away: %+v", waiting)
	}
	// Some clients try to come back meanwhile, in vain.
	cs.cut("reset", nil, 0, 1, 2, 3)
	pause(t.Context(), away-time.Since(gone))
	if back, _ := cs.reconnections(); back != 0 {
		t.Errorf("%d clients have come back without Postgres", back)
	}
	for k := 4; k < size; k++ {
		if c := cs.get(k); !c.connected || len(c.disconnects) > 0 {
			t.Fatalf("client %d did not stay connected: %q", k, c.disconnects)
		}
	}
	if err := srv.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	booted := time.Now()
	cs.await(patience, "all are connected", cs.allConnectedLocked)
	connected := time.Since(booted)
	if o := cl.nodes[1].publish(t.Context(), cs.history, publication{Publisher: 3, Count: 500, Targets: targets(), PerSecond: 500}); o.acknowledged != 500 {
		t.Errorf("emits after Postgres came back: %+v", o)
	}
	cs.settleAll(cl.nodes[0], patience)
	cs.judge()
	back, _ := cs.reconnections()
	cs.allRecovered(4)
	t.Logf("SUMMARY %s: Postgres away for %v; %d reconnections, the last %v after its return", t.Name(), booted.Sub(gone).Round(time.Millisecond), back, connected.Round(time.Millisecond))
}

// TestFrozenNode: a node is stopped for longer than its lease, and its wall clock was set back by a day just before. Its
// clients go on elsewhere; when it wakes it sends nothing to the sessions that it lost, and serves again.
func TestFrozenNode(t *testing.T) {
	const size = 30
	cl := newClusterOf(t, steppedProgram(t), 3, "-lease", "4s", "-ping-interval", "1s", "-ping-timeout", "3s")
	cs := newClients(t, 1)
	cs.connectAll(size, cl.alive(), order{"roam": true})
	cs.join(numbers(size), rooms)
	frozen := cl.nodes[0]
	// A session begins where its node has read to, and the woken node has much to read: a client that connects to it
	// at once may get events from before.
	cs.history.Lag = 30 * time.Second

	// Two that do not let go of their connection: they would hear what the woken node sends. One comes back elsewhere
	// meanwhile, the other never does.
	watchers := []*watcher{watch(t, frozen), watch(t, frozen)}
	stop := publishing(t, cl.nodes[1], cs.history, 1, 200)
	pause(t.Context(), time.Second)

	if _, err := frozen.setClock(t.Context(), -24*time.Hour); err != nil {
		t.Fatal(err)
	}
	frozen.freeze()
	stopped := time.Now()
	cs.setNodes(cl.alive()[1:])
	pause(t.Context(), 7*time.Second)
	twin := watchers[0].twin(t, cl.nodes[1])
	cs.await(patience, "the frozen node's clients are elsewhere", cs.allConnectedLocked)
	pause(t.Context(), 200*time.Millisecond)
	heard := []int{len(watchers[0].all()), len(watchers[1].all())}
	frozen.thaw()
	woken := time.Now()
	for i, w := range watchers {
		select {
		case <-w.closed:
		case <-time.After(patience):
			t.Errorf("the woken node has kept the connection of watcher %d", i)
		}
	}
	closed := time.Since(woken)
	stop()
	emitted := make(map[history.ID]int64)
	for _, e := range cs.history.All() {
		emitted[e.ID] = e.Start
	}
	late := 0
	for i, w := range watchers {
		for _, id := range w.all()[heard[i]:] {
			// What was on its way to the connection when the node stopped goes on when it wakes; nothing else does.
			late++
			if after := emitted[id] - stopped.UnixNano(); after > 0 {
				t.Errorf("the woken node has sent event %v to session %d, which it had lost; it was emitted %v after the node stopped", id, i, time.Duration(after))
			}
		}
	}

	// It serves again.
	cs.open(1000, frozen.url, nil)
	cs.await(patience, "a new client connects to the woken node", func() bool { return cs.byNum[1000].connected })
	o := frozen.publish(t.Context(), cs.history, publication{Publisher: 2, Count: 100, Targets: []history.Target{{}}})
	if o.acknowledged != 100 {
		t.Errorf("publish on the woken node: %+v", o)
	}
	cs.settleAll(frozen, patience)
	cs.judge()
	cs.allRecovered(size / 3)
	if !twin.Recovered() {
		t.Error("the watcher that came back elsewhere was not recovered")
	}
	back, recovered := cs.reconnections()
	t.Logf("SUMMARY %s: %d clients of a frozen node, %d reconnections, %d recovered; two that kept their connection had %v events, heard %d more that were on their way when the node stopped, and were dropped %v after it woke",
		t.Name(), size/3, back, recovered, heard, late, closed.Round(time.Millisecond))
}

func (c *clients) connectsLocked(n int) bool {
	for _, k := range c.byNum {
		if !k.connected || k.connects < n {
			return false
		}
	}
	return true
}

func contextFor(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
