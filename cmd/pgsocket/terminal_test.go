package main

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/pgsocket/socketio/internal/pgserver"
	"github.com/pgsocket/socketio/pgtest"
)

// A console is a program whose standard files are a terminal, which is its controlling one.
type console struct {
	cmd *exec.Cmd
	pty *os.File

	mu   sync.Mutex
	out  bytes.Buffer
	more chan struct{} // a signal after each read
	done chan struct{} // closed at the end of the output
}

// newConsole starts the program on a terminal of the given size.
func newConsole(t *testing.T, columns, lines uint16, env []string, args ...string) *console {
	t.Helper()
	c := &console{cmd: program(t.Context(), args...), more: make(chan struct{}, 1), done: make(chan struct{})}
	c.cmd.Env = append(c.cmd.Env, env...)
	var err error
	if c.pty, err = pty.StartWithSize(c.cmd, &pty.Winsize{Cols: columns, Rows: lines}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.pty.Close()
		<-c.done
	})
	go func() { // ends with the program, or when the terminal is closed
		defer close(c.done)
		buffer := make([]byte, 4096)
		for {
			n, err := c.pty.Read(buffer)
			c.mu.Lock()
			c.out.Write(buffer[:n])
			c.mu.Unlock()
			select {
			case c.more <- struct{}{}:
			default:
			}
			if err != nil { // EIO when the program has ended
				return
			}
		}
	}()
	return c
}

func (c *console) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.String()
}

// await waits until the output after what was seen at from contains a text, and returns the output.
func (c *console) await(t *testing.T, from int, want string) string {
	t.Helper()
	limit := time.After(time.Minute)
	for {
		if out := c.text(); strings.Contains(out[from:], want) {
			return out
		}
		select {
		case <-c.more:
		case <-c.done:
			if !strings.Contains(c.text()[from:], want) {
				t.Fatalf("the program ended without %q:\n%q", want, c.text())
			}
		case <-limit:
			t.Fatalf("no %q in\n%q", want, c.text())
		}
	}
}

// press types a text.
func (c *console) press(t *testing.T, keys string) {
	t.Helper()
	if _, err := io.WriteString(c.pty, keys); err != nil {
		t.Fatal(err)
	}
}

// end waits for the end of the program, and returns its output and its exit code.
func (c *console) end(t *testing.T) (out string, code int) {
	t.Helper()
	_ = c.cmd.Wait() // its error is that of the exit code
	<-c.done
	return c.text(), c.cmd.ProcessState.ExitCode()
}

const (
	ctrlC  = "\x03"
	escape = "\x1b"
)

func TestColors_OnATerminalOnly(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	execute(t, connect(t, dsn), schema, twoNodes)
	for _, command := range []string{"status", "doctor"} {
		args := []string{command, "--dsn", dsn, "--schema", schema}
		for _, c := range []struct {
			env     []string
			colored bool
		}{{nil, true}, {[]string{"NO_COLOR=1"}, false}, {[]string{"TERM=dumb"}, false}, {[]string{"NO_COLOR="}, true}} {
			out, _ := newConsole(t, 200, 50, c.env, args...).end(t)
			if strings.Contains(out, escape) != c.colored || !strings.Contains(out, "schema") {
				t.Errorf("%s with %q on a terminal, want colors %v:\n%q", command, c.env, c.colored, out)
			}
		}
		if out, _ := pgsocket(t, args...); strings.Contains(out, escape) || !strings.Contains(out, "schema") {
			t.Errorf("%s in a pipe:\n%q", command, out)
		}
	}
	out, _ := newConsole(t, 200, 50, nil, "status", "--dsn", dsn, "--schema", schema).end(t)
	for _, want := range []string{"\x1b[36mweb\x1b[0m", "\x1b[31m1m"} { // the name, and a node that is silent
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%q", want, out)
		}
	}
}

func TestWatch_Terminal(t *testing.T) {
	t.Parallel()
	const columns, lines = 50, 12
	dsn, schema := pgtest.Schema(t)
	conn := connect(t, dsn)
	c := newConsole(t, columns, lines, []string{"NO_COLOR=1"}, "status", "--watch", "--interval", "100ms", "--dsn", dsn, "--schema", schema)
	out := c.await(t, 0, toTop)
	if !strings.HasPrefix(out, clearScreen+toTop) {
		t.Errorf("begins with %q", out)
	}
	execute(t, conn, schema, twoNodes) // whose rows are wider than the terminal
	out = c.await(t, 0, "\r\nworker ")
	out = c.await(t, len(out), clearBelow+toTop)
	screens := strings.Split(out, toTop)
	last := screens[len(screens)-2]
	for row := range strings.SplitSeq(strings.ReplaceAll(strings.TrimSuffix(last, clearBelow), clearLine, ""), "\r\n") {
		if len([]rune(row)) > columns {
			t.Errorf("a line of %d columns: %q", len([]rune(row)), row)
		}
	}
	if n := strings.Count(last, "\n"); n >= lines {
		t.Errorf("%d lines:\n%s", n, last)
	}
	execute(t, conn, schema, "insert into SCHEMA.nodes (id, position, retention_ms, lease_ms, name) select n, 0, 1, 1, 'z' || n from generate_series(100, 150) n")
	c.await(t, len(out), "more lines")

	c.press(t, ctrlC)
	out, code := c.end(t)
	if code != 0 || strings.Contains(out, "pgsocket:") {
		t.Errorf("exit code %d, the output ends with %q", code, out[max(0, len(out)-200):])
	}
}

