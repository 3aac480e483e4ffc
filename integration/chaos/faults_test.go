//nolint:paralleltest // each test has several processes to itself; together they would outgrow the machine
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

// setRandomClock sets the clock of a node that nothing else is done to, at that moment.
func (f *chaosRun) setRandomClock(ctx context.Context, rng *rand.Rand) {
	if _, err := f.healthyNode(rng).SetClock(ctx, randomClockError(rng)); err != nil {
		f.t.Logf("set a clock: %v", err) // the node has gone meanwhile
	}
}

// newNode starts a node, whose clock agrees with that of no other.
func (f *chaosRun) newNode() *harness.Node {
	f.t.Helper()
	n := f.cl.Start()
	if _, err := n.SetClock(f.t.Context(), randomClockError(harness.NewRand(f.seed<<8+uint64(len(f.cl.Nodes))))); err != nil {
		f.t.Errorf("set the clock of a new node: %v", err)
	}
	return n
}

// randomClockError returns by how much a clock is wrong: up to a day, half of the time up to five minutes.
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
		"cut": 30, "again": 8, "stall": 8, "trickle": 4, "wish": 20, "leave": 5, "twin": 8, "operate": 12, "terminate": 6, "clock": 8, "absence": 3,
		"nap": 3, "freeze": 3, "kill": 3, "outage": 3, "mute": 3, "restart": 1, "shutdown": 1,
	}
}

// nemesis draws one fault after the other until ctx ends; each comes at least once if there is the time.
func (f *chaosRun) nemesis(ctx context.Context) {
	all := faultWeights()
	names := slices.Sorted(maps.Keys(all))
	var deck []string
	for _, name := range names {
		for range all[name] {
			deck = append(deck, name)
		}
	}
	var first []string
	for _, i := range f.rng.Perm(len(names)) { // small ones between the large ones
		first = append(first, names[i], "cut", "wish", "operate")
	}
	for ctx.Err() == nil {
		harness.Pause(ctx, time.Duration(50+f.rng.IntN(250))*time.Millisecond)
		name := deck[f.rng.IntN(len(deck))]
		if len(first) > 0 {
			name, first = first[0], first[1:]
		}
		if ctx.Err() == nil {
			f.inject(ctx, name)
		}
	}
}

