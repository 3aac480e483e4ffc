package socketio_test

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

// retired are words that the project does not use, with the standard term for each: see the glossary in CONTRIBUTING.md.
var retired = map[string]string{
	`bells?`:                           "notification",
	`hush`:                             "notification budget",
	`adopt(s|ed|er|ers|ing|ion|able)?`: "relay, relay of the outbox",
	`bur(y|ied)`:                       "reap a dead node",
	`tenures?`:                         "ownership, epoch",
	`lanes?`:                           "keyed queue",
	`shel(f|ves|ved)`:                  "read cache",
	`(bon)?fires?`:                     "chaos test",
	`flocks?|birds?|throngs?|crowds?`:  "clients",
	`errands?|inquir(y|ies)|surveys?`:  "request, cluster call",
	`sightings?`:                       "peer state",
	`reborn`:                           "registered again",
	`farewells?|goodbyes?`:             "DISCONNECT, close",
	`expel(led|s)?`:                    "disconnect",
	`(un)?cork(ed|s)?`:                 "buffer",
	`harass|misfortunes?|deeds?`:       "faults",
	`bouncers?`:                        "auth middleware",
	`gates?`:                           "middleware",
	`bookmarks?`:                       "snapshot token",
	`houses?`:                          "architecture",
	`whoever|whomever`:                 "a noun",
	`but for`:                          "except",
}

// TestVocabulary_RetiredWords keeps words that only insiders understand out of code, SQL and documentation.
func TestVocabulary_RetiredWords(t *testing.T) {
	t.Parallel()
	words := make(map[string]*regexp.Regexp, len(retired))
	for word := range retired {
		words[word] = regexp.MustCompile(`(?i)\b(` + word + `)\b`)
	}
	files := 0
	err := fs.WalkDir(os.DirFS("."), ".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata" || d.Name() == "dist" || file != "." && strings.HasPrefix(d.Name(), ".")):
			return fs.SkipDir
		case file == "vocabulary_test.go":
			return nil
		}
		switch path.Ext(file) {
		case ".go", ".sql", ".md", ".mjs", ".py":
		default:
			return nil
		}
		files++
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for n, line := range strings.Split(string(text), "\n") {
			for word, re := range words {
				if found := re.FindString(line); found != "" {
					t.Errorf("%s:%d: %q is not a word of this project: %s", file, n+1, found, retired[word])
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 300 {
		t.Errorf("only %d files were read", files)
	}
}
