//nolint:paralleltest // each test runs several processes; in parallel they would overload the machine
package main_test

import (
	"encoding/json"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/integration/checker"
	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/integration/wire"
)

func benchOnly(t *testing.T) {
	t.Helper()
	if os.Getenv("SOCKETIO_BENCH") != "1" {
		t.Skip("it measures, and runs only if SOCKETIO_BENCH=1")
	}
	if harness.RaceEnabled {
		t.Skip("the race detector would be measured")
	}
}

// TestBench_IdleMemory measures the memory of an idle connection: 5,000 raw clients in a room, with recovery.
func TestBench_IdleMemory(t *testing.T) {
	benchOnly(t)
	const size = 5000
	cl := harness.NewCluster(t, 1, "-ping-interval", "10s")
	n := cl.Nodes[0]
	var empty, full, after int
	n.Get("memory", &empty)

	all := make([]*wire.Client, size)
	tickets := make(chan struct{}, 200)
	var wg sync.WaitGroup
	for i := range all {
		tickets <- struct{}{}
		wg.Go(func() {
			defer func() { <-tickets }()
			all[i] = wire.New(wire.Options{})
			if err := all[i].Connect(t.Context(), n.Addr); err != nil {
				t.Errorf("connect: %v", err)
				return
			}
			if err := all[i].Call(t.Context(), nil, "join", []string{"hall"}); err != nil {
				t.Errorf("join: %v", err)
			}
		})
	}
	wg.Wait()
	t.Cleanup(func() {
		for _, c := range all {
			c.Cut()
		}
	})
	if t.Failed() {
		return
	}
	harness.Pause(t.Context(), 2*time.Second)
	n.Get("memory", &full)
	h := &checker.History{}
	n.MustPublish(h, harness.Publication{Publisher: 1, Count: 100, PerSecond: 100, Targets: []checker.Target{{Rooms: []string{"hall"}}}})
	harness.Pause(t.Context(), 2*time.Second)
	n.Get("memory", &after)
	per := func(bytes int) float64 { return float64(bytes-empty) / size / 1024 }
	t.Logf("SUMMARY %s: %d connections in a room, recovery on: %.1f KiB each idle, %.1f KiB each after 100 events to all (node alone %.1f MiB), resident, after a collection",
		t.Name(), size, per(full), per(after), float64(empty)/(1<<20))
}

// TestBench_Latency measures the time from Emit on one node to the client on another, at 50 events per second,
// together with a bare INSERT and NOTIFY to a listener of the same Postgres.
func TestBench_Latency(t *testing.T) {
	benchOnly(t)
	const count, perSecond = 1000, 50
	cl := harness.NewCluster(t, 2)
	var mu sync.Mutex
	arrived := make(map[int]time.Time)
	client := wire.New(wire.Options{Event: func(data json.RawMessage) {
		now := time.Now()
		var name string
		var publisher, seq int
		if json.Unmarshal(data, &[]any{&name, &publisher, &seq}) == nil {
			mu.Lock()
			arrived[seq] = now
			mu.Unlock()
		}
	}})
	if err := client.Connect(t.Context(), cl.Nodes[1].Addr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Cut)

	var bare []time.Duration
	var wg sync.WaitGroup
	wg.Go(func() { bare = bareRoundTrips(t, cl, count, perSecond) })
	h := &checker.History{}
	wg.Go(func() {
		cl.Nodes[0].Publish(t.Context(), h, harness.Publication{Publisher: 1, Count: count, PerSecond: perSecond, Wait: true})
	})
	wg.Wait()
	if !harness.Eventually(10*time.Second, func() bool { mu.Lock(); defer mu.Unlock(); return len(arrived) == count }) {
		t.Fatalf("%d of %d events arrived", len(arrived), count)
	}
	var emit, receive []time.Duration
	for _, e := range h.All() {
		emit = append(emit, time.Duration(e.End-e.Start))
		receive = append(receive, time.Duration(arrived[e.ID.Seq()].UnixNano()-e.Start))
	}
	t.Logf("SUMMARY %s: %d/s; emit to client on another node p50 %v p99 %v; Emit returns p50 %v p99 %v; bare INSERT+NOTIFY to listener p50 %v p99 %v",
		t.Name(), perSecond, harness.Percentile(receive, 50), harness.Percentile(receive, 99), harness.Percentile(emit, 50), harness.Percentile(emit, 99), harness.Percentile(bare, 50), harness.Percentile(bare, 99))
}

// bareRoundTrips measures the database alone: from a row and a NOTIFY in one transaction to a listener.
func bareRoundTrips(t *testing.T, cl *harness.Cluster, count, perSecond int) []time.Duration {
	writer, err := pgx.Connect(t.Context(), cl.DSN)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer writer.Close(t.Context())
	listener, err := pgx.Connect(t.Context(), cl.DSN)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer listener.Close(t.Context())
	table := pgx.Identifier{cl.Schema, "bare"}.Sanitize()
	if _, err := writer.Exec(t.Context(), "create table "+table+" (id bigint primary key, body text)"); err != nil {
		t.Error(err)
		return nil
	}
	if _, err := listener.Exec(t.Context(), "listen bare"); err != nil {
		t.Error(err)
		return nil
	}
	var times []time.Duration
	ticker := time.NewTicker(time.Second / time.Duration(perSecond))
	defer ticker.Stop()
	for i := range count {
		<-ticker.C
		began := time.Now()
		var b pgx.Batch
		b.Queue("insert into "+table+" values ($1, $2)", i, strings.Repeat("x", 40))
		b.Queue("select pg_notify('bare', $1)", "x")
		if err := writer.SendBatch(t.Context(), &b).Close(); err != nil {
			t.Error(err)
			return times
		}
		if _, err := listener.WaitForNotification(t.Context()); err != nil {
			t.Error(err)
			return times
		}
		times = append(times, time.Since(began))
	}
	return times
}
