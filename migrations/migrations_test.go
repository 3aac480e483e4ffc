package migrations_test

import (
	"context"
	"errors"
	"io/fs"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/golang-migrate/migrate/v4"
	_ "github.com/golang-migrate/migrate/v4/database/pgx/v5" // the driver of the command line
	"github.com/golang-migrate/migrate/v4/source/iofs"
	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/migrations"
	"github.com/pgsocket/socketio/pgtest"
)

func version(t *testing.T, dsn string, opts *migrations.Options) uint {
	t.Helper()
	v, dirty, err := migrations.Version(t.Context(), dsn, opts)
	if err != nil || dirty {
		t.Fatalf("version %d, dirty %v, %v", v, dirty, err)
	}
	return v
}

func TestUpAndDown(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t, pgtest.NameOnly())
	opts := &migrations.Options{Schema: schema}
	if v := version(t, dsn, opts); v != 0 {
		t.Errorf("version %d of no schema", v)
	}
	for range 2 {
		for range 2 { // the second time there is nothing to do
			if err := migrations.Up(t.Context(), dsn, opts); err != nil {
				t.Fatal(err)
			}
			if v := version(t, dsn, opts); v != migrations.Latest {
				t.Errorf("version %d, want %d", v, migrations.Latest)
			}
		}
		for range 2 {
			if err := migrations.Down(t.Context(), dsn, opts); err != nil {
				t.Fatal(err)
			}
			if v := version(t, dsn, opts); v != 0 {
				t.Errorf("version %d after Down", v)
			}
		}
	}
	if left := objects(t, dsn, schema); left != "socketio_migrations" {
		t.Errorf("Down left %s", left)
	}
}

// objects returns the names of the tables, sequences and functions of a schema.
func objects(t *testing.T, dsn, schema string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var names string
	err = conn.QueryRow(t.Context(), `select coalesce(string_agg(name, ' '), '') from (
		select relname::text from pg_class where relnamespace = $1::text::regnamespace and relkind in ('r', 'p', 'S')
		union all
		select proname::text from pg_proc where pronamespace = $1::text::regnamespace) o (name)`, schema).Scan(&names)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestUp_Concurrent(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t, pgtest.NameOnly())
	opts := &migrations.Options{Schema: schema}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := migrations.Up(t.Context(), dsn, opts); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if v := version(t, dsn, opts); v != migrations.Latest {
		t.Errorf("version %d", v)
	}
}

func TestOptions_InvalidSchemaName(t *testing.T) {
	t.Parallel()
	for _, schema := range []string{strings.Repeat("x", 64), "a\x00", "\xff", "pg_mine"} {
		if err := migrations.Up(t.Context(), "", &migrations.Options{Schema: schema}); err == nil || !strings.Contains(err.Error(), "name of a schema") {
			t.Errorf("%q: %v", schema, err)
		}
	}
}

func TestFiles_UpAndDownPairs(t *testing.T) {
	t.Parallel()
	ups, err := fs.Glob(migrations.Files(), "*.up.sql")
	if err != nil || len(ups) != migrations.Latest {
		t.Fatalf("%q, %v", ups, err)
	}
	for _, up := range ups {
		if _, err := fs.Stat(migrations.Files(), strings.Replace(up, ".up.", ".down.", 1)); err != nil {
			t.Error(err)
		}
	}
}

// What the package comment says of the command line of golang-migrate.
func TestUp_GolangMigrateCommandLine(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t, pgtest.NameOnly())
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), "create schema "+schema); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.Scheme = "pgx5"
	q := u.Query()
	q.Set("search_path", schema+",pg_temp")
	q.Set("x-migrations-table", "socketio_migrations")
	u.RawQuery = q.Encode()
	source, err := iofs.New(migrations.Files(), ".")
	if err != nil {
		t.Fatal(err)
	}
	m, err := migrate.NewWithSourceInstance("iofs", source, u.String())
	if err != nil {
		t.Fatal(err)
	}
	err = m.Up()
	sourceErr, databaseErr := m.Close()
	if err := errors.Join(err, sourceErr, databaseErr); err != nil {
		t.Fatal(err)
	}
	opts := &migrations.Options{Schema: schema}
	if v := version(t, dsn, opts); v != migrations.Latest {
		t.Errorf("version %d", v)
	}
	if err := migrations.Down(t.Context(), dsn, opts); err != nil {
		t.Error(err)
	}
}
