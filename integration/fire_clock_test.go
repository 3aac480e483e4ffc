//nolint:paralleltest // each test has several processes to itself; together they would outgrow the machine
package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgsocket/socketio/internal/pgserver"
)

// SteppedClockProgram is the node's program with a wall clock that can be set while it runs.
func SteppedClockProgram(t testing.TB) string {
	t.Helper()
	return steppedClockProgram.build(t, SteppedClockFlags)
}

// SteppedClockFlags build a node with another package time, which is made in dir: the wall clock of time.Now can be set, and
// what it measures between two moments, by the monotonic clock, stays right. That is what a program sees of an operator
// or a daemon that sets the clock of the machine, and, forward, of a machine that slept.
func SteppedClockFlags(dir string) ([]string, error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("find package time: %w", err)
	}
	original := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	text, err := os.ReadFile(original)
	if err != nil {
		return nil, fmt.Errorf("find package time: %w", err)
	}
	source := string(text)
	for _, change := range [][2]string{
		{"\nimport (\n", "\nimport (\n\t\"sync/atomic\"\n"},
		{
			"\nfunc Now() Time {\n\tsec, nsec, mono := runtimeNow()\n",
			"\nvar wallStep atomic.Int64\n\n" +
				"func StepWall(seconds int64) { wallStep.Store(seconds) }\n" +
				"\nfunc Now() Time {\n\tsec, nsec, mono := runtimeNow()\n\tsec += wallStep.Load()\n",
		},
	} {
		if strings.Count(source, change[0]) != 1 {
			return nil, fmt.Errorf("%s: this version of Go has not %q: say here how its clock is set", original, change[0])
		}
		source = strings.Replace(source, change[0], change[1], 1)
	}
	replacement, overlay := filepath.Join(dir, "time.go"), filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {original: replacement}})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(replacement, []byte(source), 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(overlay, list, 0o600); err != nil {
		return nil, err
	}
	return []string{"-overlay", overlay, "-tags", "steppedclock"}, nil
}

// A ClockStep is by how much the clocks of a process went on while its wall clock was set, in seconds.
type ClockStep struct{ Wall, Monotonic int64 }

// SetClock sets the wall clock of a node to differ by some time from that of the machine.
func (n *Node) SetClock(ctx context.Context, differs time.Duration) (ClockStep, error) {
	return Control[ClockStep](ctx, n, "clock", int64(differs.Seconds()))
}

// setClock sets the clock of a node that nothing else is done to, at that moment.
func (f *fire) setClock(ctx context.Context, roll *rand.Rand) {
	if _, err := f.anyWell(roll).SetClock(ctx, anyClock(roll)); err != nil {
		f.t.Logf("set a clock: %v", err) // the node has gone meanwhile
	}
}