// An operator watches when Postgres goes away.
func TestWatch_PostgresRestarts(t *testing.T) {
	t.Parallel()
	srv, err := pgserver.Start(t.Context(), pgserver.Options{Fast: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Stop(); err != nil {
			t.Error(err)
		}
	})
	dsn, schema := pgtest.Schema(t, pgtest.On(srv.DSN()))
	c := newConsole(t, 100, 30, nil, "status", "--watch", "--interval", "100ms", "--dsn", dsn, "--schema", schema)
	out := c.await(t, 0, "version 1")
	if err := srv.Shut(pgserver.Fast); err != nil {
		t.Fatal(err)
	}
	c.await(t, len(out), "\x1b[31m")
	if err := srv.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	out = c.text()
	c.await(t, len(out), "version 1")
	c.press(t, ctrlC)
	if out, code := c.end(t); code != 0 {
		t.Errorf("exit code %d: %q", code, out)
	}
}

// In a pipe states follow each other without control sequences.
func TestWatch_Pipe(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	for flag, want := range map[string]string{"--json": `{"schema":"`, "--watch": "schema     "} {
		cmd := program(t.Context(), "status", "--watch", flag, "--interval", "100ms", "--dsn", dsn, "--schema", schema)
		out := start(t, cmd)
		seen := 0
		for seen < 3 {
			text := line(t, out)
			if strings.HasPrefix(text, want) {
				seen++
			}
			if strings.Contains(text, escape) {
				t.Fatalf("%q", text)
			}
		}
		interrupt(t, cmd, out)
	}
}

// What clients send does not control the terminal.
func TestTail_ControlCharactersAreEscaped(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	conn := connect(t, dsn)
	if _, err := conn.Exec(t.Context(), "select "+schema+".emit($1, $2, to_jsonb($3::text))", "a\x1b[2Jroom", "event\u009b31m", "\x7fpayload\u0085"); err != nil {
		t.Fatal(err)
	}
	c := newConsole(t, 200, 30, []string{"NO_COLOR=1"}, "tail", "--since", "1h", "--dsn", dsn, "--schema", schema)
	c.await(t, 0, "payload")
	c.press(t, ctrlC)
	out, code := c.end(t)
	for _, r := range strings.ReplaceAll(strings.ReplaceAll(out, "^C", ""), "\r\n", "") {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			t.Errorf("%U in %q", r, out)
		}
	}
	if code != 0 || !strings.Contains(out, `to "a\x1b[2Jroom"  ["event\u009b31m", "\u007fpayload\u0085"]`) {
		t.Errorf("exit code %d: %q", code, out)
	}
}

// A command that does not run until it is interrupted exits with 130. The default of migrate is to wait.
func TestInterrupt_Exit130(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"migrate", "up"}, {"status", "--watch", "--connect-timeout", "1h"}} {
		c := newConsole(t, 300, 30, nil, append(args, "--dsn", "postgres://nobody@127.0.0.1:1/nothing")...)
		c.await(t, 0, "trying again")
		c.press(t, ctrlC)
		out, code := c.end(t)
		if want := map[string]int{"migrate": 130, "status": 0}[args[0]]; code != want {
			t.Errorf("%q: exit code %d, want %d: %q", args, code, want, out)
		}
	}
}

// The terminal drops output at Ctrl-C, so this is a pipe.
func TestInterrupt_OneLine(t *testing.T) {
	t.Parallel()
	cmd := program(t.Context(), "migrate", "up", "--dsn", "postgres://nobody@127.0.0.1:1/nothing")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(stderr)
	line(t, out) // the first attempt
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its error is that of the exit code
	if code := cmd.ProcessState.ExitCode(); code != 143 || !strings.HasSuffix(string(rest), "pgsocket: interrupted (terminated)\n") {
		t.Errorf("exit code %d: %q", code, rest)
	}
}

func TestPrintable(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"plain é 漢": "plain é 漢", "a\x1b[31mb": `a\u001b[31mb`, "tab\t": `tab\u0009`, "\xffx": "\ufffdx", "\u202ex": "\u202ex",
	} {
		if got := printable(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestFirstLines(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n    int
		want string
	}{{0, "a\nb\nc\n"}, {3, "a\nb\nc\n"}, {2, "a\n… and 2 more lines\n"}, {1, "… and 3 more lines\n"}} {
		if got := firstLines("a\nb\nc\n", c.n); got != c.want {
			t.Errorf("%d: %q, want %q", c.n, got, c.want)
		}
	}
}
