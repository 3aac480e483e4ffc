package main

import (
	"bufio"
	"encoding/json"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/internal/pgserver"
	"github.com/pgsocket/socketio/pgtest"
)

// silence stops the process of Postgres behind the connection whose last statement is one of these files; the connection
// stays open and does not respond.
func silence(t *testing.T, conn *pgx.Conn, statements ...string) {
	t.Helper()
	firstLines := make([]string, len(statements))
	for i, s := range statements {
		firstLines[i], _, _ = strings.Cut(s, "\n")
	}
	var pid int
	const find = "select pid from pg_stat_activity where exists (select from unnest($1::text[]) line where starts_with(query, line))"
	if err := conn.QueryRow(t.Context(), find, firstLines).Scan(&pid); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
}

// ownPostgres starts a server whose processes the test may stop.
func ownPostgres(t *testing.T) (srv *pgserver.Server, dsn, schema string) {
	t.Helper()
	srv = ownServer(t, pgserver.Options{Fast: true})
	dsn, schema = pgtest.Schema(t, pgtest.On(srv.DSN()))
	return srv, dsn, schema
}

func TestWatch_SilentConnection(t *testing.T) {
	t.Parallel()
	_, dsn, schema := ownPostgres(t)
	conn := connect(t, dsn)
	cmd := program(t.Context(), "status", "--watch", "--json", "--interval", "100ms", "--query-timeout", "2s", "--dsn", dsn, "--schema", schema)
	out := start(t, cmd)
	next := func() (error string) {
		var state struct{ Error string }
		if err := json.Unmarshal([]byte(line(t, out)), &state); err != nil {
			t.Fatal(err)
		}
		return state.Error
	}
	if text := next(); text != "" {
		t.Fatal(text)
	}
	silence(t, conn, statusSQL, statusNodesSQL)
	text := next()
	for text == "" {
		text = next()
	}
	if want := "no answer from Postgres in 2s (--query-timeout)"; !strings.Contains(text, want) {
		t.Errorf("got %q, want %q", text, want)
	}
	for next() != "" { // it connects again
	}
	interrupt(t, cmd, out)
}

func TestStatus_SilentPostgres(t *testing.T) {
	t.Parallel()
	srv, dsn, schema := ownPostgres(t)
	if err := srv.Suspend(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Resume() })
	for _, args := range [][]string{{"status"}, {"status", "--watch"}, {"tail"}} {
		stdout, stderr, code := separately(t, nil, append(args, "--dsn", dsn, "--schema", schema)...)
		if code != 1 || stdout != "" {
			t.Errorf("%s: exit code %d:\n%s", args, code, stdout)
		}
		wantOneLine(t, args, stderr, "no connection to Postgres")
	}
}

// The events go on without the times of Postgres, which another connection gets.
func TestTail_SilentConnection(t *testing.T) {
	t.Parallel()
	_, dsn, schema := ownPostgres(t)
	conn := connect(t, dsn)
	where := []string{"--dsn", dsn, "--schema", schema}
	cmd := program(t.Context(), append([]string{"tail", "--json", "--since", "1h", "--query-timeout", "2s"}, where...)...)
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	emit(t, where, "before")
	out := start(t, cmd)
	if text := line(t, out); !strings.Contains(text, `"before"`) {
		t.Fatal(text)
	}
	silence(t, conn, tailTimesSQL)
	emit(t, where, "during")
	if text := line(t, out); !strings.Contains(text, `"during"`) {
		t.Error(text)
	}
	if text := line(t, bufio.NewReader(errs)); !strings.Contains(text, "the times are those of this machine: no answer from Postgres in 2s") {
		t.Error(text)
	}
	emit(t, where, "after")
	if text := line(t, out); !strings.Contains(text, `"after"`) {
		t.Error(text)
	}
	interrupt(t, cmd, out)
}
