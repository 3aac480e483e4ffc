package pgadapter

import (
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/pgsocket/socketio/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// Not parallel: the goroutines of other tests would be counted.
func TestCloseLeavesNoGoroutine(t *testing.T) { //nolint:paralleltest // see above
	b := newBench(t)
	db := b.open(t, nil)
	mustOpen(t, db, session("p"))
	if err := db.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		if strings.Contains(stack, "pgadapter.(*") && !strings.Contains(stack, "testing.tRunner") {
			t.Errorf("still there:\n%s", stack)
		}
	}
}
