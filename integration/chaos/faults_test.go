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

// setClock sets the clock of a node that nothing else is done to, at that moment.
func (f *fire) setClock(ctx context.Context, roll *rand.Rand) {
	if _, err := f.anyWell(roll).SetClock(ctx, anyClock(roll)); err != nil {
		f.t.Logf("set a clock: %v", err) // the node has gone meanwhile
	}
}

// newNode starts a node, whose clock agrees with that of no other.
func (f *fire) newNode() *harness.Node {
	f.t.Helper()
	n := f.cl.Start()
	if _, err := n.SetClock(f.t.Context(), anyClock(harness.NewRand(f.seed<<8+uint64(len(f.cl.Nodes))))); err != nil {
		f.t.Errorf("set the clock of a new node: %v", err)
	}
	return n
}

// anyClock returns by how much a clock is wrong: up to a day, half of the time up to five minutes.
func anyClock(roll *rand.Rand) time.Duration {
	differs := time.Duration(roll.IntN(2*24*3600)-24*3600) * time.Second
	if roll.IntN(2) == 0 {
		differs /= 24 * 12
	}
	return differs
}

// deeds are the faults and how often each is drawn.
func deeds() map[string]int {
	return map[string]int{
		"cut": 30, "again": 8, "stall": 8, "trickle": 4, "wish": 20, "leave": 5, "twin": 8, "operate": 12, "terminate": 6, "clock": 8, "absence": 3,
		"nap": 3, "freeze": 3, "kill": 3, "outage": 3, "mute": 3, "restart": 1, "shutdown": 1,
	}
}

// misfortunes draws one fault after the other until ctx ends; each comes at least once if there is the time.
func (f *fire) misfortunes(ctx context.Context) {
	all := deeds()
	names := slices.Sorted(maps.Keys(all))
	var deck []string
	for _, name := range names {
		for range all[name] {
			deck = append(deck, name)
		}
	}
	var first []string
	for _, i := range f.roll.Perm(len(names)) { // small ones between the large ones
		first = append(first, names[i], "cut", "wish", "operate")
	}
	for ctx.Err() == nil {
		harness.Pause(ctx, time.Duration(50+f.roll.IntN(250))*time.Millisecond)
		name := deck[f.roll.IntN(len(deck))]
		if len(first) > 0 {
			name, first = first[0], first[1:]
		}
		if ctx.Err() == nil {
			f.deed(ctx, name)
		}
	}
}

func (f *fire) deed(ctx context.Context, name string) {
	roll := harness.NewRand(f.roll.Uint64())
	switch name {
	case "cut", "again", "stall", "trickle", "absence", "wish", "leave", "twin":
		f.harass(name, roll)
	case "operate":
		f.operate(roll)
	case "terminate":
		f.terminate(ctx, roll)
	case "clock":
		f.setClock(ctx, roll)
	case "restart":
		f.pgUp.Lock()
		err := f.pg.Restart(f.t.Context(), []pgserver.Mode{pgserver.Fast, pgserver.Immediate}[roll.IntN(2)])
		f.pgUp.Unlock()
		if err != nil {
			f.t.Errorf("restart Postgres: %v", err)
		}
	default:
		if !f.trouble(name, roll) {
			return
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done[name]++
}

// harass does something to some clients.
func (f *fire) harass(name string, roll *rand.Rand) {
	among := f.flock.birds
	if name == "trickle" {
		among = f.flock.bulky // the others would not have much to read
	}
	many := 1 + roll.IntN(1+len(f.flock.birds)/4)
	for _, i := range roll.Perm(len(among))[:min(many, len(among))] {
		b := among[i]
		switch name {
		case "cut":
			b.cut([]string{"reset", "close", "half"}[roll.IntN(3)])
		case "again": // it is cut again soon after it came back, most likely in the replay
			b.fuse.Store(int64(1 + roll.IntN(20)))
			b.cut("reset")
		case "stall":
			b.stall(time.Duration(500+roll.IntN(2500)) * time.Millisecond)
		case "absence": // it comes back when what it missed first may no longer be kept
			b.rest.Store(int64(time.Duration(5+roll.IntN(4)) * time.Second))
			b.cut("reset")
		case "trickle": // it comes back to a long replay, which it reads slowly
			b.rest.Store(int64(3 * time.Second))
			b.slow.Store(true)
			b.cut("reset")
		case "leave":
			b.leave()
		case "twin":
			b.twin(f.t.Context(), harness.NewRand(roll.Uint64()))
		case "wish":
			w := wish{[]checker.Do{checker.Join, checker.Leave}[roll.IntN(2)], fmt.Sprintf("flip-%d", roll.IntN(3))}
			select {
			case b.wishes <- w:
			default: // it has enough to do
			}
		}
	}
	if f.official == nil || name != "cut" && name != "again" {
		return
	}
	some := roll.Perm(f.fireConfig.official)[:1+roll.IntN(f.fireConfig.official)]
	f.official.Cut([]string{"reset", "close", "half"}[roll.IntN(3)], nil, some...)
	f.flock.cuts.Add(int64(len(some)))
}

// operate has a node move an audience. The log says whether it did.
func (f *fire) operate(roll *rand.Rand) {
	n := f.anyWell(roll)
	to := f.aims(roll)[0]
	do := []string{"join", "leave"}[roll.IntN(2)]
	f.troubles.Go(func() {
		ctx, cancel := context.WithTimeout(f.t.Context(), 10*time.Second)
		defer cancel()
		_, _ = harness.Control[bool](ctx, n, "operate", struct {
			Do        string           `json:"do"`
			Namespace string           `json:"namespace"`
			Target    harness.Audience `json:"target"`
			Rooms     []string         `json:"rooms"`
		}{do, "/", harness.Audience(to), []string{fmt.Sprintf("moved-%d", roll.IntN(2))}})
	})
}

// terminate ends connections to Postgres of one kind.
func (f *fire) terminate(ctx context.Context, roll *rand.Rand) {
	kind := []string{"listen", "publish", "pool"}[roll.IntN(3)]
	conn, err := pgx.Connect(ctx, f.cl.DSN)
	if err != nil {
		return // Postgres is away, or the time is over
	}
	defer func() { _ = conn.Close(context.Background()) }()
	_, _ = f.cl.TryTerminate(ctx, conn, kind)
}

// trouble does something to a node, unless too many have trouble already.
func (f *fire) trouble(name string, roll *rand.Rand) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.well) < 2 {
		return false
	}
	i := roll.IntN(len(f.well))
	n := f.well[i]
	f.well = slices.Delete(f.well, i, i+1)
	if name != "nap" && name != "outage" && name != "mute" || roll.IntN(2) == 0 { // else some clients come while it lasts
		f.tellNodes()
	}
	f.troubles.Go(func() {
		back := f.suffer(name, n, roll)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.well = append(f.well, back)
		f.tellNodes()
	})
	return true
}

// suffer lasts as long as the node's trouble, and returns the node that goes on in its place.
func (f *fire) suffer(name string, n *harness.Node, roll *rand.Rand) *harness.Node {
	ctx := f.t.Context()
	millis := func(from, to int) time.Duration { return time.Duration(from+roll.IntN(to-from)) * time.Millisecond }
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
	f.pgUp.Lock()
	defer f.pgUp.Unlock()
	return f.newNode()
}