// newNode starts a node, whose clock agrees with that of no other.
func (f *fire) newNode() *Node {
	f.t.Helper()
	n := f.cl.Start()
	if _, err := n.SetClock(f.t.Context(), anyClock(NewRand(f.seed<<8+uint64(len(f.cl.Nodes))))); err != nil {
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

// TestClocksAreSet: the wall clocks of nodes are set by up to a day, forward and back. Nobody notices: no node thinks
// another dead, no client loses its connection, nothing expires, and those that are away come back.
func TestClocksAreSet(t *testing.T) {
	const size = 30
	cl := NewClusterOf(t, SteppedClockProgram(t), 3, "-lease", "5s", "-ping-interval", "1s", "-ping-timeout", "5s")
	cs := NewClients(t, 1)
	cs.ConnectAll(size, cl.RunningURLs(), Command{"roam": true})
	cs.Join(Numbers(size), RoomsOf)
	lives := cl.NodeIDs()
	stop := StartPublishing(t, cl.Nodes[1], cs.History, 1, 100)
	beats := func() {
		cl.AwaitHeartbeats(2)
		if now := cl.NodeIDs(); !slices.Equal(lives, now) {
			t.Errorf("the nodes were %v and are %v", lives, now)
		}
	}

	steps := 0
	for _, differs := range []time.Duration{24 * time.Hour, -24 * time.Hour, 0} {
		for i, n := range cl.Nodes {
			j, err := n.SetClock(t.Context(), differs)
			if err != nil {
				t.Fatal(err)
			}
			if steps == 0 && (j.Wall < 24*3600 || j.Monotonic > 3600) {
				t.Fatalf("the clock was not set: %+v", j)
			}
			steps++
			if i == 0 {
				beats() // one clock differs from the others
			}
		}
		beats()
	}
	if back, _ := cs.Reconnections(); back != 0 {
		t.Errorf("%d clients lost their connection", back)
	}

	// What was parked before its node's clock is set is not expired after.
	cs.Cut("reset", nil, Numbers(size)...)
	for _, n := range cl.Nodes {
		if _, err := n.SetClock(t.Context(), 12*time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	cs.Await(20*time.Second, "all are back", func() bool { return cs.ConnectedTimesLocked(2) })
	stop()
	cs.AwaitDelivery(cl.Nodes[2], 30*time.Second)
	cs.Check()
	cs.CheckAllRecovered(size)
	t.Logf("SUMMARY %s: %d clocks set, %d receipts", t.Name(), steps, cs.History.Receipts())
}

// TestClockOfPostgresIsSet: the wall clock of Postgres is set back by an hour and forward by hours while nodes and
// clients are connected. They notice nothing. Of clients that are away, one comes back after its session's time was set
// back, and is recovered; for the others the time is over, and they are told so.
func TestClockOfPostgresIsSet(t *testing.T) {
	const size = 20
	setClock, env := fakeClock(t)
	_, dsn, schema := PrivatePostgresWith(t, pgserver.Options{Fast: true, Env: env})
	cl := NewClusterOn(t, dsn, schema, 3, "-lease", "5s", "-ping-interval", "1s", "-ping-timeout", "5s")
	cs := NewClients(t, 1)
	cs.ConnectAll(size, cl.RunningURLs(), Command{"roam": true})
	cs.Join(Numbers(size), RoomsOf)
	lives := cl.NodeIDs()
	stop := StartPublishing(t, cl.Nodes[1], cs.History, 1, 100)
	cs.CutAndHold("reset", 0, 1, 2)
	cl.AwaitQuery("three sessions are parked", "select count(*) = 3 from %s.sessions where node is null")
	set := func(differs time.Duration) {
		t.Helper()
		began := time.Now()
		var before, after time.Time
		cl.QueryRow(t, &before, "select clock_timestamp() from %s.meta")
		setClock(differs)
		cl.QueryRow(t, &after, "select clock_timestamp() from %s.meta")
		t.Logf("the clock of Postgres went on by %v in %v", after.Sub(before).Round(time.Second), time.Since(began).Round(time.Second))
		cl.AwaitHeartbeats(2)
		if now := cl.NodeIDs(); !slices.Equal(lives, now) {
			t.Errorf("the nodes were %v and are %v", lives, now)
		}
	}

	set(-time.Hour)
	cs.Reconnect(cl.Nodes[0].URL, 0)
	if me := cs.WhoAmI(0); !me.Recovered {
		t.Errorf("after the clock was set back: refused for %q", me.Reason)
	}
	head := cl.LogHead(t)
	for hour := range 3 {
		set(time.Duration(hour+1) * time.Hour)
		slot := fmt.Sprintf("select slot = %d from %%s.meta", (hour+1)%3)
		cl.AwaitQuery("the log goes on to its next partition, before its time", slot)
	}
	cs.Reconnect(cl.Nodes[1].URL, 1, 2)
	for k := 1; k < 3; k++ {
		if me := cs.WhoAmI(k); me.Recovered || me.Reason != "session expired" && me.Reason != "unknown session" {
			t.Errorf("after the clock was set forward by hours: client %d recovered %v, refused for %q", k, me.Recovered, me.Reason)
		}
	}
	if back, _ := cs.Reconnections(); back != 3 {
		t.Errorf("%d clients lost their connection that kept it", back-3)
	}
	if low := cl.LogLow(t); low < head {
		t.Errorf("the log had come to %d and has only forgotten what is before %d, three hours later", head, low)
	}

	// Who was connected comes back, or is told that the log has forgotten what its node has not yet had the time to
	// write down.
	cs.Cut("reset", nil, Numbers(size)[3:]...)
	cs.Await(20*time.Second, "all are back", func() bool { return cs.ConnectedTimesLocked(2) })
	stop()
	cs.AwaitDelivery(cl.Nodes[2], 30*time.Second)
	cs.Check()
	refused := 0
	for k := 3; k < size; k++ {
		if me := cs.WhoAmI(k); !me.Recovered {
			refused++
			if me.Reason != "events no longer kept" {
				t.Errorf("client %d was refused for %q", k, me.Reason)
			}
		}
	}
	t.Logf("SUMMARY %s: %d receipts; %d of %d were told that events are no longer kept", t.Name(), cs.History.Receipts(), refused, size-3)
}

// fakeClock returns the environment of a process whose wall clock can be set, and what sets it.
func fakeClock(t *testing.T) (set func(differs time.Duration), env []string) {
	t.Helper()
	libraries, err := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1")
	if err != nil || len(libraries) == 0 {
		SkipMissing(t, "faketime")
	}
	dir, err := os.MkdirTemp("", "clock-") //nolint:usetesting // Postgres runs as another user, who may not enter t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	file := filepath.Join(dir, "clock")
	set = func(differs time.Duration) {
		t.Helper()
		// One that is read at any time is whole at any time.
		err := os.WriteFile(file+".new", fmt.Appendf(nil, "%+d\n", int(differs.Seconds())), 0o644) //nolint:gosec // not a secret
		if err == nil {
			err = os.Rename(file+".new", file)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // not a secret
		t.Fatal(err)
	}
	set(0)
	return set, []string{
		"LD_PRELOAD=" + libraries[0], "FAKETIME_TIMESTAMP_FILE=" + file, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1",
	}
}

// AwaitQuery waits until a question about the schema, which %s stands for, is answered with yes.
func (c *Cluster) AwaitQuery(what, question string) {
	c.T.Helper()
	conn := c.Connect()
	if !Eventually(20*time.Second, func() bool {
		var yes bool
		err := conn.QueryRow(c.T.Context(), fmt.Sprintf(question, c.Schema)).Scan(&yes)
		return err == nil && yes
	}) {
		c.T.Errorf("it never came about that %s", what)
	}
}

// NodeIDs returns the ids under which the nodes live.
func (c *Cluster) NodeIDs() []int64 {
	c.T.Helper()
	var ids []int64
	conn := c.Connect()
	if err := conn.QueryRow(c.T.Context(), "select array_agg(id order by id) from "+c.Schema+".nodes").Scan(&ids); err != nil {
		c.T.Fatal(err)
	}
	return ids
}

// AwaitHeartbeats waits until every node has said some more times that it is alive, and has looked at the others as often.
func (c *Cluster) AwaitHeartbeats(times int) {
	c.T.Helper()
	conn := c.Connect()
	last := ""
	for range times {
		seen := func() (text string) {
			err := conn.QueryRow(c.T.Context(), "select string_agg(id || ' ' || seen, ',' order by id) from "+c.Schema+".nodes").Scan(&text)
			if err != nil {
				c.T.Fatal(err)
			}
			return text
		}
		moved := func() bool {
			now := strings.Split(seen(), ",")
			for before := range strings.SplitSeq(last, ",") {
				if slices.Contains(now, before) {
					return false
				}
			}
			return true
		}
		if last == "" {
			last = seen()
		}
		if !Eventually(20*time.Second, moved) {
			c.T.Fatalf("the nodes do not beat: %s", last)
		}
		last = seen()
	}
}
