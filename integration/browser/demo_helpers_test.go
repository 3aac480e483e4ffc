package browser_test

import (
	"bufio"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const patience = 2 * time.Minute

// A demo is the running program of examples/chat.
type demo struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended and all its output was read

	mu      sync.Mutex
	output  strings.Builder
	changed chan struct{} // closed, and replaced, when there is more output
}

// startDemo starts the demo on free ports and waits for its invitation. A dsn of
// "" lets it start a Postgres of its own.
func startDemo(t *testing.T, dsn, schema string) *demo {
	t.Helper()
	program := filepath.Join(t.TempDir(), "chat")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "github.com/pgsocket/socketio/examples/chat")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the demo: %v\n%s", err, out)
	}
	d := &demo{done: make(chan struct{}), changed: make(chan struct{})}
	d.cmd = exec.Command(program, "-nodes", "127.0.0.1:0,127.0.0.1:0,127.0.0.1:0", "-schema", schema)
	d.cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "DATABASE_URL=")
	}), "DATABASE_URL="+dsn)
	// One pipe for it and for its nodes: it ends when the last of them has.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	d.cmd.Stdout, d.cmd.Stderr = w, w
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	go d.read(r) // ends with the demo
	t.Cleanup(func() {
		d.stop(t, syscall.SIGTERM)
		if t.Failed() {
			t.Logf("the demo's output:\n%s", d.text())
		}
	})
	d.waitFor(t, `Ctrl-C stops everything`)
	return d
}

func (d *demo) read(r io.ReadCloser) {
	defer close(d.done)
	defer r.Close()
	for lines := bufio.NewScanner(r); lines.Scan(); {
		d.mu.Lock()
		d.output.WriteString(lines.Text() + "\n")
		close(d.changed)
		d.changed = make(chan struct{})
		d.mu.Unlock()
	}
}

func (d *demo) text() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.output.String()
}

// waitFor waits until the output matches the pattern.
func (d *demo) waitFor(t *testing.T, pattern string) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	timeout := time.After(patience)
	for {
		d.mu.Lock()
		changed, found := d.changed, re.MatchString(d.output.String())
		d.mu.Unlock()
		if found {
			return
		}
		select {
		case <-changed:
		case <-d.done:
			t.Fatalf("the demo ended before it said %q:\n%s", pattern, d.text())
		case <-timeout:
			t.Fatalf("the demo did not say %q:\n%s", pattern, d.text())
		}
	}
}

// urls are where the nodes are.
func (d *demo) urls() []string {
	var urls []string
	for _, m := range regexp.MustCompile(`(?m)^  (http://\S+) +\(kill`).FindAllStringSubmatch(d.text(), -1) {
		urls = append(urls, m[1])
	}
	return urls
}

// stop ends the demo by a signal, and waits until its nodes have ended too.
func (d *demo) stop(t *testing.T, sig syscall.Signal) {
	t.Helper()
	_ = d.cmd.Process.Signal(sig) // fails when it has ended
	_ = d.cmd.Wait()              // the outcome shows in its output
	select {
	case <-d.done:
	case <-time.After(patience):
		t.Errorf("nodes are left %v after %v", patience, sig)
	}
}

// waitUntilUnreachable waits until nobody takes connections at the address of a
// Postgres: the guard of a private one may still be at work.
func waitUntilUnreachable(t *testing.T, dsn string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil || u.Host == "" {
		t.Fatalf("no address of a Postgres: %q, %v", dsn, err)
	}
	var dialer net.Dialer
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		conn, err := dialer.DialContext(t.Context(), "tcp", u.Host)
		if err != nil {
			return
		}
		_ = conn.Close()
	}
	t.Errorf("Postgres at %s still answers", u.Host)
}
