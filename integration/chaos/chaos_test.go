//nolint:paralleltest // each test runs several processes; in parallel they would overload the machine
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

// TestChaos_AllFaults injects faults of all kinds at random, several at a time, and checks what every client received
// against the log.
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
			if r.answers == 0 {
				t.Error("no handler that emits has answered")
			}
		})
	}
}

// TestChaos_RollingRestart replaces three nodes under load, one after the other, twice. Every session is recovered,
// and no event is lost or duplicated.
func TestChaos_RollingRestart(t *testing.T) {
	run := newRun(t, config{
		seed: harness.Seed(t), length: 2 * time.Minute, clients: harness.EnvInt(t, "SOCKETIO_CHAOS_CLIENTS", 60), official: 6,
	})
	var sockets []harness.SocketState // on the nodes, before they were replaced
	r := run.execute(func(ctx context.Context) {
		for i := range 2 * clusterSize {
			harness.Pause(ctx, time.Second)
			run.mu.Lock()
			old := run.cl.Nodes[i]
			run.mu.Unlock()
			var there []harness.SocketState
			old.Get("sockets", &there)
			sockets = append(sockets, there...)
			run.replaceNode(old)
		}
	})
	moved := 0
	for _, s := range sockets {
		if _, asks := run.asking.Load(s.ID); !asks {
			moved++
		}
	}
	t.Logf("SUMMARY %s: %v; %d sockets had to change their node", t.Name(), r, moved)
	if r.violation != nil {
		t.Errorf("%v\nthe history is in %s", r.violation, r.file)
	}
	if back, _ := run.official.Reconnections(); int(r.recovered)+back < moved || moved < run.clients {
		t.Errorf("%d sockets had to change their node, %d and %d were recovered", moved, r.recovered, back)
	}
}

// replaceNode starts a node in the place of another, and shuts the other down.
func (run *chaosRun) replaceNode(old *harness.Node) {
	run.pgRestart.Lock()
	next := run.newNode()
	run.pgRestart.Unlock()
	run.mu.Lock()
	run.healthy = append(slices.DeleteFunc(run.healthy, func(n *harness.Node) bool { return n == old }), next)
	run.announceNodes()
	run.mu.Unlock()
	old.Signal(syscall.SIGTERM)
	old.Wait(20 * time.Second)
	run.mu.Lock()
	defer run.mu.Unlock()
	old.Down = true
	run.faults["shutdown"]++
}
