package main

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
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
	migrating := program(t.Context(), "migrate", "up", "--dsn", at.String(), "--schema", schema)
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
		{[]string{"force"}, "one version is needed, not 0", 2},
		{[]string{"up", "1"}, "unknown command", 2},
	} {
		out, code := pgsocket(t, slices.Concat([]string{"migrate", "--dsn", dsn, "--schema", schema}, step.args)...)
		if code != step.code || !strings.Contains(out, step.want) {
			t.Errorf("migrate %v: exit code %d, want %d and %q:\n%s", step.args, code, step.code, step.want, out)
		}
	}
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
		out, code := pgsocket(t, "migrate", step.direction, "--dsn", dsn, "--schema", schema)
		if code != 0 || !strings.Contains(out, step.want) {
			t.Errorf("migrate %s: exit code %d, want 0 and %q:\n%s", step.direction, code, step.want, out)
		}
	}
	var got struct {
		Schema          string
		Version, Latest int
		Dirty           bool
	}
	out := output(t, "migrate", "version", "--json", "--dsn", dsn, "--schema", schema)
	if err := json.Unmarshal([]byte(out), &got); err != nil || got.Schema != schema || got.Version != 0 || got.Latest != 1 || got.Dirty {
		t.Errorf("%v: %s", err, out)
	}
}
