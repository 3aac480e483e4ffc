package pgserver

import (
	"cmp"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// ErrNotInstalled reports that this machine has no Postgres server. Its text names what to install.
var ErrNotInstalled = errors.New("no Postgres server found: set DATABASE_URL, or install one " +
	"(Debian, Ubuntu: apt-get install postgresql; macOS: brew install postgresql@17)")

// Find returns the directory of the newest server binaries in the directories of Debian, Red Hat and Homebrew, or else
// of those on PATH. Its error is [ErrNotInstalled].
func Find() (bin string, err error) {
	var found []string
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin",
		"/usr/pgsql-*/bin",
		"/opt/homebrew/opt/postgresql*/bin",
		"/usr/local/opt/postgresql*/bin",
		"/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
	} {
		dirs, _ := filepath.Glob(pattern) // fails only for a malformed pattern
		found = append(found, slices.DeleteFunc(dirs, func(dir string) bool { return !holdsServer(dir) })...)
	}
	if len(found) > 0 {
		return slices.MaxFunc(found, func(a, b string) int { return cmp.Compare(version(a), version(b)) }), nil
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		// A link on PATH points into the installation, where initdb and postgres are in one directory.
		if path, err = filepath.EvalSymlinks(path); err == nil && holdsServer(filepath.Dir(path)) {
			return filepath.Dir(path), nil
		}
	}
	return "", ErrNotInstalled
}

func holdsServer(dir string) bool {
	for _, name := range []string{"initdb", "postgres"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

// version returns the number in an installation's path, or 0 if it has none.
func version(dir string) int {
	n, _ := strconv.Atoi(regexp.MustCompile(`\d+`).FindString(filepath.Base(filepath.Dir(dir))))
	return n
}
