package fromnode_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const guide = "../../docs/from-node.md"

// sources are the files that the tests of this package run, by the language of the guide's blocks.
var sources = map[string][]string{
	"go":      {goServers + "/*/*.go"},
	"js":      {nodeServers + "/*.mjs"},
	"sql":     {"messages.sql"},
	"nginx":   {"../../examples/proxies/nginx.conf", "../../examples/proxies/nginx-from-node.conf"},
	"haproxy": {"../../examples/proxies/haproxy.cfg"},
}

// TestGuide_BlocksAreWhatRuns: each block of the guide is a run of lines of a file that a test runs; configurations are whole.
func TestGuide_BlocksAreWhatRuns(t *testing.T) {
	t.Parallel()
	blocks := regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$").FindAllStringSubmatch(read(t, guide), -1)
	counts := map[string]int{}
	for _, block := range blocks {
		language, text := block[1], trimLines(block[2])
		counts[language]++
		if language == "sh" { // starts the program, as the tests do
			continue
		}
		found := false
		for _, source := range files(t, language) {
			source = trimLines(source)
			whole := language == "nginx" || language == "haproxy" || language == "sql"
			found = found || source == text || !whole && strings.Contains("\n"+source, "\n"+text)
		}
		if !found {
			t.Errorf("no file that a test runs has this block:\n%s", block[2])
		}
	}
	if counts["go"] < 4 || counts["js"] < 6 || counts["nginx"] != 2 || counts["haproxy"] != 1 {
		t.Errorf("the blocks are %v", counts)
	}
}

// TestGuide_IdiomsAreWhatRuns: the code in the first two columns of the table of idioms is in the servers in Node and in Go.
func TestGuide_IdiomsAreWhatRuns(t *testing.T) {
	t.Parallel()
	_, table, found := strings.Cut(read(t, guide), "\n| in Node | here | what differs |\n|---|---|---|\n")
	table, _, closed := strings.Cut(table, "\n\n")
	if !found || !closed {
		t.Fatal("the table is gone")
	}
	rows := strings.Split(table, "\n")
	for _, row := range rows {
		cells := strings.Split(strings.Trim(row, "| "), " | ")
		for column, language := range []string{"js", "go"} {
			code := strings.Trim(strings.Trim(cells[column], "`"), " ")
			if !strings.HasPrefix(cells[column], "`") || !runs(code, files(t, language)) {
				t.Errorf("no file that a test runs has %s", code)
			}
		}
	}
	if len(rows) < 40 {
		t.Errorf("only %d rows were parsed", len(rows))
	}
}

// runs reports whether code is in a file, with anything but an empty line in place of "…", and blanks of any kind.
func runs(code string, in []string) bool {
	var pattern strings.Builder
	for i, part := range strings.Split(code, "…") {
		if i > 0 {
			pattern.WriteString(`(?:.|\n[^\n])*?\n?`)
		}
		for j, word := range strings.Fields(part) {
			if j > 0 {
				pattern.WriteString(`\s+`)
			}
			pattern.WriteString(regexp.QuoteMeta(word))
		}
	}
	re := regexp.MustCompile(pattern.String())
	return slices.ContainsFunc(in, re.MatchString)
}

// TestGuide_CodeThatDoesNotRun checks that the tests above would find it.
func TestGuide_CodeThatDoesNotRun(t *testing.T) {
	t.Parallel()
	files := []string{"io.On(func() {\n\treturn\n})\n\nio.Off()\n"}
	for code, want := range map[string]bool{
		"io.On(func() {…})": true, "io.Off()": true, "return })": true,
		"io.On()": false, "io.On(…Off()": false, "io.Of()": false,
	} {
		if runs(code, files) != want {
			t.Errorf("%s: %v", code, !want)
		}
	}
}

// trimLines removes the indentation of a text, and blank lines around it.
func trimLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.TrimSpace(strings.Join(lines, "\n")) + "\n"
}

func files(t *testing.T, language string) []string {
	t.Helper()
	var texts []string
	for _, pattern := range sources[language] {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v, %d files", pattern, err, len(names))
		}
		for _, name := range names {
			texts = append(texts, read(t, name))
		}
	}
	return texts
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
