package socketio_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestEveryFailureHasItsTest checks that docs/failures.md names tests that exist.
func TestEveryFailureHasItsTest(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/failures.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := testNames(t)
	name := regexp.MustCompile("`(Test[^`]+)`")
	rows := 0
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "| ") || strings.Contains(line, "| tests |") {
			continue
		}
		rows++
		named := name.FindAllStringSubmatch(line, -1)
		if len(named) == 0 {
			t.Errorf("no test: %s", line)
		}
		for _, m := range named {
			if !tests[m[1]] {
				t.Errorf("there is no test %s", m[1])
			}
		}
	}
	if rows < 40 {
		t.Errorf("only %d rows were understood", rows)
	}
}

// TestEveryLineOfTheThreatModelHasItsTest checks that the tests which docs/threat-model.md, docs/sql.md and docs/postgres.md name exist,
// and that each protection and each limit names one.
func TestEveryLineOfTheThreatModelHasItsTest(t *testing.T) {
	t.Parallel()
	tests := testNames(t)
	name := regexp.MustCompile("`(Test[^`]+)`")
	rows := 0
	for _, file := range []string{"docs/threat-model.md", "docs/sql.md", "docs/postgres.md"} {
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
				if len(named) == 0 {
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
	if rows < 30 {
		t.Errorf("only %d rows were understood", rows)
	}
}
