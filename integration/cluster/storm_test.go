//nolint:paralleltest // each test runs several processes; in parallel they would overload the machine
package cluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgsocket/socketio/integration/checker"
	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/integration/wire"
)

// TestRecovery_ReconnectStorm kills a node. Its clients miss 20 events each, and all reconnect to the other node at
// once. The clients of that node continue to receive their events.
func TestRecovery_ReconnectStorm(t *testing.T) {
	const missed = 20
	size := harness.EnvInt(t, "SOCKETIO_STORM", 500)
	_, dsn, schema := harness.PrivatePostgres(t)
	cl := &harness.Cluster{T: t, DSN: dsn, Schema: schema}
	if atOnce := os.Getenv("SOCKETIO_STORM_AT_ONCE"); atOnce != "" {
		cl.Flags = []string{"-connects-at-once", atOnce}
	}
	var proxy *harness.PGProxy // of the node that was started last, which is not killed
	cl.Route = func(string) string {
		p, over := harness.NewPGProxy(t, dsn)
		proxy = p
		return over
	}
	dying, staying := cl.Start(), cl.Start()
	pool := &clientPool{Size: size, Missed: missed, From: dying.Addr, To: staying.Addr}
	startClientPool(t, pool)
	first := pool.step(t)
	if t.Failed() {
		return
	}
	without := liveLatency(t, staying, 2, func() { harness.Pause(t.Context(), 3*time.Second) })
	memory := peakMemory(staying, true)

	dying.Kill()
	staying.MustPublish(&checker.History{}, harness.Publication{
		Publisher: 1, Count: missed, Targets: []checker.Target{{Rooms: []string{"pool"}}},
	})
	var back poolReport
	var trips int64
	within := liveLatency(t, staying, 3, func() {
		before := proxy.RoundTrips.Load()
		back = pool.step(t)
		trips = proxy.RoundTrips.Load() - before
	})
	if back.Recovered != size {
		t.Errorf("%d of %d are recovered with every missed event, once and in order", back.Recovered, size)
	}
	t.Logf("SUMMARY %s: %d clients, %d missed events each: all recovered in %.2fs, %.0f sessions/s, p50 %v, p99 %v (first connections: %.2fs); %d round trips to Postgres, live traffic included: %.3f per session; live latency p50 %v p90 %v p99 %v, before the storm p50 %v p99 %v; the node's memory %d MiB before, %d at the peak, %d per session KiB",
		t.Name(), size, missed, back.Took.Seconds(), float64(size)/back.Took.Seconds(), harness.Percentile(back.Each, 50), harness.Percentile(back.Each, 99), first.Took.Seconds(),
		trips, float64(trips)/float64(size), harness.Percentile(within, 50), harness.Percentile(within, 90), harness.Percentile(within, 99), harness.Percentile(without, 50), harness.Percentile(without, 99),
		memory>>10, peakMemory(staying, false)>>10, (peakMemory(staying, false)-memory)/size)
}

// peakMemory returns the peak of a node's memory in KiB on Linux, and can reset the peak.
func peakMemory(n *harness.Node, anew bool) int {
	dir := fmt.Sprintf("/proc/%d/", n.Cmd.Process.Pid)
	if anew {
		_ = os.WriteFile(dir+"clear_refs", []byte("5"), 0o200)
	}
	status, err := os.ReadFile(dir + "status")
	if err != nil {
		return 0
	}
	_, text, _ := strings.Cut(string(status), "VmHWM:")
	kib, _ := strconv.Atoi(strings.Fields(text)[0])
	return kib
}

// liveLatency measures the time from an emit to its receipt, 50 times a second, while a function runs.
func liveLatency(t *testing.T, n *harness.Node, publisher int, happens func()) []time.Duration {
	t.Helper()
	var mu sync.Mutex
	arrived := make(map[checker.ID]time.Time)
	client := wire.New(wire.Options{Event: func(data json.RawMessage) {
		now := time.Now()
		if id, ok := harness.ParseTick(string(data)); ok {
			mu.Lock()
			arrived[id] = now
			mu.Unlock()
		}
	}})
	if err := client.Connect(t.Context(), n.Addr); err != nil {
		t.Fatal(err)
	}
	defer client.Cut()
	h := &checker.History{}
	ctx, stop := context.WithCancel(t.Context())
	var publishing sync.WaitGroup
	room := []checker.Target{{Rooms: []string{client.ID()}}}
	publishing.Go(func() {
		for from := 0; ctx.Err() == nil; from += 20 {
			n.Publish(t.Context(), h, harness.Publication{Publisher: publisher, First: from, Count: 20, PerSecond: 200, Targets: room})
		}
	})
	happens()
	stop()
	publishing.Wait()
	emits := h.All()
	if !harness.Eventually(20*time.Second, func() bool { mu.Lock(); defer mu.Unlock(); return len(arrived) >= len(emits) }) {
		t.Errorf("%d of %d live events arrived", len(arrived), len(emits))
	}
	var took []time.Duration
	for _, e := range emits {
		took = append(took, time.Duration(arrived[e.ID].UnixNano()-e.Start))
	}
	return took
}
