package chaos_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/integration/checker"
	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/internal/pgserver"
)

// setRandomClock sets the clock of a node that no other fault affects.
func (run *chaosRun) setRandomClock(ctx context.Context, rng *rand.Rand) {
	if _, err := run.healthyNode(rng).SetClock(ctx, randomClockError(rng)); err != nil {
		run.t.Logf("set a clock: %v", err) // the node has ended meanwhile
	}
}

// newNode starts a node with a wall clock that is wrong by a random time.
func (run *chaosRun) newNode() *harness.Node {
	run.t.Helper()
	n := run.cl.Start()
	if _, err := n.SetClock(run.t.Context(), randomClockError(harness.NewRand(run.seed<<8+uint64(len(run.cl.Nodes))))); err != nil {
		run.t.Errorf("set the clock of a new node: %v", err)
	}
	return n
}

// randomClockError returns the error of a wall clock: up to a day, half of the time up to five minutes.
func randomClockError(rng *rand.Rand) time.Duration {
	differs := time.Duration(rng.IntN(2*24*3600)-24*3600) * time.Second
	if rng.IntN(2) == 0 {
		differs /= 24 * 12
	}
	return differs
}

// faultWeights are the faults and how often each is drawn.
func faultWeights() map[string]int {
	return map[string]int{
		"cut": 30, "cut-twice": 8, "stall": 8, "slow-read": 4, "room-change": 20, "disconnect": 5, "concurrent-claim": 8, "operate": 12, "terminate": 6, "clock": 8, "long-absence": 3,
		"suspend-briefly": 3, "suspend": 3, "kill": 3, "outage": 3, "drop-replies": 3, "restart": 1, "shutdown": 1,
	}
}

// nemesis injects one fault after the other until ctx ends. Each kind occurs at least once if there is time.
func (run *chaosRun) nemesis(ctx context.Context) {
	all := faultWeights()
	names := slices.Sorted(maps.Keys(all))
	var deck []string
	for _, name := range names {
		for range all[name] {
			deck = append(deck, name)
		}
	}
	var first []string
	for _, i := range run.rng.Perm(len(names)) { // with small ones between them
		first = append(first, names[i], "cut", "room-change", "operate")
	}
	for ctx.Err() == nil {
		harness.Pause(ctx, time.Duration(50+run.rng.IntN(250))*time.Millisecond)
		name := deck[run.rng.IntN(len(deck))]
		if len(first) > 0 {
			name, first = first[0], first[1:]
		}
		if ctx.Err() == nil {
			run.inject(ctx, name)
		}
	}
}

func (run *chaosRun) inject(ctx context.Context, name string) {
	rng := harness.NewRand(run.rng.Uint64())
	switch name {
	case "cut", "cut-twice", "stall", "slow-read", "long-absence", "room-change", "disconnect", "concurrent-claim":
		run.injectClientFault(name, rng)
	case "operate":
		run.injectOperation(rng)
	case "terminate":
		run.terminateBackends(ctx, rng)
	case "clock":
		run.setRandomClock(ctx, rng)
	case "restart":
		run.pgRestart.Lock()
		err := run.pg.Restart(run.t.Context(), []pgserver.Mode{pgserver.Fast, pgserver.Immediate}[rng.IntN(2)])
		run.pgRestart.Unlock()
		if err != nil {
			run.t.Errorf("restart Postgres: %v", err)
		}
	default:
		if !run.startNodeFault(name, rng) {
			return
		}
	}
	run.mu.Lock()
	defer run.mu.Unlock()
	run.faults[name]++
}

// injectClientFault injects a fault into some of the clients.
func (run *chaosRun) injectClientFault(name string, rng *rand.Rand) {
	among := run.set.clients
	if name == "slow-read" {
		among = run.set.slowClients // the others do not receive much
	}
	many := 1 + rng.IntN(1+len(run.set.clients)/4)
	for _, i := range rng.Perm(len(among))[:min(many, len(among))] {
		c := among[i]
		switch name {
		case "cut":
			c.cut([]string{"reset", "close", "half"}[rng.IntN(3)])
		case "cut-twice": // a second cut soon after the reconnect, most likely in the replay
			c.cutAfter.Store(int64(1 + rng.IntN(20)))
			c.cut("reset")
		case "stall":
			c.stallReads(time.Duration(500+rng.IntN(2500)) * time.Millisecond)
		case "long-absence": // the log may no longer keep the first missed event
			c.awayFor.Store(int64(time.Duration(5+rng.IntN(4)) * time.Second))
			c.cut("reset")
		case "slow-read": // a long replay to a slow reader
			c.awayFor.Store(int64(3 * time.Second))
			c.slowReader.Store(true)
			c.cut("reset")
		case "disconnect":
			c.disconnect()
		case "concurrent-claim":
			c.claimConcurrently(run.t.Context(), harness.NewRand(rng.Uint64()))
		case "room-change":
			w := roomChange{[]checker.RoomOp{checker.Join, checker.Leave}[rng.IntN(2)], fmt.Sprintf("flip-%d", rng.IntN(3))}
			select {
			case c.roomChanges <- w:
			default: // enough are pending
			}
		}
	}
	if run.official == nil || name != "cut" && name != "cut-twice" {
		return
	}
	some := rng.Perm(run.config.official)[:1+rng.IntN(run.config.official)]
	run.official.Cut([]string{"reset", "close", "half"}[rng.IntN(3)], nil, some...)
	run.set.cuts.Add(int64(len(some)))
}

