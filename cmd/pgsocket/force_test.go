package main

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/pgtest"
)

// A program that is killed while the server waits for a lock leaves nothing that has to be mended.
func TestMigrate_KilledInTheMiddle(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t, pgtest.NameOnly())
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	if _, err := conn.Exec(t.Context(), "create schema "+schema); err != nil {
		t.Fatal(err)
	}
	blocker, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := blocker.Exec(t.Context(), "create table "+schema+".sessions ()"); err != nil {
		t.Fatal(err)
	}
	watcher, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = watcher.Close(context.Background()) })

	at, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	query := at.Query()
	query.Set("application_name", schema)
	at.RawQuery = query.Encode()
	migrating := program(t.Context(), "migrate", "-dsn", at.String(), "-schema", schema, "up")
	if err := migrating.Start(); err != nil {
		t.Fatal(err)
	}
	for waiting := false; !waiting; {
		err := watcher.QueryRow(t.Context(), "select exists (select from pg_stat_activity where application_name = $1 and wait_event_type = 'Lock')", schema).Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
	}
	_ = migrating.Process.Kill()
	_ = migrating.Wait() // reports the signal
	if err := blocker.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}

	for _, step := range []struct {
		args []string
		want string
		code int
	}{
		{[]string{"version"}, "has version 0;", 0},
		{[]string{"up"}, "has version 1;", 0},
		{[]string{"force", "1"}, "has version 1;", 0},
		{[]string{"force", "2"}, "no version 2", 1},
		{[]string{"force", "x"}, "no version", 2},
		{[]string{"force"}, "which version", 2},
		{[]string{"up", "1"}, "force n", 2},
	} {
		out, code := pgsocket(t, append([]string{"migrate", "-dsn", dsn, "-schema", schema}, step.args...)...)
		if code != step.code || !strings.Contains(out, step.want) {
			t.Errorf("migrate %v: exit code %d, want %d and %q:\n%s", step.args, code, step.code, step.want, out)
		}
	}
}
