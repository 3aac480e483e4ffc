package migrations_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/internal/pgserver"
	"github.com/pgsocket/socketio/migrations"
	"github.com/pgsocket/socketio/pgtest"
)

// A session is a connection of a test, with the search_path of a schema.
type session struct {
	*pgx.Conn
}

func connectTo(t *testing.T, dsn string) session {
	t.Helper()
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	if config.DefaultQueryExecMode != pgx.QueryExecModeExec { // else it goes through a pooler
		maps.Copy(config.RuntimeParams, map[string]string{
			"idle_session_timeout": "0", "search_path": `"$user", public`,
			"default_transaction_isolation": "read committed", "standard_conforming_strings": "on",
		})
	}
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return session{conn}
}

func (s session) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := s.Exec(context.Background(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func (s session) text(t *testing.T, sql string, args ...any) (text string) {
	t.Helper()
	if err := s.QueryRow(context.Background(), sql, args...).Scan(&text); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return text
}

// database creates a database of its own, whose public schema is the test's.
func database(t *testing.T) (dsn string) {
	t.Helper()
	admin, name := pgtest.Schema(t, pgtest.NameOnly())
	conn := connectTo(t, admin)
	conn.exec(t, "create database "+name)
	t.Cleanup(func() { conn.exec(t, "drop database "+name+" with (force)") })
	u, err := url.Parse(admin)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

const listObjects = `select coalesce(string_agg(n.nspname || '.' || c.relname, ' ' order by c.relname), '')
	from pg_class c join pg_namespace n on n.oid = c.relnamespace
	where c.relkind = 'r' and n.nspname = $1 and c.relname not like 'log%' and c.relname not like 'outbox%'`

func with(t *testing.T, dsn, query string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.RawQuery += "&" + query
	return u.String()
}

// installFiles brings a schema to a version as other tools do.
func installFiles(t *testing.T, conn session, schema string, to int) {
	t.Helper()
	conn.exec(t, "create schema if not exists "+schema)
	for v := 1; v <= to; v++ {
		names, err := fs.Glob(migrations.Files(), fmt.Sprintf("%04d_*.up.sql", v))
		if err != nil || len(names) != 1 {
			t.Fatal(names, err)
		}
		text, err := fs.ReadFile(migrations.Files(), names[0])
		if err != nil {
			t.Fatal(err)
		}
		conn.exec(t, "set search_path = "+schema+", pg_temp; "+string(text)+"; reset search_path")
	}
}

func TestUp_BehindPoolerThatIgnoresSearchPath(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"session", "transaction"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			dsn := database(t)
			pooler, err := pgserver.StartPooler(t.Context(), dsn, pgserver.PoolerOptions{
				Mode: mode, Size: 2, Settings: map[string]string{"ignore_startup_parameters": "extra_float_digits, search_path"},
			})
			if errors.Is(err, pgserver.ErrNoPooler) && os.Getenv("CI") != "true" {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(pooler.Stop)
			app := connectTo(t, dsn)
			app.exec(t, `create table schema_migrations (version bigint primary key, dirty boolean not null);
				insert into schema_migrations values (20240501120000, false); create table sessions (id int primary key)`)

			if err := migrations.Up(t.Context(), pooler.DSN(), nil); err != nil {
				t.Fatal(err)
			}
			if got := app.text(t, listObjects, "public"); got != "public.schema_migrations public.sessions" {
				t.Errorf("in public: %s", got)
			}
			if v := version(t, dsn, nil); v != migrations.Latest {
				t.Errorf("version %d", v)
			}
			other := connectTo(t, pooler.DSN())
			if path := other.text(t, "show search_path"); strings.Contains(path, "socketio") {
				t.Errorf("the pooler's connections are left with search_path %s", path)
			}
			if err := migrations.Down(t.Context(), pooler.DSN(), nil); err != nil {
				t.Fatal(err)
			}
			got := app.text(t, "select version || ' ' || dirty || ' ' || (select count(*) from sessions) from schema_migrations")
			if got != "20240501120000 false 0" || version(t, dsn, nil) != 0 {
				t.Errorf("of the application: %s", got)
			}
		})
	}
}

// In the schema of an application our tables are created beside its own, or none is.
func TestUp_Public(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	app := connectTo(t, dsn)
	opts := &migrations.Options{Schema: "public"}
	app.exec(t, `create table schema_migrations (version bigint primary key, dirty boolean not null);
		insert into schema_migrations values (2, false); create table sessions (id int); create table users (id int)`)
	if err := migrations.Up(t.Context(), dsn, opts); err == nil || !strings.Contains(err.Error(), "sessions") {
		t.Errorf("Up beside a table of the same name: %v", err)
	}
	if err := migrations.Down(t.Context(), dsn, opts); err != nil {
		t.Error(err)
	}
	app.exec(t, "alter table sessions rename to visits")
	if err := migrations.Up(t.Context(), dsn, opts); err != nil {
		t.Fatal(err)
	}
	if err := migrations.Down(t.Context(), dsn, opts); err != nil {
		t.Fatal(err)
	}
	want := "public.schema_migrations public.socketio_migrations public.users public.visits"
	if got := app.text(t, listObjects, "public") + app.text(t, "select ' ' || version || dirty from schema_migrations"); got != want+" 2false" {
		t.Errorf("left: %s", got)
	}
	app.exec(t, "grant create on schema public to public")
	if err := migrations.Up(t.Context(), dsn, opts); err == nil || !strings.Contains(err.Error(), "any role may create") {
		t.Errorf("Up where any role may create functions: %v", err)
	}
}

// Whatever another tool noted of a migration, the tables tell how far it came.
func TestUp_DirtyMarkOfAnotherTool(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ has, noted int }{
		"not begun": {0, 1}, "finished": {migrations.Latest, migrations.Latest},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn, schema := pgtest.Schema(t, pgtest.NameOnly())
			opts := &migrations.Options{Schema: schema}
			conn := connectTo(t, dsn)
			installFiles(t, conn, schema, row.has)
			conn.exec(t, fmt.Sprintf("create table %[1]s.socketio_migrations (version bigint primary key, dirty boolean not null); insert into %[1]s.socketio_migrations values (%[2]d, true)", schema, row.noted))
			if v, dirty, err := migrations.Version(t.Context(), dsn, opts); v != uint(row.has) || !dirty || err != nil {
				t.Errorf("version %d, dirty %v, %v", v, dirty, err)
			}
			if err := migrations.Up(t.Context(), dsn, opts); err != nil {
				t.Fatal(err)
			}
			if v := version(t, dsn, opts); v != migrations.Latest {
				t.Errorf("version %d", v)
			}
			if got := conn.text(t, "select version || ' ' || dirty from "+schema+".socketio_migrations"); got != fmt.Sprint(migrations.Latest)+" false" {
				t.Errorf("noted: %s", got)
			}
		})
	}
}

