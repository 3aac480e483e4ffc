package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/pgtest"
)

// asProgram makes the test binary be pgsocket.
const asProgram = "PGSOCKET_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(pgtest.Main(m))
}

func TestExitCode_Usage(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{}, "a command is missing: completion, doctor, emit, migrate"},
		{[]string{"unknown"}, `unknown command "unknown"`},
		{[]string{"statu"}, "Did you mean this? status (see pgsocket --help)"},
		{[]string{"status", "--unknown"}, "unknown flag: --unknown (see pgsocket status --help)"},
		{[]string{"tail", "-room", "lobby"}, "did you mean --room? (see pgsocket tail --help)"},
		{[]string{"status", "-dsn=postgres://u:hunter2@h/d"}, "did you mean --dsn?"},
		{[]string{"status", "postgres://u:hunter2@h/d"}, "unknown command"},
		{[]string{"host=h password=hunter2"}, "unknown command"},
		{[]string{"status", "--dsn", dsn, "argument"}, "unknown command"},
		{[]string{"status", "--dsn", dsn, "--watch", "--interval", "1ms"}, "--interval 1ms is below 100ms"},
		{[]string{"status", "--dsn", dsn, "--schema", ""}, "--schema is empty; the default is socketio"},
		{[]string{"status", "--dsn", dsn, "--query-timeout", "0"}, "--query-timeout 0s is not positive"},
		{[]string{"tail", "--dsn", dsn, "--query-timeout", "-1s"}, "--query-timeout -1s is not positive"},
		{[]string{"emit", "--dsn", dsn, "--connect-timeout", "-1s", "news"}, "--connect-timeout -1s is negative; 0 is one attempt"},
		{[]string{"status", "--dsn", dsn, "--interval", "5s"}, "--interval is given without --watch"},
		{[]string{"doctor", "--dsn", dsn, "--window", "-1s"}, "--window -1s is negative"},
		{[]string{"completion"}, "a shell is missing: bash, fish, powershell, zsh"},
		{[]string{"completion", "tcsh"}, `unknown command "tcsh"`},
		{[]string{"help", "nowhere"}, `unknown command "nowhere"`},
		{[]string{"migrate", "--dsn", dsn}, "up, down, version or force n"},
		{[]string{"migrate", "--dsn", dsn, "sideways"}, `unknown command "sideways" for "pgsocket migrate"`},
		{[]string{"emit", "--dsn", dsn}, "the name of the event is missing (see pgsocket emit --help)"},
		{[]string{"migrate", "--dsn", dsn, "force"}, "one version is needed, not 0 (see pgsocket migrate force --help)"},
		{[]string{"emit", "--dsn", dsn, "news", "not JSON"}, "not JSON is not JSON"},
		{[]string{"tail", "--dsn", dsn, "--since", "yesterday"}, `--since "yesterday" is neither`},
		{[]string{"tail"}, "give it as --dsn postgres://user@host/database or in DATABASE_URL"},
	} {
		stdout, stderr, code := separately(t, nil, c.args...)
		if code != 2 || stdout != "" {
			t.Errorf("pgsocket %q: exit code %d, want 2 and nothing on stdout:\n%s", c.args, code, stdout)
		}
		wantOneLine(t, c.args, stderr, c.says)
	}
}

func TestExitCode_Failure(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	const nowhere = "postgres://nobody:hunter2@127.0.0.1:1,127.0.0.1:2/nothing"
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"status", "--dsn", dsn, "--schema", "not_there"}, "has no pgsocket tables; pgsocket migrate up creates them"},
		{[]string{"tail", "--dsn", dsn, "--schema", "not_there"}, `schema "not_there" has no tables of ours`},
		{[]string{"emit", "--dsn", dsn, "--schema", "not_there", "news"}, `schema "not_there" has no tables of ours`},
		{[]string{"status", "--dsn", nowhere}, "connection refused"},
		{[]string{"tail", "--dsn", nowhere}, "connection refused"},
		{[]string{"emit", "--dsn", nowhere, "news"}, "connection refused"},
		{[]string{"migrate", "--dsn", nowhere, "--connect-timeout", "0", "up"}, "connection refused"},
		{[]string{"status", "--dsn", "postgres://u:hunter2@h:x/d"}, "the database's address"},
		{[]string{"migrate", "version", "--dsn", "host=h password='hunter2 port=1"}, "the database's address"},
	} {
		stdout, stderr, code := separately(t, nil, c.args...)
		if code != 1 || stdout != "" {
			t.Errorf("pgsocket %q: exit code %d, want 1 and nothing on stdout:\n%s", c.args, code, stdout)
		}
		wantOneLine(t, c.args, stderr, c.says)
	}
}

