package harness

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pgsocket/socketio/integration/checker"
)

func Percentile(d []time.Duration, p int) time.Duration {
	if len(d) == 0 {
		return 0
	}
	d = slices.Clone(d)
	slices.Sort(d)
	return d[min(len(d)*p/100, len(d)-1)].Round(time.Microsecond)
}

// MaxWait is a deadline that nothing comes near unless something is wrong.
const MaxWait = 2 * time.Minute

// RoomsOf are those of client k in the tests with many clients: one of four, and one of three.
func RoomsOf(k int) []string {
	return []string{fmt.Sprintf("quarter-%d", k%4), fmt.Sprintf("third-%d", k%3)}
}

// Targets are whom the events of those tests are for; together they reach every client with about a third of all.
func Targets() []checker.Target {
	return []checker.Target{
		{},
		{Rooms: []string{"quarter-0"}},
		{Rooms: []string{"quarter-1"}},
		{Rooms: []string{"quarter-2"}},
		{Rooms: []string{"quarter-3"}},
		{Rooms: []string{"third-0", "quarter-0"}},
		{Rooms: []string{"third-1", "third-2"}, Except: []string{"quarter-1"}},
		{Except: []string{"third-0", "quarter-2"}},
		{Rooms: []string{"nobody"}},
		{Rooms: []string{"third-2"}},
	}
}

func Numbers(n int) []int {
	nums := make([]int, n)
	for i := range nums {
		nums[i] = i
	}
	return nums
}

// Pause waits for a while, or until ctx ends: between two faults there has to be some time.
func Pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// ParseTick reads ["tick",publisher,seq,…]. There are too many of them for package json.
func ParseTick(text string) (checker.ID, bool) {
	rest, ok := strings.CutPrefix(text, `["tick",`)
	one, rest, more := strings.Cut(rest, ",")
	two, _, _ := strings.Cut(strings.TrimSuffix(rest, "]"), ",")
	publisher, err := strconv.Atoi(strings.TrimSpace(one)) // SQL writes spaces
	seq, err2 := strconv.Atoi(strings.TrimSpace(two))
	return checker.NewID(publisher, seq), ok && more && err == nil && err2 == nil
}

// EnvInt returns a number from the environment.
func EnvInt(t testing.TB, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

func ContextFor(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// SkipMissing ends a test that needs what is not installed. In CI everything is.
func SkipMissing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed: run scripts/setup", what)
	}
	t.Skipf("%s is not installed", what)
}

// Eventually waits until ok, which asks other processes.
func Eventually(patience time.Duration, ok func() bool) bool {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return ok()
}
