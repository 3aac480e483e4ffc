package socketio_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocs_EveryPromiseNamesItsTest checks that the tests that the documentation names exist, and that each row of a table
// with a column of tests names one.
func TestDocs_EveryPromiseNamesItsTest(t *testing.T) {
	t.Parallel()
	tests := testNames(t)
	name := regexp.MustCompile("`(Test[^`]+)`")
	rows := 0
	for _, file := range []string{"docs/threat-model.md", "docs/recovery.md", "docs/sql.md", "docs/postgres.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		needed := false // in a table whose last column is the test
		for line := range strings.Lines(string(text)) {
			switch {
			case !strings.HasPrefix(line, "|"):
				needed = false
			case strings.Contains(line, "| test |"):
				needed = true
				continue
			}
			named := name.FindAllStringSubmatch(line, -1)
			if needed && !strings.HasPrefix(line, "|--") {
				rows++
				if len(named) == 0 && !strings.Contains(line, "`make postgres`") { // all tests, with that setting
					t.Errorf("%s: no test: %s", file, line)
				}
			}
			for _, m := range named {
				if !tests[m[1]] {
					t.Errorf("%s: there is no test %s", file, m[1])
				}
			}
		}
	}
	if rows < 120 {
		t.Errorf("only %d rows were parsed", rows)
	}
}

// TestDocs_READMEProgramCompiles builds the program of the README as it stands there.
func TestDocs_READMEProgramCompiles(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, program, found := strings.Cut(string(text), "```go\n")
	program, _, closed := strings.Cut(program, "```")
	if !found || !closed {
		t.Fatal("README.md has no program")
	}
	dir := t.TempDir()
	source, overlay := filepath.Join(dir, "main.go"), filepath.Join(dir, "overlay.json")
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	files, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(root, "examples", "readme", "main.go"): source}})
	if err != nil {
		t.Fatal(err)
	}
	for path, data := range map[string][]byte{source: []byte(program), overlay: files} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "-o", os.DevNull, "./examples/readme").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