// A migration whose connection breaks while it waits leaves all as it was.
func TestUp_ConnectionBreaks(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t, pgtest.NameOnly())
	opts := &migrations.Options{Schema: schema}
	conn := connectTo(t, dsn)
	conn.exec(t, "create schema "+schema)
	other := connectTo(t, dsn)
	other.exec(t, "begin; create table "+schema+".sessions ()")
	failed := make(chan error, 1)
	go func() { failed <- migrations.Up(t.Context(), with(t, dsn, "application_name="+schema), opts) }()
	for conn.text(t, `select count(pg_terminate_backend(pid))::text from pg_stat_activity
		where application_name = $1 and wait_event_type = 'Lock'`, schema) == "0" {
	}
	if err := <-failed; err == nil {
		t.Fatal("no error")
	}
	if v := version(t, dsn, opts); v != 0 {
		t.Errorf("version %d", v)
	}
	other.exec(t, "rollback")
	if err := migrations.Up(t.Context(), dsn, opts); err != nil {
		t.Fatal(err)
	}
}

func TestDown_DependentView(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	opts := &migrations.Options{Schema: schema}
	conn := connectTo(t, dsn)
	conn.exec(t, "create view "+schema+".mine as select * from "+schema+".nodes")
	before := objects(t, dsn, schema)
	err := migrations.Down(t.Context(), dsn, opts)
	if err == nil || !strings.Contains(err.Error(), "mine") {
		t.Errorf("Down: %v", err)
	}
	if v := version(t, dsn, opts); v != migrations.Latest || objects(t, dsn, schema) != before {
		t.Errorf("version %d, and not all is there", v)
	}
	conn.exec(t, "drop view "+schema+".mine")
	if err := migrations.Down(t.Context(), dsn, opts); err != nil {
		t.Error(err)
	}
}

func TestForce(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t, pgtest.NameOnly())
	opts := &migrations.Options{Schema: schema}
	conn := connectTo(t, dsn)
	installFiles(t, conn, schema, migrations.Latest)
	later := migrations.Latest + 1
	conn.exec(t, fmt.Sprintf("alter table %[1]s.meta alter schema_version set default %[2]d; update %[1]s.meta set schema_version = %[2]d, works_from = %[2]d", schema, later))
	if err := migrations.Up(t.Context(), dsn, opts); err == nil {
		t.Error("Up over what is there")
	}
	if err := migrations.Force(t.Context(), dsn, 1, &migrations.Options{Schema: schema + "_missing"}); err == nil {
		t.Error("forced without tables")
	}
	for _, impossible := range []uint{0, migrations.Latest + 1} {
		if err := migrations.Force(t.Context(), dsn, impossible, opts); err == nil {
			t.Errorf("forced to %d", impossible)
		}
	}
	if err := migrations.Force(t.Context(), dsn, migrations.Latest, opts); err != nil {
		t.Fatal(err)
	}
	if err := migrations.Up(t.Context(), dsn, opts); err != nil {
		t.Fatal(err)
	}
	if v := version(t, dsn, opts); v != migrations.Latest {
		t.Errorf("version %d", v)
	}
}

