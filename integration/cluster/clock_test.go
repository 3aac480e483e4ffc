//nolint:paralleltest // each test runs several processes; in parallel they would overload the machine
package cluster_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/internal/pgserver"
)

// TestClock_OfNodesIsSet sets the wall clocks of nodes by up to a day, forward and back. No node takes another for
// dead, no client loses its connection, nothing expires, and disconnected clients are recovered.
func TestClock_OfNodesIsSet(t *testing.T) {
	const size = 30
	cl := harness.NewClusterOf(t, harness.SteppedClockProgram(t), 3, "-lease", "5s", "-ping-interval", "1s", "-ping-timeout", "5s")
	cs := harness.NewClients(t, 1)
	cs.ConnectAll(size, cl.RunningURLs(), harness.Command{"roam": true})
	cs.Join(harness.Numbers(size), harness.RoomsOf)
	lives := cl.NodeIDs()
	stop := harness.StartPublishing(t, cl.Nodes[1], cs.History, 1, 100)
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

	// Sessions that are parked before the clock is set have not expired after.
	cs.Cut("reset", nil, harness.Numbers(size)...)
	for _, n := range cl.Nodes {
		if _, err := n.SetClock(t.Context(), 12*time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	cs.Await(20*time.Second, "all are connected again", func() bool { return cs.ConnectedTimesLocked(2) })
	stop()
	cs.AwaitDelivery(cl.Nodes[2], 30*time.Second)
	cs.Check()
	cs.CheckAllRecovered(size)
	t.Logf("SUMMARY %s: %d clocks set, %d receipts", t.Name(), steps, cs.History.Receipts())
}

// TestClock_OfPostgresIsSet sets the wall clock of Postgres back by an hour and forward by hours, while nodes and
// clients are connected and stay connected. A disconnected client that returns after the clock was set back is
// recovered. The sessions of the others have expired after the clock was set forward.
func TestClock_OfPostgresIsSet(t *testing.T) {
	const size = 20
	setClock, env := fakeClock(t)
	_, dsn, schema := harness.PrivatePostgresWith(t, pgserver.Options{Fast: true, Env: env})
	cl := harness.NewClusterOn(t, dsn, schema, 3, "-lease", "5s", "-ping-interval", "1s", "-ping-timeout", "5s")
	cs := harness.NewClients(t, 1)
	cs.ConnectAll(size, cl.RunningURLs(), harness.Command{"roam": true})
	cs.Join(harness.Numbers(size), harness.RoomsOf)
	lives := cl.NodeIDs()
	stop := harness.StartPublishing(t, cl.Nodes[1], cs.History, 1, 100)
	cs.CutAndHold("reset", 0, 1, 2)
	cl.AwaitQuery("three sessions are parked", "select count(*) = 3 from %s.sessions where node is null")
	set := func(differs time.Duration) {
		t.Helper()
		began := time.Now()
		var before, after time.Time
		cl.QueryRow(t, &before, "select clock_timestamp() from %s.meta")
		setClock(differs)
		cl.QueryRow(t, &after, "select clock_timestamp() from %s.meta")
		t.Logf("the clock of Postgres advanced by %v in %v", after.Sub(before).Round(time.Second), time.Since(began).Round(time.Second))
		cl.AwaitHeartbeats(2)
		if now := cl.NodeIDs(); !slices.Equal(lives, now) {
			t.Errorf("the nodes were %v and are %v", lives, now)
		}
	}

	set(-time.Hour)
	cs.Reconnect(cl.Nodes[0].URL, 0)
	if me := cs.WhoAmI(0); !me.Recovered {
		t.Errorf("not recovered after the clock was set back: %q", me.Reason)
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
			t.Errorf("after the clock was set forward by hours: client %d recovered %v, reason %q", k, me.Recovered, me.Reason)
		}
	}
	if back, _ := cs.Reconnections(); back != 3 {
		t.Errorf("%d connected clients lost their connection", back-3)
	}
	if low := cl.LogLow(t); low < head {
		t.Errorf("three hours later the log is trimmed up to %[2]d, and not to its former head %[1]d", head, low)
	}

	// The other clients are recovered, or not because the log has trimmed events that are missing in the last checkpoint.
	cs.Cut("reset", nil, harness.Numbers(size)[3:]...)
	cs.Await(20*time.Second, "all are connected again", func() bool { return cs.ConnectedTimesLocked(2) })
	stop()
	cs.AwaitDelivery(cl.Nodes[2], 30*time.Second)
	cs.Check()
	refused := 0
	for k := 3; k < size; k++ {
		if me := cs.WhoAmI(k); !me.Recovered {
			refused++
			if me.Reason != "events no longer kept" {
				t.Errorf("client %d was not recovered: %q", k, me.Reason)
			}
		}
	}
	t.Logf("SUMMARY %s: %d receipts; %d of %d were not recovered because events are no longer kept", t.Name(), cs.History.Receipts(), refused, size-3)
}

// fakeClock returns the environment of a process whose wall clock can be set, and a function that sets it.
func fakeClock(t *testing.T) (set func(differs time.Duration), env []string) {
	t.Helper()
	libraries, err := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1")
	if err != nil || len(libraries) == 0 {
		harness.SkipMissing(t, "faketime")
	}
	dir, err := os.MkdirTemp("", "clock-") //nolint:usetesting // Postgres runs as another user, without access to t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	file := filepath.Join(dir, "clock")
	set = func(differs time.Duration) {
		t.Helper()
		// A rename is atomic: a reader never finds half a file.
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
