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

// Percentile returns a percentile of durations.
func Percentile(d []time.Duration, p int) time.Duration {
	if len(d) == 0 {
		return 0
	}
	d = slices.Clone(d)
	slices.Sort(d)
	return d[min(len(d)*p/100, len(d)-1)].Round(time.Microsecond)
}

// MaxWait is a deadline that is reached only if something is wrong.
const MaxWait = 2 * time.Minute

// RoomsOf returns the rooms of client k in tests with many clients: one of four, and one of three.
func RoomsOf(k int) []string {
	return []string{fmt.Sprintf("quarter-%d", k%4), fmt.Sprintf("third-%d", k%3)}
}

// Targets returns the targets of the events in those tests. Each client receives about a third of all events.
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

// Numbers returns 0 to n-1.
func Numbers(n int) []int {
	nums := make([]int, n)
	for i := range nums {
		nums[i] = i
	}
	return nums
}

// Pause waits for a time, or until ctx ends. It separates two faults.
func Pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// ParseTick parses ["tick",publisher,seq,…]. It is faster than package json, because there are many ticks.
func ParseTick(text string) (checker.ID, bool) {
	rest, ok := strings.CutPrefix(text, `["tick",`)
	one, rest, more := strings.Cut(rest, ",")
	two, _, _ := strings.Cut(strings.TrimSuffix(rest, "]"), ",")
	publisher, err := strconv.Atoi(strings.TrimSpace(one)) // SQL writes spaces
	seq, err2 := strconv.Atoi(strings.TrimSpace(two))
	return checker.NewID(publisher, seq), ok && more && err == nil && err2 == nil
}

// EnvInt returns a number from the environment, or a default.
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

// ContextFor returns a context that ends after a time, or with the test.
func ContextFor(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// SkipMissing skips a test that needs a program that is not installed. In CI it fails the test.
func SkipMissing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed: run scripts/setup", what)
	}
	t.Skipf("%s is not installed", what)
}

// Eventually polls ok, which asks other processes, until it returns true or the time is over.
func Eventually(patience time.Duration, ok func() bool) bool {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return ok()
}
