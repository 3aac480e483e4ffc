//nolint:paralleltest // each test has several processes to itself; together they would outgrow the machine
package integration_test

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgsocket/socketio/integration/history"
	"github.com/pgsocket/socketio/integration/wire"
)

// A refugee is a client whose node is killed, and the ticks that it gets.
type refugee struct {
	*wire.Client

	last  int           // the newest tick of the crowd's
	bad   atomic.Bool   // one was lost, doubled or out of order
	whole chan struct{} // closed when it has got all
}

func newRefugee(all int) *refugee {
	r := &refugee{whole: make(chan struct{}), last: -1}
	r.Client = wire.New(wire.Options{Event: func(data json.RawMessage) {
		id, ok := tickOf(string(data))
		if !ok || id.Publisher() != 1 {
			return
		}
		if id.Seq() != r.last+1 {
			r.bad.Store(true)
		}
		if r.last = id.Seq(); r.last == all-1 {
			close(r.whole)
		}
	}})
	return r
}

// TestStorm: a node is killed, its clients miss 20 events each, and all of them come to the other node at once.
func TestStorm(t *testing.T) {
	const missed = 20
	size := setting(t, "SOCKETIO_STORM", 500)
	_, dsn, schema := privatePostgres(t)
	cl := &cluster{t: t, dsn: dsn, schema: schema}
	var proxy *pgProxy // of the node that was started last: the one that stays
	cl.route = func(string) string {
		p, over := newProxy(t, dsn)
		proxy = p
		return over
	}
	dying, staying := cl.start(), cl.start()
	crowd := make([]*refugee, size)
	each := func(do func(r *refugee)) {
		var wg sync.WaitGroup
		for _, r := range crowd {
			wg.Go(func() { do(r) })
		}
		wg.Wait()
	}
	for i := range crowd {
		crowd[i] = newRefugee(missed)
		t.Cleanup(crowd[i].Cut)
	}
	ctx := contextFor(t, 2*time.Minute)
	tickets := make(chan struct{}, 200)
	began := time.Now()
	each(func(r *refugee) {
		tickets <- struct{}{}
		defer func() { <-tickets }()
		if err := r.Connect(ctx, dying.addr); err != nil {
			t.Errorf("connect: %v", err)
		} else if err := r.Call(ctx, nil, "join", []string{"crowd"}); err != nil {
			t.Errorf("join: %v", err)
		}
	})
	first := time.Since(began)
	if t.Failed() {
		return
	}
	without := liveLatency(t, staying, 2, func() { pause(ctx, 3*time.Second) })

	dying.kill()
	staying.mustPublish(&history.History{}, publication{
		Publisher: 1, Count: missed, Targets: []history.Target{{Rooms: []string{"crowd"}}},
	})
	var mu sync.Mutex
	var took []time.Duration
	var all time.Duration
	var trips int64
	within := liveLatency(t, staying, 3, func() {
		began, before := time.Now(), proxy.trips.Load()
		each(func(r *refugee) {
			if err := r.Connect(ctx, staying.addr); err != nil {
				t.Errorf("come back: %v", err)
				return
			}
			select {
			case <-r.whole:
			case <-ctx.Done():
				t.Error("a client did not get all that it missed")
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, time.Since(began))
		})
		all, trips = time.Since(began), proxy.trips.Load()-before
	})
	recovered := 0
	for _, r := range crowd {
		if r.Recovered() && !r.bad.Load() {
			recovered++
		}
	}
	if recovered != size {
		t.Errorf("%d of %d are recovered, with all that they missed, once, and in order", recovered, size)
	}
	t.Logf("SUMMARY %s: %d clients, %d missed events each: all recovered in %.2fs, %.0f sessions/s, p50 %v, p99 %v (their first connections: %.2fs); %d round trips to Postgres, live traffic included: %.3f per session; live latency p50 %v p99 %v, without the storm p50 %v p99 %v",
		t.Name(), size, missed, all.Seconds(), float64(size)/all.Seconds(), percentile(took, 50), percentile(took, 99), first.Seconds(),
		trips, float64(trips)/float64(size), percentile(within, 50), percentile(within, 99), percentile(without, 50), percentile(without, 99))
}

// liveLatency measures the time from an emit to its receipt, 50 times a second, while something happens.
func liveLatency(t *testing.T, n *node, publisher int, happens func()) []time.Duration {
	t.Helper()
	var mu sync.Mutex
	arrived := make(map[history.ID]time.Time)
	client := wire.New(wire.Options{Event: func(data json.RawMessage) {
		now := time.Now()
		if id, ok := tickOf(string(data)); ok {
			mu.Lock()
			arrived[id] = now
			mu.Unlock()
		}
	}})
	if err := client.Connect(t.Context(), n.addr); err != nil {
		t.Fatal(err)
	}
	defer client.Cut()
	h := &history.History{}
	ctx, stop := context.WithCancel(t.Context())
	var publishing sync.WaitGroup
	room := []history.Target{{Rooms: []string{client.ID()}}}
	publishing.Go(func() {
		for from := 0; ctx.Err() == nil; from += 10 {
			n.publish(t.Context(), h, publication{Publisher: publisher, First: from, Count: 10, PerSecond: 50, Targets: room})
		}
	})
	happens()
	stop()
	publishing.Wait()
	emits := h.All()
	if !eventually(20*time.Second, func() bool { mu.Lock(); defer mu.Unlock(); return len(arrived) >= len(emits) }) {
		t.Errorf("%d of %d live events arrived", len(arrived), len(emits))
	}
	var took []time.Duration
	for _, e := range emits {
		took = append(took, time.Duration(arrived[e.ID].UnixNano()-e.Start))
	}
	return took
}
