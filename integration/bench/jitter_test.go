//nolint:paralleltest // each test runs several processes; in parallel they would overload the machine
package main_test

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pgsocket/socketio/integration/checker"
	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/integration/wire"
)

// A reconnectingClient loses its connection at fixed times and reconnects to any node after a while.
type reconnectingClient struct {
	*wire.Client

	rng   *rand.Rand
	ended chan struct{}

	mu         sync.Mutex
	got        map[int]time.Time // by number of the event
	duplicates int
	returns    []time.Time // starts of connection attempts
	refusals   int
	connected  int
}

func newReconnectingClient(rng *rand.Rand) *reconnectingClient {
	c := &reconnectingClient{rng: rng, ended: make(chan struct{}, 1), got: make(map[int]time.Time)}
	c.Client = wire.New(wire.Options{
		Event: func(data json.RawMessage) {
			now := time.Now()
			id, _ := harness.ParseTick(string(data)) // there are no other events
			c.mu.Lock()
			defer c.mu.Unlock()
			if _, again := c.got[id.Seq()]; again {
				c.duplicates++
			}
			c.got[id.Seq()] = now
		},
		Connected: func(_ string, recovered bool) {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.connected++; c.connected > 1 && !recovered {
				c.refusals++
			}
		},
		Closed: func(error) { c.ended <- struct{}{} },
	})
	return c
}

// run connects to any node, and cuts the connection after a first time and then again and again, staying away for a
// while each time. If its node closes the connection, it reconnects at once.
func (c *reconnectingClient) run(ctx context.Context, nodes *addresses, first, every, away time.Duration) {
	cut := time.NewTimer(first)
	defer cut.Stop()
	defer c.Cut()
	for ctx.Err() == nil {
		c.mu.Lock()
		c.returns = append(c.returns, time.Now())
		c.mu.Unlock()
		if err := c.Connect(ctx, nodes.any(c.rng)); err != nil {
			harness.Pause(ctx, 20*time.Millisecond)
			continue
		}
		select {
		case <-c.ended:
		case <-cut.C:
			cut.Reset(every)
			c.Cut()
			<-c.ended
			harness.Pause(ctx, away)
		case <-ctx.Done():
		}
	}
}

// addresses are those of the nodes that serve.
type addresses struct {
	mu    sync.Mutex
	addrs []string
}

func (a *addresses) set(addrs ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.addrs = addrs
}

func (a *addresses) any(rng *rand.Rand) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.addrs[rng.IntN(len(a.addrs))]
}

// replays returns, for each reconnect, the time until the client had received everything that was emitted before.
func (c *reconnectingClient) replays(emits []checker.Emit) []time.Duration {
	var took []time.Duration
	for _, back := range c.returns {
		caughtUp := time.Time{}
		for _, e := range emits {
			if e.End < back.UnixNano() && c.got[e.ID.Seq()].After(caughtUp) {
				caughtUp = c.got[e.ID.Seq()]
			}
		}
		if caughtUp.After(back) { // otherwise it missed nothing
			took = append(took, caughtUp.Sub(back))
		}
	}
	return took
}

// TestBench_Jitter measures clients that lose their connection every 15 s for 2 s, with a broadcast every 0.5 s, and
// a rolling deployment.
func TestBench_Jitter(t *testing.T) {
	benchOnly(t)
	const every, away, beat = 15 * time.Second, 2 * time.Second, 500 * time.Millisecond
	length := time.Duration(harness.EnvInt(t, "SOCKETIO_JITTER_SECONDS", 60)) * time.Second
	cl := harness.NewCluster(t, 2)
	nodes := &addresses{}
	nodes.set(cl.Nodes[0].Addr, cl.Nodes[1].Addr)
	var lives sync.WaitGroup
	ctx, end := context.WithCancel(t.Context())
	defer end()
	all := make([]*reconnectingClient, harness.EnvInt(t, "SOCKETIO_JITTER", 500))
	rng := harness.NewRand(harness.Seed(t))
	for i := range all {
		all[i] = newReconnectingClient(harness.NewRand(rng.Uint64()))
		first := time.Duration(rng.Int64N(int64(every)))
		lives.Go(func() { all[i].run(ctx, nodes, first, every, away) })
	}
	for _, c := range all {
		if !harness.Eventually(30*time.Second, func() bool { return c.PID() != "" }) {
			t.Fatal("not all clients connected")
		}
	}

	h := &checker.History{}
	var from atomic.Pointer[harness.Node]
	from.Store(cl.Nodes[0])
	publishing, stop := context.WithTimeout(ctx, length+10*time.Second)
	defer stop()
	var publisher sync.WaitGroup
	emitted := 0
	publisher.Go(func() {
		for ; publishing.Err() == nil; emitted++ {
			from.Load().MustPublish(h, harness.Publication{Publisher: 1, First: emitted, Count: 1, Wait: true})
			harness.Pause(publishing, beat)
		}
	})
	harness.Pause(ctx, length)
	for i := range 2 { // the deployment
		next := cl.Start()
		from.Store(next)
		nodes.set(cl.Nodes[i+1].Addr, next.Addr)
		cl.Nodes[i].Signal(syscall.SIGTERM)
		cl.Nodes[i].Wait(20 * time.Second)
		cl.Nodes[i].Down = true
	}
	publisher.Wait()
	delivered := func() (n int) {
		for _, c := range all {
			c.mu.Lock()
			n += len(c.got)
			c.mu.Unlock()
		}
		return n
	}
	harness.Eventually(20*time.Second, func() bool { return delivered() == emitted*len(all) })
	end()
	lives.Wait()

	var replays []time.Duration
	doubles, refusals, returns := 0, 0, 0
	for _, c := range all {
		replays = append(replays, c.replays(h.All())...)
		doubles, refusals, returns = doubles+c.duplicates, refusals+c.refusals, returns+c.connected-1
	}
	t.Logf("SUMMARY %s: %d clients, %d events: delivered %.3f %%, %d duplicates; %d reconnects, %d not recovered; from reconnecting to the last missed event p50 %v, p99 %v",
		t.Name(), len(all), emitted, 100*float64(delivered())/float64(emitted*len(all)), doubles, returns, refusals, harness.Percentile(replays, 50), harness.Percentile(replays, 99))
	if delivered() != emitted*len(all) || doubles > 0 || refusals > 0 {
		t.Error("an event was lost or duplicated, or a client was not recovered")
	}
}
