//nolint:paralleltest // each test runs several processes; in parallel they would overload the machine
package chaos_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgsocket/socketio/integration/harness"
)

// logErrors logs the errors of a cluster that is expected to fail.
type logErrors struct{ testing.TB }

// Errorf logs.
func (l logErrors) Errorf(format string, args ...any) { l.Logf(format, args...) }

// TestMutations_AreFound builds nodes with a fault in their code, and the checker must find it. Two mutations run by
// default; SOCKETIO_CHAOS_MUTATIONS selects others.
func TestMutations_AreFound(t *testing.T) {
	names := []string{"replay-starts-late", "rooms-held-now"}
	patches, err := filepath.Glob("testdata/mutations/*.patch")
	if err != nil || len(patches) < 10 {
		t.Fatalf("%d patches, %v", len(patches), err)
	}
	switch text := os.Getenv("SOCKETIO_CHAOS_MUTATIONS"); text {
	case "":
	case "all":
		names = nil
		for _, patch := range patches {
			names = append(names, strings.TrimSuffix(filepath.Base(patch), ".patch"))
		}
	default:
		names = strings.Split(text, ",")
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			patch, err := filepath.Abs("testdata/mutations/" + name + ".patch")
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(patch)
			if err != nil {
				t.Fatal(err)
			}
			promise, _, _ := strings.Cut(string(text), "\n")
			program := buildMutant(t, patch)
			const attempts = 6
			for attempt := range attempts {
				var r *report
				t.Run("attempt", func(t *testing.T) {
					number := harness.Seed(t) + uint64(attempt)
					r = runWithFaults(logErrors{t}, config{
						seed: number, length: 12 * time.Second, clients: 60, program: program, brief: number%2 == 1,
					})
				})
				if r != nil && r.violation != nil {
					_ = os.Remove(r.file) // of the history of a mutation is not needed
					t.Logf("SUMMARY mutation %s; found in attempt %d:\n%v\n%.1500s", promise, attempt+1, r, r.violation)
					return
				}
				t.Logf("not found by %v", r)
			}
			t.Errorf("not found in %d attempts: %s", attempts, promise)
		})
	}
}

// TestMutations_Apply checks that all patches apply to the code, also those that do not run by default.
func TestMutations_Apply(t *testing.T) {
	patches, err := filepath.Glob("testdata/mutations/*.patch")
	if err != nil || len(patches) < 15 {
		t.Fatalf("%d patches, %v", len(patches), err)
	}
	dir := t.TempDir()
	copyTree(t, "../..", dir)
	for _, patch := range patches {
		if patch, err = filepath.Abs(patch); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("git", "apply", "--check", patch)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", patch, err, out)
		}
	}
}

// buildMutant builds the node program from a copy of this tree with a patch applied.
func buildMutant(t *testing.T, patch string) string {
	t.Helper()
	dir := t.TempDir()
	copyTree(t, "../..", dir)
	cmd := exec.Command("git", "apply", patch)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("apply %s: %v\n%s", patch, err, out)
	}
	program := filepath.Join(dir, "mutant")
	flags, err := harness.SteppedClockFlags(t.TempDir())
	if err == nil {
		err = harness.BuildNode(filepath.Join(dir, "integration"), program, flags...)
	}
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// copyTree copies the files that a build of the node needs.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if rel != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules") {
				return filepath.SkipDir
			}
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		if !slices.Contains([]string{".go", ".mod", ".sum", ".sql"}, filepath.Ext(path)) {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), data, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}
