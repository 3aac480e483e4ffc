//nolint:paralleltest // each test runs several processes; in parallel they would overload the machine
package cluster_test

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/pgsocket/socketio/integration/checker"
	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/internal/pgserver"
)

// skipUnlessLimits skips a test that measures for docs/recovery.md, and asserts little, unless SOCKETIO_TEST_LIMITS is
// set.
func skipUnlessLimits(t *testing.T) {
	t.Helper()
	if os.Getenv("SOCKETIO_TEST_LIMITS") == "" {
		t.Skip("SOCKETIO_TEST_LIMITS is not set")
	}
}

// eventIDs returns the ids of the first events of a publisher.
func eventIDs(publisher, count int) []checker.ID {
	var ids []checker.ID
	for seq := range count {
		ids = append(ids, checker.NewID(publisher, seq))
	}
	return ids
}

// TestPostgres_CrashWithoutSynchronousCommit crashes Postgres with synchronous_commit = off: acknowledged events are
// lost. Clients that stay connected miss nothing that is in the log afterwards, receive nothing twice, and are
// recovered later.
func TestPostgres_CrashWithoutSynchronousCommit(t *testing.T) {
	srv, dsn, schema := harness.PrivatePostgresWith(t, pgserver.Options{Fast: true, Settings: map[string]string{
		"synchronous_commit": "off", "wal_writer_delay": "10s", // the default is 200 ms
	}})
	cl := harness.NewClusterOn(t, dsn, schema, 2)
	history := &checker.History{}
	some := []*testClient{newTestClient(t, "a", cl.Nodes[0]), newTestClient(t, "b", cl.Nodes[1])}
	awaitAll := func(id checker.ID) {
		for _, p := range some {
			p.await(id)
		}
	}
	conn := cl.Connect()
	cl.Nodes[0].MustPublish(history, harness.Publication{Publisher: 1, Count: 50, Wait: true})
	awaitAll(checker.NewID(1, 49))
	for _, sql := range []string{"set synchronous_commit = on", "select pg_switch_wal()", "create table kept ()"} { // flushes the WAL
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	cl.Nodes[1].MustPublish(history, harness.Publication{Publisher: 2, Count: 100, Wait: true})
	awaitAll(checker.NewID(2, 99))

	if err := srv.Restart(t.Context(), pgserver.Immediate); err != nil {
		t.Fatal(err)
	}
	cl.Nodes[0].MustPublish(history, harness.Publication{Publisher: 3, Count: 150, Wait: true, TimeoutMS: 60_000})
	awaitAll(checker.NewID(3, 149))
	for i, p := range some {
		p.client.Cut()
		p.connect(cl.Nodes[1-i])
	}
	cl.Nodes[1].MustPublish(history, harness.Publication{Publisher: 4, Count: 1})
	awaitAll(checker.NewID(4, 0))

	kept := cl.LogEvents()
	lost := 50 + 100 + 150 + 1 - len(kept)
	for _, p := range some {
		if !p.client.Recovered() {
			t.Errorf("%s was not recovered", p.name)
		}
		p.mu.Lock()
		for i, ids := range p.sessions { // if there are two, the last one may begin at any event
			both := slices.DeleteFunc(slices.Clone(ids), func(id checker.ID) bool { return !slices.Contains(kept, id) })
			if len(both) > len(kept) || !slices.Equal(both, kept[len(kept)-len(both):]) || i == 0 && len(p.sessions) == 1 && len(both) != len(kept) {
				t.Errorf("%s: session %d received %v of the log, want %v", p.name, i, both, kept)
			}
		}
		p.mu.Unlock()
	}
	t.Logf("SUMMARY %s: of 301 acknowledged events the crash took back %d", t.Name(), lost) // the number depends on the WAL writer
}

// TestLimits_SuspendedNode measures what happens to the clients of a node that is suspended for long.
func TestLimits_SuspendedNode(t *testing.T) {
	skipUnlessLimits(t)
	const lease, retention = 2 * time.Second, 8 * time.Second
	for _, suspended := range []time.Duration{lease / 2, 2 * lease, 3 * retention} {
		t.Run(suspended.String(), func(t *testing.T) {
			cl := harness.NewCluster(t, 2, "-lease", lease.String(), "-retention", retention.String(), "-window", "1m")
			p := newTestClient(t, "p", cl.Nodes[0])
			history := &checker.History{}
			cl.Nodes[1].MustPublish(history, harness.Publication{Publisher: 1, Count: 10})
			p.await(checker.NewID(1, 9))
			cl.Nodes[0].Suspend()
			cl.Nodes[1].MustPublish(history, harness.Publication{Publisher: 2, Count: int(suspended.Seconds() * 100), PerSecond: 100})
			cl.Nodes[0].Resume()
			closed := harness.Eventually(2*lease, func() bool { return p.client.Send("3") != nil })
			if closed {
				p.connect(cl.Nodes[0])
			}
			var me harness.SocketState
			if err := p.client.Call(harness.ContextFor(t, 10*time.Second), &me, "whoami"); err != nil {
				t.Fatal(err)
			}
			cl.Nodes[1].MustPublish(history, harness.Publication{Publisher: 3, Count: 1})
			p.await(checker.NewID(3, 0))
			p.mu.Lock()
			defer p.mu.Unlock()
			t.Logf("SUMMARY %s: suspended for %v: connection cut %v, recovered %v, reason %q, sessions %d", t.Name(), suspended, closed, me.Recovered, me.Reason, len(p.sessions))
			if !closed || me.Recovered {
				if want := 10 + int(suspended.Seconds()*100) + 1; len(p.sessions) != 1 || len(p.sessions[0]) != want {
					t.Errorf("%d events in %d sessions, want %d in one", len(p.sessions[0]), len(p.sessions), want)
				}
			}
		})
	}
}

// TestLimits_PostgresOutage measures the memory of nodes while Postgres does not answer, and what happens to their
// emits.
func TestLimits_PostgresOutage(t *testing.T) {
	skipUnlessLimits(t)
	const retention = 20 * time.Second
	srv, dsn, schema := harness.PrivatePostgres(t)
	cl := harness.NewClusterOn(t, dsn, schema, 2, "-retention", retention.String(), "-window", "5s", "-lease", "2s")
	history := &checker.History{}
	p, away := newTestClient(t, "p", cl.Nodes[0]), newTestClient(t, "away", cl.Nodes[1])
	memory := func() (bytes int) { cl.Nodes[0].Get("memory", &bytes); return bytes }
	cl.Nodes[0].MustPublish(history, harness.Publication{Publisher: 1, Count: 10})
	p.await(checker.NewID(1, 9))
	away.client.Cut()
	cl.AwaitQuery("one session is parked", "select count(*) = 1 from %s.sessions where node is null")
	before := memory()

	if err := srv.Suspend(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	const waiting = 100_000
	done := make(chan harness.PublishResult)
	go func() { // received below
		done <- cl.Nodes[0].Publish(t.Context(), history, harness.Publication{Publisher: 2, Count: waiting, Pad: 100, TimeoutMS: 60_000})
	}()
	most := 0
	for time.Since(began) < retention*3/4 { // the length of the outage is what is measured
		most = max(most, memory())
		harness.Pause(t.Context(), time.Second)
	}
	if err := srv.Resume(); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	o := <-done
	why := make(map[string]int)
	for _, e := range history.All() {
		if e.Err != "" {
			why[e.Err]++
		}
	}
	away.connect(cl.Nodes[1])
	var me harness.SocketState
	if err := away.client.Call(harness.ContextFor(t, 10*time.Second), &me, "whoami"); err != nil {
		t.Fatal(err)
	}
	cl.Nodes[1].MustPublish(history, harness.Publication{Publisher: 3, Count: 1})
	if p.client.Send("3") != nil {
		p.connect(cl.Nodes[0])
	}
	p.await(checker.NewID(3, 0))
	t.Logf("SUMMARY %s: %v; Postgres suspended for %v: of %d emits %d acknowledged, %d failed %v; memory %d MiB before, at most %d MiB; the disconnected client: recovered %v, %q; the connected one: %d sessions",
		t.Name(), cl.Nodes[0].Stats().Disconnects, took.Round(time.Second), waiting, o.Acknowledged, o.Failed, why, before>>20, most>>20, me.Recovered, me.Reason, len(p.sessions))
}

// TestLimits_LargeReplay measures how much one client can miss and receive.
func TestLimits_LargeReplay(t *testing.T) {
	skipUnlessLimits(t)
	for _, size := range []struct{ events, pad int }{{10_000, 100}, {100_000, 100}, {400_000, 100}, {20_000, 10_000}} {
		t.Run(fmt.Sprintf("%dx%d", size.events, size.pad), func(t *testing.T) {
			cl := harness.NewCluster(t, 2)
			p := newTestClient(t, "p", cl.Nodes[0])
			history := &checker.History{}
			cl.Nodes[0].MustPublish(history, harness.Publication{Publisher: 1, Count: 1})
			p.await(checker.NewID(1, 0))
			p.client.Cut()
			cl.AwaitQuery("the session is parked", "select count(*) = 1 from %s.sessions where node is null")
			for first := 0; first < size.events; first += 10_000 {
				cl.Nodes[0].MustPublish(history, harness.Publication{Publisher: 2, First: first, Count: 10_000, Pad: size.pad, TimeoutMS: 60_000})
			}
			n := cl.Nodes[1]
			var before, after int
			n.Get("memory", &before)
			began := time.Now()
			p.connect(n)
			for p.count() < 1+size.events && time.Since(began) < 5*time.Minute {
				harness.Pause(t.Context(), 10*time.Millisecond)
			}
			took := time.Since(began)
			n.Get("memory", &after)
			if got := p.count(); got != 1+size.events || !p.client.Recovered() {
				t.Errorf("received %d events, recovered %v", got, p.client.Recovered())
			}
			t.Logf("SUMMARY %s: %d events, %d MB, replayed in %v; memory of the node %d MiB before, %d MiB after; closed %v", t.Name(),
				size.events, size.events*size.pad/1_000_000, took.Round(time.Millisecond), before>>20, after>>20, n.Stats().Disconnects)
		})
	}
}

// count returns the number of events of the newest session.
func (p *testClient) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.sessions[len(p.sessions)-1])
}

