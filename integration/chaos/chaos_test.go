//nolint:paralleltest // each test has several processes to itself; together they would outgrow the machine
package chaos_test

import (
	"context"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/pgsocket/socketio/integration/harness"
)

// TestChaos_AllFaults: everything at once, by chance, and the history is judged by the log. See docs/fire.md.
func TestChaos_AllFaults(t *testing.T) {
	first := int(harness.Seed(t))
	for i := range harness.EnvInt(t, "SOCKETIO_CHAOS_SEEDS", 2) {
		t.Run(strconv.Itoa(first+i), func(t *testing.T) {
			r := runWithFaults(t, config{
				seed:     uint64(first + i),
				length:   time.Duration(harness.EnvInt(t, "SOCKETIO_CHAOS_SECONDS", 15)) * time.Second,
				clients:  harness.EnvInt(t, "SOCKETIO_CHAOS_CLIENTS", 60),
				official: 6,
				brief:    (first+i)%2 == 1,
			})
			t.Logf("SUMMARY %v", r)
			if r.violation != nil {
				t.Errorf("SOCKETIO_TEST_SEED=%d: %v\nthe history is in %s", r.seed, r.violation, r.file)
			}
		})
	}
}

// TestChaos_RollingRestart: three nodes under load are replaced one after the other, twice. Nobody is refused, and nothing is
// lost or doubled.
func TestChaos_RollingRestart(t *testing.T) {
	f := newRun(t, config{
		seed: harness.Seed(t), length: 2 * time.Minute, clients: harness.EnvInt(t, "SOCKETIO_CHAOS_CLIENTS", 60), official: 6,
	})
	sent := 0 // away
	r := f.run(func(ctx context.Context) {
		for i := range 2 * clusterSize {
			harness.Pause(ctx, time.Second)
			f.mu.Lock()
			old := f.cl.Nodes[i]
			f.mu.Unlock()
			var there []harness.SocketState
			old.Get("sockets", &there)
			sent += len(there)
			f.replaceNode(old)
		}
	})
	t.Logf("SUMMARY %s: %v; %d sockets were on the nodes that went", t.Name(), r, sent)
	if r.violation != nil {
		t.Errorf("%v\nthe history is in %s", r.violation, r.file)
	}
	if back, _ := f.official.Reconnections(); int(r.recovered)+back < sent || sent < f.clients {
		t.Errorf("%d sockets were sent away, %d and %d came back", sent, r.recovered, back)
	}
}

// replaceNode shuts a node down after another has taken its place.
func (f *chaosRun) replaceNode(old *harness.Node) {
	f.pgRestart.Lock()
	next := f.newNode()
	f.pgRestart.Unlock()
	f.mu.Lock()
	f.healthy = append(slices.DeleteFunc(f.healthy, func(n *harness.Node) bool { return n == old }), next)
	f.announceNodes()
	f.mu.Unlock()
	old.Signal(syscall.SIGTERM)
	old.Wait(20 * time.Second)
	f.mu.Lock()
	defer f.mu.Unlock()
	old.Down = true
	f.faults["shutdown"]++
}