func TestUp_ManyNodesWithShortTimeouts(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t, pgtest.NameOnly())
	dsn = with(t, dsn, "lock_timeout=1&standard_conforming_strings=off&default_transaction_isolation=serializable&pool_max_conns=3&check_function_bodies=off")
	opts := &migrations.Options{Schema: schema}
	var wg sync.WaitGroup
	for range 24 {
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

// A dump of the structure alone, or a fixture cleaner, leaves tables without rows.
func TestUp_MetaWithoutItsRow(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	opts := &migrations.Options{Schema: schema}
	conn := connectTo(t, dsn)
	conn.exec(t, "set search_path = "+schema)
	conn.exec(t, `select append(1, 1, 3, '\x01', false)`)
	before := conn.text(t, "select log_number::text from meta")
	conn.exec(t, "select emit('r', 'pending')")
	conn.exec(t, "truncate meta, socketio_migrations")
	for _, sql := range []string{`select append(1, 2, 1, '\x01', false)`, "select relay_outbox(true, false)", "select emit('r', 'e')"} {
		if _, err := conn.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "PS003") {
			t.Errorf("%s: %v", sql, err)
		}
	}
	if err := migrations.Up(t.Context(), dsn, opts); err != nil {
		t.Fatal(err)
	}
	got := conn.text(t, "select (log_number <> $1::text::bigint) || ' ' || low || ' ' || schema_version from meta", before)
	if want := fmt.Sprintf("true %d %d", 4096+4095, migrations.Latest); got != want {
		t.Errorf("meta: %s, want %s", got, want)
	}
	if n := conn.text(t, "select relay_outbox(true, false)::text"); n != "1" {
		t.Errorf("relayed %s", n)
	}
	if v := version(t, dsn, opts); v != migrations.Latest {
		t.Errorf("version %d", v)
	}
}

func TestUp_SchemaOfAnother(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t, pgtest.NameOnly())
	conn := connectTo(t, dsn)
	for _, role := range []string{"_owner", "_other"} {
		conn.exec(t, "create role "+schema+role+" login password 'p'")
		t.Cleanup(func() { conn.exec(t, "drop owned by "+schema+role+" cascade; drop role "+schema+role) })
	}
	conn.exec(t, fmt.Sprintf("create schema %[1]s authorization %[1]s_owner; grant usage, create on schema %[1]s to %[1]s_other", schema))
	as := func(role string) string {
		u, err := url.Parse(dsn)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(schema+role, "p")
		return u.String()
	}
	opts := &migrations.Options{Schema: schema}
	if err := migrations.Up(t.Context(), as("_other"), opts); err == nil || !strings.Contains(err.Error(), "_owner") {
		t.Errorf("Up by another role: %v", err)
	}
	if got := objects(t, dsn, schema); got != "" {
		t.Errorf("it left %s", got)
	}
	var said strings.Builder
	told := &migrations.Options{Schema: schema, Logger: slog.New(slog.NewTextHandler(&said, nil))}
	if err := migrations.Up(t.Context(), as("_owner"), told); err != nil || said.Len() > 0 {
		t.Errorf("Up by the owner: %v, %s", err, said.String())
	}
	conn.exec(t, fmt.Sprintf("revoke create on schema %[1]s from %[1]s_other; grant select on %[1]s.meta to %[1]s_other", schema))
	if err := migrations.Up(t.Context(), as("_other"), opts); err != nil {
		t.Errorf("Up by a role that may use the schema, with nothing to do: %v", err)
	}
	if err := migrations.Up(t.Context(), dsn, told); err != nil || !strings.Contains(said.String(), "owner="+schema+"_owner") {
		t.Errorf("Up by a superuser: %v, %s", err, said.String())
	}
}

// waiting is a handler that reports the first line.
type waiting struct {
	slog.Handler

	once *sync.Once
	line chan struct{}
}

func (w waiting) Handle(ctx context.Context, r slog.Record) error {
	w.once.Do(func() { close(w.line) })
	return w.Handler.Handle(ctx, r)
}

func TestUp_PostgresIsNotUpYet(t *testing.T) {
	t.Parallel()
	srv, err := pgserver.Start(t.Context(), pgserver.Options{Fast: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Stop() })
	if err := srv.Shut(pgserver.Fast); err != nil {
		t.Fatal(err)
	}
	if err := migrations.Up(t.Context(), srv.DSN(), &migrations.Options{ConnectTimeout: -1}); err == nil || !strings.HasPrefix(err.Error(), `migrations: schema "socketio": no connection to Postgres: `) {
		t.Errorf("without waiting: %v", err)
	}
	w := waiting{slog.NewTextHandler(os.Stderr, nil), &sync.Once{}, make(chan struct{})}
	done := make(chan error, 1)
	go func() {
		done <- migrations.Up(t.Context(), srv.DSN(), &migrations.Options{ConnectTimeout: time.Minute, Logger: slog.New(w)})
	}()
	<-w.line
	if err := srv.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