// injectOperation has a node change the rooms of an audience. The log shows whether it did.
func (run *chaosRun) injectOperation(rng *rand.Rand) {
	n := run.healthyNode(rng)
	to := run.randomTargets(rng)[0]
	do := []string{"join", "leave"}[rng.IntN(2)]
	run.nodeFaults.Go(func() {
		ctx, cancel := context.WithTimeout(run.t.Context(), 10*time.Second)
		defer cancel()
		_, _ = harness.Control[bool](ctx, n, "operate", struct {
			Do        string           `json:"do"`
			Namespace string           `json:"namespace"`
			Target    harness.Audience `json:"target"`
			Rooms     []string         `json:"rooms"`
		}{do, "/", harness.Audience(to), []string{fmt.Sprintf("moved-%d", rng.IntN(2))}})
	})
}

// terminateBackends terminates connections to Postgres of one kind.
func (run *chaosRun) terminateBackends(ctx context.Context, rng *rand.Rand) {
	kind := []string{"listen", "publish", "pool"}[rng.IntN(3)]
	conn, err := pgx.Connect(ctx, run.cl.DSN)
	if err != nil {
		return // Postgres is down, or the run is over
	}
	defer func() { _ = conn.Close(context.Background()) }()
	_, _ = run.cl.TryTerminate(ctx, conn, kind)
}

// startNodeFault injects a fault into a node, unless too few nodes are healthy.
func (run *chaosRun) startNodeFault(name string, rng *rand.Rand) bool {
	run.mu.Lock()
	defer run.mu.Unlock()
	if len(run.healthy) < 2 {
		return false
	}
	i := rng.IntN(len(run.healthy))
	n := run.healthy[i]
	run.healthy = slices.Delete(run.healthy, i, i+1)
	if name != "suspend-briefly" && name != "outage" && name != "drop-replies" || rng.IntN(2) == 0 { // otherwise clients connect to it during the fault
		run.announceNodes()
	}
	run.nodeFaults.Go(func() {
		back := run.runNodeFault(name, n, rng)
		run.mu.Lock()
		defer run.mu.Unlock()
		run.healthy = append(run.healthy, back)
		run.announceNodes()
	})
	return true
}

// runNodeFault returns when the fault is over, with the node that continues in this place.
func (run *chaosRun) runNodeFault(name string, n *harness.Node, rng *rand.Rand) *harness.Node {
	ctx := run.t.Context()
	millis := func(from, to int) time.Duration { return time.Duration(from+rng.IntN(to-from)) * time.Millisecond }
	switch name {
	case "suspend-briefly":
		n.Suspend()
		harness.Pause(ctx, millis(200, 1200))
		n.Resume()
		return n
	case "suspend":
		n.Suspend()
		harness.Pause(ctx, millis(2500, 5000))
		n.Resume()
		return n
	case "outage", "drop-replies":
		run.mu.Lock()
		proxy := run.proxies[n.Name]
		run.mu.Unlock()
		if name == "drop-replies" { // Postgres executes statements, and the node does not get the replies
			proxy.DropReplies.Store(true)
			harness.Pause(ctx, millis(50, 500))
			proxy.SetDown(true)
			proxy.DropReplies.Store(false)
			proxy.SetDown(false)
			return n
		}
		proxy.SetDown(true)
		harness.Pause(ctx, millis(500, 4000))
		proxy.SetDown(false)
		return n
	case "kill":
		n.Kill()
	case "shutdown":
		n.Signal(syscall.SIGTERM)
		n.Wait(20 * time.Second)
		run.mu.Lock()
		n.Down = true
		run.mu.Unlock()
	}
	harness.Pause(ctx, millis(100, 1500))
	run.pgRestart.Lock()
	defer run.pgRestart.Unlock()
	return run.newNode()
}
