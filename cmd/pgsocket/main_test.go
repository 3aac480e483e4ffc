package main

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgsocket/socketio/pgtest"
)

// asProgram makes the test binary be pgsocket.
const asProgram = "PGSOCKET_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(pgtest.Main(m))
}

func TestMigrate_UpAndDown(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t, pgtest.NameOnly())

	for _, step := range []struct{ direction, want string }{
		{"version", "has version 0;"},
		{"up", "has version 1; the latest is 1"},
		{"up", "has version 1;"},
		{"version", "has version 1;"},
		{"down", "removed the tables, with all that was in them"},
		{"version", "has version 0;"},
	} {
		out, code := pgsocket(t, "migrate", "-dsn", dsn, "-schema", schema, step.direction)
		if code != 0 || !strings.Contains(out, step.want) {
			t.Errorf("migrate %s: exit code %d, want 0 and %q:\n%s", step.direction, code, step.want, out)
		}
	}
}

func TestTail_Prints(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	where := []string{"-dsn", dsn, "-schema", schema}
	tail := program(t.Context(), slices.Concat([]string{"tail"}, where, []string{"-room", "lobby"})...)
	stdout, err := tail.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := tail.Start(); err != nil {
		t.Fatal(err)
	}
	first := make(chan string, 1)
	go func() { // ends with the program, which ends with the test's context
		line, _ := bufio.NewReader(stdout).ReadString('\n')
		first <- line
	}()

	var line string
	for line == "" {
		emit(t, where, "-to", "elsewhere", "missed")
		emit(t, where, "-to", "lobby", "-except", "my room", "news", `{"n":1}`, `"two"`)
		select {
		case line = <-first:
		case <-time.After(100 * time.Millisecond): // it does not listen yet
		}
	}

	if want := `  /  to lobby except "my room"  ["news",{"n":1},"two"]` + "\n"; !strings.HasSuffix(line, want) {
		t.Errorf("tail printed %q, want …%q", line, want)
	}
	out, code := pgsocket(t, slices.Concat([]string{"status"}, where)...)
	if code != 0 || !strings.Contains(out, "\npgsocket tail ") || !strings.Contains(out, "0 live, 0 parked") {
		t.Errorf("status: exit code %d:\n%s", code, out)
	}
	_ = tail.Process.Signal(syscall.SIGINT)
	if err := tail.Wait(); err != nil {
		t.Errorf("tail, interrupted: %v", err)
	}
}

func TestExitCode_Usage(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	for _, args := range [][]string{
		{},
		{"unknown"},
		{"status", "-unknown"},
		{"status", "-dsn", dsn, "argument"},
		{"migrate", "-dsn", dsn, "sideways"},
		{"emit", "-dsn", dsn},
		{"emit", "-dsn", dsn, "news", "not JSON"},
		{"tail"}, // without an address
	} {
		if out, code := pgsocket(t, args...); code != 2 || !strings.Contains(out, "pgsocket: ") {
			t.Errorf("pgsocket %q: exit code %d, want 2:\n%s", args, code, out)
		}
	}
}

func TestExitCode_Failure(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	for _, args := range [][]string{
		{"status", "-dsn", dsn, "-schema", "not_there"},
		{"tail", "-dsn", dsn, "-schema", "not_there"},
		{"status", "-dsn", "postgres://127.0.0.1:1/nobody?connect_timeout=2"},
	} {
		if out, code := pgsocket(t, args...); code != 1 {
			t.Errorf("pgsocket %q: exit code %d, want 1:\n%s", args, code, out)
		}
	}
}

func TestExitCode_Help(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"help"}, {"-h"}, {"emit", "-h"}} {
		if out, code := pgsocket(t, args...); code != 0 || !strings.HasPrefix(out, "usage: pgsocket ") {
			t.Errorf("pgsocket %q: exit code %d:\n%s", args, code, out)
		}
	}
}

func program(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "DATABASE_URL=")
	}), asProgram+"=1")
	return cmd
}

// pgsocket runs the program and returns all that it printed.
func pgsocket(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	text, err := program(t.Context(), args...).CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(text), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(text), 0
}

func emit(t *testing.T, where []string, args ...string) {
	t.Helper()
	if out, code := pgsocket(t, slices.Concat([]string{"emit"}, where, args)...); code != 0 {
		t.Fatalf("emit %q: exit code %d:\n%s", args, code, out)
	}
}