// TestLimits_LaggingStandby shows a loss that is not reported: a room joined in a transaction that a promoted standby
// lacks is missing from the session, although the client's node keeps it in the room while it stays connected.
func TestLimits_LaggingStandby(t *testing.T) {
	skipUnlessLimits(t)
	s, cl := newStandbyCluster(t, 2)
	history := &checker.History{}
	p := newTestClient(t, "p", cl.Nodes[0])
	late := []checker.Target{{Rooms: []string{"late"}}}
	emit := func(publisher int, to []checker.Target) checker.ID {
		cl.Nodes[0].MustPublish(history, harness.Publication{Publisher: publisher, Count: 1, Targets: to, TimeoutMS: 60_000})
		return checker.NewID(publisher, 0)
	}
	p.await(emit(1, nil))
	s.awaitCatchUp()
	s.stopReplication()
	if err := p.client.Call(harness.ContextFor(t, 5*time.Second), nil, "join", []string{"late"}); err != nil {
		t.Fatal(err)
	}
	s.failOver(func() {})
	p.await(emit(2, nil))
	p.await(emit(3, late)) // still
	p.client.Cut()
	missed := emit(4, late)
	p.connect(cl.Nodes[1])
	later := emit(5, late)
	p.await(emit(6, nil))
	p.mu.Lock()
	defer p.mu.Unlock()
	received := p.sessions[len(p.sessions)-1]
	t.Logf("SUMMARY %s: recovered %v; received of the room: missed events %v, later events %v", t.Name(),
		p.client.Recovered(), slices.Contains(received, missed), slices.Contains(received, later))
}
