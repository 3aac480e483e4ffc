package pgtest_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func TestSchema_MigratedAndSeparate(t *testing.T) {
	t.Parallel()

	dsn, one := pgtest.Schema(t)
	_, two := pgtest.Schema(t)

	if one == two {
		t.Fatalf("two tests share the schema %s", one)
	}
	conn := connect(t, dsn)
	for _, schema := range []string{one, two} {
		if n := count(t, conn, `select count(*) from pg_tables where schemaname = $1`, schema); n == 0 {
			t.Errorf("schema %s has no table", schema)
		}
	}
}

func TestSchema_DroppedAtTheEnd(t *testing.T) { //nolint:tparallel // the checks after the subtest wait for it
	t.Parallel()
	var dsn, schema string
	t.Run("a test", func(t *testing.T) {
		dsn, schema = pgtest.Schema(t, pgtest.NameOnly())
		if _, err := connect(t, dsn).Exec(t.Context(), `create schema `+schema+` create table t (n int)`); err != nil {
			t.Fatal(err)
		}
	})

	if n := count(t, connect(t, dsn), `select count(*) from pg_namespace where nspname = $1`, schema); n != 0 {
		t.Errorf("schema %s was not dropped", schema)
	}
}

func TestName_CreatesNothing(t *testing.T) {
	t.Parallel()

	dsn, schema := pgtest.Schema(t, pgtest.NameOnly(), pgtest.On(pgtest.DSN(t)))

	if n := count(t, connect(t, dsn), `select count(*) from pg_namespace where nspname = $1`, schema); n != 0 {
		t.Errorf("schema %s already exists", schema)
	}
}

func TestSweep_OldSchemasOnly(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	conn := connect(t, dsn)
	old := fmt.Sprintf("pgtest_%08x_left", time.Now().Add(-3*time.Hour).Unix())
	young := fmt.Sprintf("pgtest_%08x_left", time.Now().Add(-time.Hour).Unix())
	foreign := "pgtest_of_somebody_else"
	for _, schema := range []string{old, young, foreign} {
		if _, err := conn.Exec(t.Context(), `create schema if not exists `+schema); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_, _ = connect(t, dsn).Exec(context.WithoutCancel(t.Context()), `drop schema if exists `+schema)
		})
	}

	if err := pgtest.Sweep(t.Context(), dsn); err != nil {
		t.Fatal(err)
	}

	for schema, want := range map[string]int{old: 0, young: 1, foreign: 1} {
		if n := count(t, conn, `select count(*) from pg_namespace where nspname = $1`, schema); n != want {
			t.Errorf("schemas named %s: %d, want %d", schema, n, want)
		}
	}
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.WithoutCancel(t.Context()), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func count(t *testing.T, conn *pgx.Conn, sql string, args ...any) (n int) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
