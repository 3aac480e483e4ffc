package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// SteppedClockProgram returns the path of a node program whose wall clock can be set while it runs.
func SteppedClockProgram(t testing.TB) string {
	t.Helper()
	return steppedClockProgram.build(t, SteppedClockFlags)
}

// SteppedClockFlags returns build flags that replace package time by one that is made in dir: the wall clock of
// time.Now can be set, and time measured by the monotonic clock stays right. To the program this looks like an
// operator or a daemon that sets the clock of the machine, or, forward, like a machine that was suspended.
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
			return nil, fmt.Errorf("%s: not found in this version of Go: %q; adapt this function", original, change[0])
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

// A ClockStep is the time by which the two clocks of a process advanced while its wall clock was set, in seconds.
type ClockStep struct{ Wall, Monotonic int64 }

// SetClock sets the difference between the wall clock of a node and that of the machine.
func (n *Node) SetClock(ctx context.Context, differs time.Duration) (ClockStep, error) {
	return Control[ClockStep](ctx, n, "clock", int64(differs.Seconds()))
}
