//nolint:paralleltest // each test runs several processes; in parallel they would overload the machine
package chaos_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/integration/wire"
)

// A presenceRun is the clients of a run that are present in one room and watch it.
type presenceRun struct {
	*chaosRun

	mu         sync.Mutex
	violations []string
	left       map[string]string // sockets of members that only ever enter, which a watcher was told have left
	counts     map[string]int
}

// A presentClient enters the room, changes its state, leaves and watches, over any number of connections.
type presentClient struct {
	*wire.Client

	run   *presenceRun
	rng   *rand.Rand
	stays bool // it never leaves by itself

	connected bool // it was connected once

	mu      sync.Mutex
	id      string
	members map[socketio.SocketID]string // nil before the list
	list    map[socketio.SocketID]string // the parts so far
	version int64
	anew    bool // its session is new, so it does not watch yet
}

func (run *presenceRun) violate(format string, args ...any) {
	run.mu.Lock()
	defer run.mu.Unlock()
	run.violations = append(run.violations, fmt.Sprintf(format, args...))
}

func (run *presenceRun) count(what string) {
	run.mu.Lock()
	defer run.mu.Unlock()
	run.counts[what]++
}

// onConnected checks that nobody was told that the member is gone.
func (c *presentClient) onConnected(id string, recovered bool) {
	c.run.count(map[bool]string{true: "recovered", false: "new"}[recovered])
	c.mu.Lock()
	if !recovered {
		c.members, c.list, c.version, c.anew = nil, nil, 0, true
	}
	c.id = id
	c.mu.Unlock()
	c.run.mu.Lock()
	by, gone := c.run.left[id]
	c.run.mu.Unlock()
	if recovered && gone {
		c.run.violate("%s has recovered, and %s was told that it had left", id, by)
	}
}

func (c *presentClient) onEvent(data json.RawMessage) {
	var args []json.RawMessage
	var e socketio.PresenceEvent[string]
	if json.Unmarshal(data, &args) != nil || len(args) < 2 || string(args[0]) != `"online"` {
		return // a probe
	}
	if err := json.Unmarshal(args[1], &e); err != nil {
		c.run.violate("%s: %v", data, err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.foldLocked(&e); err != nil {
		c.run.violate("%s, version %d: %v\n%s", c.id, c.version, err, data)
	}
}

// foldLocked makes the event part of what the client knows, and returns an error if it does not fit.
func (c *presentClient) foldLocked(e *socketio.PresenceEvent[string]) error {
	if e.Parts > 0 {
		c.run.count("list parts")
		if e.Part == 1 {
			c.list = make(map[socketio.SocketID]string)
		}
		for _, m := range e.Members {
			c.list[m.ID] = m.State
		}
		if e.Part == e.Parts {
			c.members, c.version, c.list = c.list, e.Version, nil
		}
		return nil
	}
	switch {
	case e.Version <= c.version:
		c.run.count("announcements in the list")
		return nil
	case c.members == nil:
		return errors.New("an announcement before the list")
	case e.Version != c.version+1:
		return errors.New("a gap")
	}
	c.run.count("announcements")
	c.version = e.Version
	for _, m := range e.Entered {
		if _, in := c.members[m.ID]; in {
			return fmt.Errorf("%s entered twice", m.ID)
		}
		c.members[m.ID] = m.State
	}
	for _, m := range e.Updated {
		if _, in := c.members[m.ID]; !in {
			return fmt.Errorf("%s was updated, and is no member", m.ID)
		}
		c.members[m.ID] = m.State
	}
	for _, id := range e.Left {
		if c.members[id] == "stays" {
			c.run.mu.Lock()
			c.run.left[string(id)] = c.id
			c.run.mu.Unlock()
		}
		if _, in := c.members[id]; !in {
			return fmt.Errorf("%s left, and is no member", id)
		}
		delete(c.members, id)
	}
	return nil
}

func (c *presentClient) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(c.members)) {
		fmt.Fprintf(&b, "%s=%s ", id, c.members[id])
	}
	return b.String()
}

// call makes a request, and connects again if it fails.
func (c *presentClient) call(ctx context.Context, name string, arg any) bool {
	limited, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	if err := c.Call(limited, nil, name, arg); err != nil {
		c.reconnect(ctx)
		return false
	}
	return true
}

// reconnect connects to any node, and watches with a new session.
func (c *presentClient) reconnect(ctx context.Context) {
	for ctx.Err() == nil {
		if c.connected {
			c.Cut()
		}
		limited, cancel := context.WithTimeout(ctx, 4*time.Second)
		err := c.Connect(limited, c.run.set.randomNode(c.rng))
		cancel()
		c.connected = c.connected || err == nil
		c.mu.Lock()
		anew := c.anew
		c.mu.Unlock()
		switch {
		case err != nil:
			harness.Pause(ctx, time.Duration(c.rng.IntN(200))*time.Millisecond)
		case !anew || c.begin(ctx):
			return
		}
	}
}

