package main

import (
	"context"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/migrations"
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
	run := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	names, err := fs.Glob(migrations.Files(), "000[12]*.up.sql")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	run("create schema " + schema)
	for _, name := range names {
		text, err := fs.ReadFile(migrations.Files(), name)
		if err != nil {
			t.Fatal(err)
		}
		run("set search_path = " + schema + ", pg_temp; " + string(text))
	}
	run("begin; lock table sessions in access share mode")

	migrating := program(t.Context(), "migrate", "-dsn", dsn, "-schema", schema, "up")
	if err := migrating.Start(); err != nil {
		t.Fatal(err)
	}
	for waiting := false; !waiting; {
		err := conn.QueryRow(t.Context(), "select exists (select from pg_locks where relation = 'sessions'::regclass and not granted)").Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
	}
	_ = migrating.Process.Kill()
	_ = migrating.Wait() // reports the signal
	run("commit")

	for _, step := range []struct {
		args []string
		want string
		code int
	}{
		{[]string{"version"}, "has version 2;", 0},
		{[]string{"up"}, "has version 4;", 0},
		{[]string{"force", "3"}, "has version 3;", 0},
		{[]string{"force", "4"}, "has version 4;", 0},
		{[]string{"force", "5"}, "no version 5", 1},
		{[]string{"force", "x"}, "no version", 2},
		{[]string{"force"}, "which version", 2},
		{[]string{"up", "4"}, "force n", 2},
	} {
		out, code := pgsocket(t, append([]string{"migrate", "-dsn", dsn, "-schema", schema}, step.args...)...)
		if code != step.code || !strings.Contains(out, step.want) {
			t.Errorf("migrate %v: exit code %d, want %d and %q:\n%s", step.args, code, step.code, step.want, out)
		}
	}
}
