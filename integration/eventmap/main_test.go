// Package eventmap_test compiles clients against what package eventmap writes, and runs one with a server.
package eventmap_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgsocket/socketio/eventmap"
)

// patience is how long a compiler or a client may take.
const patience = 2 * time.Minute

// A project is a directory with TypeScript files that can import the official client.
type project struct {
	t   *testing.T
	dir string
}

const tsconfig = `{"compilerOptions": {
	"strict": true, "exactOptionalPropertyTypes": true, "noUncheckedIndexedAccess": true, "noImplicitReturns": true,
	"target": "es2022", "module": "nodenext", "types": ["node"], "outDir": "out", "rootDir": "."
}, "include": ["**/*.ts"]}`

func newProject(t *testing.T) *project {
	t.Helper()
	modules, err := filepath.Abs("../js/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(modules, "typescript")); err != nil {
		t.Fatal("the compiler is not installed: run npm ci in integration/js, or make setup")
	}
	p := &project{t, t.TempDir()}
	if err := os.Symlink(modules, filepath.Join(p.dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	p.write("package.json", `{"type": "module"}`)
	p.write("tsconfig.json", tsconfig)
	return p
}

func (p *project) write(name, text string) {
	p.t.Helper()
	file := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *project) writeTypes(name string, m *eventmap.Map) {
	p.t.Helper()
	var b strings.Builder
	if err := m.WriteTypeScript(&b); err != nil {
		p.t.Fatal(err)
	}
	p.write(name, b.String())
}

// compile returns what the compiler complains about.
func (p *project) compile() string {
	p.t.Helper()
	out, err := p.run("node_modules/.bin/tsc", "--project", ".", "--pretty", "false")
	if (err == nil) != (out == "") {
		p.t.Fatalf("tsc: %v\n%s", err, out)
	}
	return out
}

// run runs a command in the directory and returns its output.
func (p *project) run(name string, args ...string) (string, error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = p.dir
	cmd.Stderr = &bytes.Buffer{}
	out, err := cmd.Output()
	if err != nil {
		p.t.Logf("%s: %v\n%s", name, err, cmd.Stderr)
	}
	return string(out), err
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