func (c *presentClient) begin(ctx context.Context) bool {
	limited, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	if c.stays {
		if err := c.Call(limited, nil, "enter", map[string]string{"room": "red", "state": "stays"}); err != nil {
			return false
		}
	}
	if err := c.Call(limited, nil, "watch", "red"); err != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.anew = false
	return true
}

// live changes the presence of the client, and loses its connection, until ctx ends.
func (c *presentClient) live(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		switch n := c.rng.IntN(20); {
		case n < 2:
			c.reconnect(ctx)
		case n == 2 && c.rng.IntN(4) == 0: // its old session expires
			c.Remember("", "")
			c.reconnect(ctx)
		case n == 3:
			c.mu.Lock()
			c.anew = true // it may stop to watch, also without an answer
			c.mu.Unlock()
			if c.call(ctx, "unwatch", "red") {
				c.mu.Lock()
				c.members, c.version = nil, 0
				c.mu.Unlock()
				if !c.begin(ctx) {
					c.reconnect(ctx)
				}
			}
		case c.stays:
		case n < 7:
			c.call(ctx, "exit", "red")
		default:
			c.call(ctx, "enter", map[string]any{"room": "red", "state": fmt.Sprint(i)})
		}
		harness.Pause(ctx, time.Duration(c.rng.IntN(250))*time.Millisecond)
	}
}

// TestPresence_Chaos: clients enter, change, leave and watch a room, while they lose their connections and nodes are killed,
// suspended and cut off. Every announcement that a watcher receives fits what it knows; a client that recovers was
// never reported gone; and when all is quiet, all watchers, every node and the view have the same members.
func TestPresence_Chaos(t *testing.T) {
	c := config{seed: 17, length: 40 * time.Second, flags: []string{"-window", "8s"}}
	if testing.Short() {
		c.length = 10 * time.Second
	}
	run := &presenceRun{chaosRun: newRun(t, c), left: make(map[string]string), counts: make(map[string]int)}
	life, end := context.WithCancel(t.Context())
	defer end()
	var living sync.WaitGroup
	active, calm := context.WithCancel(life)
	defer calm()
	all := make([]*presentClient, 24)
	for i := range all {
		c := &presentClient{run: run, rng: harness.NewRand(run.seed<<20 + uint64(i)), stays: i%4 == 0, anew: true}
		c.Client = wire.New(wire.Options{Event: c.onEvent, Connected: c.onConnected})
		all[i] = c
		living.Go(func() {
			c.reconnect(life)
			c.live(active)
		})
	}
	ctx, stop := context.WithTimeout(t.Context(), run.length)
	defer stop()
	run.nemesis(ctx)
	run.nodeFaults.Wait()
	calm()
	living.Wait()
	for _, c := range all {
		living.Go(func() { c.reconnect(life) })
	}
	living.Wait()
	run.awaitSame(all)
	run.mu.Lock()
	defer run.mu.Unlock()
	for _, v := range run.violations[:min(len(run.violations), 5)] {
		t.Error(v)
	}
	t.Logf("%v, faults %v", run.counts, run.faults)
}

// awaitSame waits until all watchers, all nodes and the view have the same members.
func (run *presenceRun) awaitSame(all []*presentClient) {
	run.t.Helper()
	conn := run.cl.Connect()
	defer func() { _ = conn.Close(context.Background()) }()
	var differences []string
	same := func() bool {
		var want string
		err := conn.QueryRow(run.t.Context(), `select coalesce(string_agg(sid || '=' || (state #>> '{}') || ' ', '' order by sid collate "C"), '')
			from "`+run.cl.Schema+`".view_presence where namespace = '/' and event = 'online' and room = 'red'`).Scan(&want)
		if err != nil {
			run.t.Fatal(err)
		}
		differences = differences[:0]
		for _, c := range all {
			if got := c.text(); got != want {
				differences = append(differences, fmt.Sprintf("watcher %s: %s\nview: %s", c.ID(), got, want))
			}
			var members []socketio.Member[string]
			var b strings.Builder
			if err := c.Call(run.t.Context(), &members, "members", "red"); err != nil {
				differences = append(differences, err.Error())
				c.reconnect(run.t.Context())
			}
			for _, m := range members {
				fmt.Fprintf(&b, "%s=%s ", m.ID, m.State)
			}
			if b.String() != want {
				differences = append(differences, fmt.Sprintf("Members: %s\nview: %s", b.String(), want))
			}
		}
		return len(differences) == 0
	}
	if !harness.Eventually(time.Minute, same) {
		run.t.Errorf("%d differ:\n%s\n%s", len(differences), differences[0], run.cl.Diagnose())
	}
}