func (f *chaosRun) inject(ctx context.Context, name string) {
	rng := harness.NewRand(f.rng.Uint64())
	switch name {
	case "cut", "again", "stall", "trickle", "absence", "wish", "leave", "twin":
		f.injectClientFault(name, rng)
	case "operate":
		f.injectOperation(rng)
	case "terminate":
		f.terminateBackends(ctx, rng)
	case "clock":
		f.setRandomClock(ctx, rng)
	case "restart":
		f.pgRestart.Lock()
		err := f.pg.Restart(f.t.Context(), []pgserver.Mode{pgserver.Fast, pgserver.Immediate}[rng.IntN(2)])
		f.pgRestart.Unlock()
		if err != nil {
			f.t.Errorf("restart Postgres: %v", err)
		}
	default:
		if !f.startNodeFault(name, rng) {
			return
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[name]++
}

// injectClientFault does something to some clients.
func (f *chaosRun) injectClientFault(name string, rng *rand.Rand) {
	among := f.set.clients
	if name == "trickle" {
		among = f.set.slowClients // the others would not have much to read
	}
	many := 1 + rng.IntN(1+len(f.set.clients)/4)
	for _, i := range rng.Perm(len(among))[:min(many, len(among))] {
		b := among[i]
		switch name {
		case "cut":
			b.cut([]string{"reset", "close", "half"}[rng.IntN(3)])
		case "again": // it is cut again soon after it came back, most likely in the replay
			b.cutAfter.Store(int64(1 + rng.IntN(20)))
			b.cut("reset")
		case "stall":
			b.stallReads(time.Duration(500+rng.IntN(2500)) * time.Millisecond)
		case "absence": // it comes back when what it missed first may no longer be kept
			b.awayFor.Store(int64(time.Duration(5+rng.IntN(4)) * time.Second))
			b.cut("reset")
		case "trickle": // it comes back to a long replay, which it reads slowly
			b.awayFor.Store(int64(3 * time.Second))
			b.slowReader.Store(true)
			b.cut("reset")
		case "leave":
			b.disconnect()
		case "twin":
			b.claimConcurrently(f.t.Context(), harness.NewRand(rng.Uint64()))
		case "wish":
			w := roomChange{[]checker.RoomOp{checker.Join, checker.Leave}[rng.IntN(2)], fmt.Sprintf("flip-%d", rng.IntN(3))}
			select {
			case b.roomChanges <- w:
			default: // it has enough to do
			}
		}
	}
	if f.official == nil || name != "cut" && name != "again" {
		return
	}
	some := rng.Perm(f.config.official)[:1+rng.IntN(f.config.official)]
	f.official.Cut([]string{"reset", "close", "half"}[rng.IntN(3)], nil, some...)
	f.set.cuts.Add(int64(len(some)))
}

// injectOperation has a node move an audience. The log says whether it did.
func (f *chaosRun) injectOperation(rng *rand.Rand) {
	n := f.healthyNode(rng)
	to := f.randomTargets(rng)[0]
	do := []string{"join", "leave"}[rng.IntN(2)]
	f.nodeFaults.Go(func() {
		ctx, cancel := context.WithTimeout(f.t.Context(), 10*time.Second)
		defer cancel()
		_, _ = harness.Control[bool](ctx, n, "operate", struct {
			Do        string           `json:"do"`
			Namespace string           `json:"namespace"`
			Target    harness.Audience `json:"target"`
			Rooms     []string         `json:"rooms"`
		}{do, "/", harness.Audience(to), []string{fmt.Sprintf("moved-%d", rng.IntN(2))}})
	})
}

// terminateBackends ends connections to Postgres of one kind.
func (f *chaosRun) terminateBackends(ctx context.Context, rng *rand.Rand) {
	kind := []string{"listen", "publish", "pool"}[rng.IntN(3)]
	conn, err := pgx.Connect(ctx, f.cl.DSN)
	if err != nil {
		return // Postgres is away, or the time is over
	}
	defer func() { _ = conn.Close(context.Background()) }()
	_, _ = f.cl.TryTerminate(ctx, conn, kind)
}

// startNodeFault does something to a node, unless too many have trouble already.
func (f *chaosRun) startNodeFault(name string, rng *rand.Rand) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.healthy) < 2 {
		return false
	}
	i := rng.IntN(len(f.healthy))
	n := f.healthy[i]
	f.healthy = slices.Delete(f.healthy, i, i+1)
	if name != "nap" && name != "outage" && name != "mute" || rng.IntN(2) == 0 { // else some clients come while it lasts
		f.announceNodes()
	}
	f.nodeFaults.Go(func() {
		back := f.runNodeFault(name, n, rng)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.healthy = append(f.healthy, back)
		f.announceNodes()
	})
	return true
}

// runNodeFault lasts as long as the node's trouble, and returns the node that goes on in its place.
func (f *chaosRun) runNodeFault(name string, n *harness.Node, rng *rand.Rand) *harness.Node {
	ctx := f.t.Context()
	millis := func(from, to int) time.Duration { return time.Duration(from+rng.IntN(to-from)) * time.Millisecond }
	switch name {
	case "nap":
		n.Suspend()
		harness.Pause(ctx, millis(200, 1200))
		n.Resume()
		return n
	case "freeze":
		n.Suspend()
		harness.Pause(ctx, millis(2500, 5000))
		n.Resume()
		return n
	case "outage", "mute":
		f.mu.Lock()
		proxy := f.proxies[n.Name]
		f.mu.Unlock()
		if name == "mute" { // Postgres does what it is told, and the node does not hear of it
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
		f.mu.Lock()
		n.Down = true
		f.mu.Unlock()
	}
	harness.Pause(ctx, millis(100, 1500))
	f.pgRestart.Lock()
	defer f.pgRestart.Unlock()
	return f.newNode()
}
