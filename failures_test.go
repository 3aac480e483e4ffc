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