// A role that may not append to the log emits with the SQL function.
func TestEmit_RoleThatOnlyEmits(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	conn := connect(t, dsn)
	name, address := role(t, dsn, schema, "")
	emit := []string{"emit", "--schema", schema, "--dsn", address, "--room", "lobby", "news", "1"}
	if out, code := pgsocket(t, emit...); code != 1 || !strings.Contains(out, "lacks privileges on schema") {
		t.Errorf("without rights: exit code %d: %s", code, out)
	}
	execute(t, conn, schema, "select SCHEMA.allow_emit('"+name+"')")
	output(t, emit...)
	if out, code := pgsocket(t, append(emit, "--json")...); code != 1 || !strings.Contains(out, "leave out --json") {
		t.Errorf("--json: exit code %d: %s", code, out)
	}
	if out := output(t, "status", "--json", "--schema", schema, "--dsn", dsn); !strings.Contains(out, `"waiting":1,`) {
		t.Errorf("one event waits for a node, not: %s", out)
	}
	version := output(t, "migrate", "version", "--schema", schema, "--dsn", address) // needs no right at all
	if !strings.Contains(version, "has version 1") {
		t.Error(version)
	}
}

// What cannot be emitted is known after the connection only.
func TestExitCode_EmitOfWhatIsRefused(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"disconnect"}, `reserved event name: "disconnect"`},
		{[]string{""}, `reserved event name: ""`},
		{[]string{"news", "--room", ""}, "invalid room name"},
	} {
		args := append([]string{"emit", "--dsn", dsn, "--schema", schema}, c.args...)
		stdout, stderr, code := separately(t, nil, args...)
		if code != 2 || stdout != "" {
			t.Errorf("pgsocket %q: exit code %d, want 2 and nothing on stdout:\n%s", args, code, stdout)
		}
		wantOneLine(t, args, stderr, c.says)
	}
}

// wantOneLine checks that the text is one line of the program without a password.
func wantOneLine(t *testing.T, args []string, text, says string) {
	t.Helper()
	if !strings.HasPrefix(text, "pgsocket: ") || strings.Count(text, "\n") != 1 || !strings.Contains(text, says) || strings.Contains(text, "hunter2") {
		t.Errorf("pgsocket %q: not one line with %q and without a password:\n%s", args, says, text)
	}
}

func TestExitCode_Help(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"help"}, {"-h"}, {"--help"}, {"emit", "-h"}, {"help", "migrate"}, {"completion", "bash", "--help"}} {
		stdout, stderr, code := separately(t, []string{"DATABASE_URL=postgres://u:hunter2@h/d"}, args...)
		if code != 0 || stderr != "" || !strings.Contains(stdout, "Usage:\n") || strings.Contains(stdout, "hunter2") {
			t.Errorf("pgsocket %q: exit code %d:\n%s%s", args, code, stdout, stderr)
		}
	}
}

// The address of the environment is used where no other is given.
func TestAddress_OfTheEnvironment(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	_, stderr, code := separately(t, []string{"DATABASE_URL=" + dsn}, "status", "--schema", schema)
	if code != 0 {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if out := output(t, "completion", shell); !strings.Contains(out, "pgsocket") {
			t.Errorf("%s: %q", shell, out)
		}
	}
	for line, want := range map[string]string{
		"tail --ro":  "--room\t",
		"emit --ro":  "--room\t",
		"doc":        "doctor\t",
		"migrate fo": "force\t",
	} {
		if out := output(t, append([]string{"__complete"}, strings.Fields(line)...)...); !strings.Contains(out, want) {
			t.Errorf("pgsocket %s: no %q in %q", line, want, out)
		}
	}
}

func program(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "DATABASE_URL=") || strings.HasPrefix(v, "NO_COLOR=") || strings.HasPrefix(v, "TERM=")
	}), asProgram+"=1", "TERM=xterm-256color")
	return cmd
}

// pgsocket runs the program and returns all that it printed.
func pgsocket(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	stdout, stderr, code := separately(t, nil, args...)
	return stdout + stderr, code
}

// separately runs the program with additional variables of the environment.
func separately(t *testing.T, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := program(t.Context(), args...)
	cmd.Env = append(cmd.Env, env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return out.String(), errs.String(), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), 0
}

// output returns the standard output of the program, which must succeed.
func output(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, code := separately(t, nil, args...)
	if code != 0 {
		t.Fatalf("pgsocket %q: exit code %d:\n%s%s", args, code, stdout, stderr)
	}
	return stdout
}

// connect opens a connection that is closed at the end of the test.
func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// execute executes statements, in which SCHEMA is the schema.
func execute(t *testing.T, conn *pgx.Conn, schema string, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		if _, err := conn.Exec(t.Context(), strings.ReplaceAll(sql, "SCHEMA", schema)); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}
