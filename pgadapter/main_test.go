package pgadapter

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/pgsocket/socketio/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// Not parallel: the goroutines of other tests would be counted.
func TestClose_NoGoroutineLeft(t *testing.T) { //nolint:paralleltest // see above
	b := newBench(t)
	db := b.open(t, nil)
	mustOpen(t, db, session("p"))
	if err := db.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Goroutines that Close has waited for may not have returned yet, and those of other tests end by themselves.
	left := ourGoroutines()
	for deadline := time.Now().Add(patience); len(left) > 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		left = ourGoroutines()
	}
	for _, stack := range left {
		t.Errorf("still there:\n%s", stack)
	}
}

// ourGoroutines returns the stacks of the goroutines of this package, except those of tests.
func ourGoroutines() (ours []string) {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		if strings.Contains(stack, "pgadapter.(*") && !strings.Contains(stack, "testing.tRunner") {
			ours = append(ours, stack)
		}
	}
	return ours
}
