package pgadapter

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/migrations"
	"github.com/pgsocket/socketio/pgtest"
)

func TestOpen_Errors(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	with := func(key, value string) string {
		u, err := url.Parse(b.dsn)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		q.Set(key, value)
		u.RawQuery = q.Encode()
		return u.String()
	}
	b.exec(t, "create role "+b.schema+"_stranger login password 'p'")
	defer b.exec(t, "drop role "+b.schema+"_stranger")
	stranger, err := url.Parse(b.dsn)
	if err != nil {
		t.Fatal(err)
	}
	stranger.User = url.UserPassword(b.schema+"_stranger", "p")
	for name, row := range map[string]struct {
		dsn    string
		opts   Options
		sql    string
		schema bool
		says   string
	}{
		"schema missing":  {opts: Options{Schema: "nowhere"}, schema: true, says: "migrations.Up"},
		"schema too old":  {sql: "update meta set schema_version = 0", schema: true, says: "migrations.Up"},
		"schema too new":  {sql: "update meta set schema_version = 99, works_from = 99", schema: true, says: "upgrade the program"},
		"no privileges":   {dsn: stranger.String(), schema: true, says: "lacks privileges on schema \"" + b.schema + "\", see package migrations; pgsocket doctor prints the grants: "},
		"read-only":       {dsn: with("default_transaction_read_only", "on"), says: "read-only"},
		"malformed dsn":   {dsn: "postgres://%zz", says: "parse"},
		"malformed other": {opts: Options{ListenDSN: "postgres://%zz"}, says: "ListenDSN"},
		"option":          {opts: Options{Retention: time.Millisecond}, says: "Retention"},
		"name":            {opts: Options{Schema: strings.Repeat("x", 64)}, says: "Schema"},
	} {
		b.exec(t, "update meta set schema_version = $1, works_from = $1", schemaVersion)
		if row.sql != "" {
			b.exec(t, row.sql)
		}
		if row.dsn == "" {
			row.dsn = b.dsn
		}
		if row.opts.Schema == "" {
			row.opts.Schema = b.schema
		}
		db, err := Open(t.Context(), row.dsn, &row.opts)
		if db != nil || err == nil || errors.Is(err, ErrSchema) != row.schema || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := b.int(t, "select count(*) from nodes"); n != 0 {
		t.Errorf("%d nodes are left", n)
	}
}

func TestOpen_AnySchemaName(t *testing.T) {
	t.Parallel()
	dsn, prefix := pgtest.Schema(t, pgtest.NameOnly())
	b := &bench{dsn: dsn, schema: prefix}
	b.conn = b.connect(t)
	for _, name := range []string{`"Quoted" ` + prefix, (prefix + strings.Repeat("é", 32))[:62-len(prefix)%2]} {
		name = strings.ToValidUTF8(name, "")
		opts := &migrations.Options{Schema: name}
		if err := migrations.Up(t.Context(), dsn, opts); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		t.Cleanup(func() { b.exec(t, "drop schema "+quoted(name)+" cascade") })
		named := &bench{dsn: dsn, schema: name}
		dbs, recorders := named.nodes(t, 2, &Options{PollInterval: time.Hour}) // notifications only
		checkSame(t, recorders, storm(t, dbs, 2, 20, 0))
		if err := dbs[0].sweeper.rotate(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// The execution modes that an address can set, as poolers need them.
func TestOpen_EveryExecMode(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			u, err := url.Parse(b.dsn)
			if err != nil {
				t.Fatal(err)
			}
			q := u.Query()
			q.Set("default_query_exec_mode", mode)
			u.RawQuery = q.Encode()
			direct := b.dsn
			b.dsn = u.String()
			dbs, recorders := b.nodes(t, 2, &Options{ListenDSN: direct})
			dbs2, recorders2 := b.nodes(t, 1, nil)
			acked := storm(t, append(dbs, dbs2...), 3, 30, 0)
			checkSame(t, append(recorders, recorders2...), acked)
			exerciseSessions(t, dbs)
			for _, err := range []error{dbs[0].sweeper.checkpoint(t.Context()), dbs[0].sweeper.sweep(t.Context())} {
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// Each mistake at the start is one sentence that says what to do.
func TestOpen_Sentences(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	missing := b.schema + "_missing"
	dirty := b.schema + "_dirty"
	execOn(t, b.conn, "create schema "+dirty, "create table "+dirty+".socketio_migrations (version bigint primary key, dirty boolean not null)",
		"insert into "+dirty+".socketio_migrations values (1, true)")
	t.Cleanup(func() { b.exec(t, "drop schema "+dirty+" cascade") })
	for name, row := range map[string]struct{ dsn, schema, want string }{
		"refused": {
			"postgres://u:secret@127.0.0.1:1/d", b.schema,
			"pgadapter: no connection to Postgres: failed to connect to `user=u database=d`: " +
				"127.0.0.1:1 (127.0.0.1): dial error: dial tcp 127.0.0.1:1: connect: connection refused", // once, not with TLS and without
		},
		"no tables": {
			b.dsn, missing,
			`pgadapter: unusable schema: schema "` + missing + `" has no tables of ours; create them with migrations.Up, or pgsocket migrate up: ` +
				`ERROR: relation "` + missing + `.meta" does not exist (SQLSTATE 42P01)`,
		},
		"dirty": {
			b.dsn, dirty,
			`pgadapter: unusable schema: the migration of schema "` + dirty + `" to version 1 broke off; run migrations.Up, or pgsocket migrate up, to continue it`,
		},
	} {
		_, err := Open(t.Context(), row.dsn, &Options{Schema: row.schema, ConnectTimeout: -1})
		if err == nil || err.Error() != row.want {
			t.Errorf("%s: %v\nwant: %s", name, err, row.want)
		}
		_, err = OpenEmitter(t.Context(), row.dsn, &EmitterOptions{Schema: row.schema, ConnectTimeout: -1})
		if err == nil || err.Error() != row.want {
			t.Errorf("emitter, %s: %v\nwant: %s", name, err, row.want)
		}
	}
	if err := migrations.Up(t.Context(), b.dsn, &migrations.Options{Schema: dirty}); err != nil {
		t.Errorf("Up of the dirty schema: %v", err)
	}
}

func TestOpen_NoDatabase(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	address, err := url.Parse(b.dsn)
	if err != nil {
		t.Fatal(err)
	}
	address.Path = "/nowhere"
	const want = "pgadapter: the database does not exist; create it, or correct its name in the address: failed to connect to "
	for name, open := range map[string]func() error{
		"Open":        func() error { _, err := Open(t.Context(), address.String(), nil); return err },
		"OpenEmitter": func() error { _, err := OpenEmitter(t.Context(), address.String(), nil); return err },
	} {
		if err := open(); err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), `database "nowhere" does not exist`) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOpen_NoAddress(t *testing.T) {
	t.Setenv("PGHOST", "")
	for _, name := range []string{"PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE"} {
		t.Setenv(name, "")
	}
	const want = "pgadapter: the database's address is empty; give one such as postgres://user:password@host:5432/database, or set PGHOST, PGUSER and PGDATABASE"
	if _, err := Open(t.Context(), "", nil); err == nil || err.Error() != want {
		t.Errorf("Open: %v", err)
	}
	if _, err := OpenEmitter(t.Context(), "", nil); err == nil || err.Error() != want {
		t.Errorf("OpenEmitter: %v", err)
	}
}

func TestBind_SecondServer(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, nil)
	newServer := func(r socketio.Recovery) (said string) {
		defer func() {
			if r := recover(); r != nil {
				said = fmt.Sprint(r)
			}
		}()
		io := socketio.NewServer(&socketio.Options{Adapter: db, Recovery: r})
		t.Cleanup(func() { _ = io.Shutdown(context.Background()) })
		return ""
	}
	if said := newServer(socketio.Recovery{Store: db.Sessions()}); said != "" {
		t.Fatal(said)
	}
	const want = "pgadapter: this DB belongs to a server already; open one for each server"
	for _, r := range []socketio.Recovery{{Store: db.Sessions()}, {Disabled: true}} {
		if said := newServer(r); said != want {
			t.Errorf("%q", said)
		}
	}
}

func TestBind_WindowBeyondRetention(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, &Options{Retention: 3 * time.Minute})
	err := (&socketio.Options{Adapter: db, Recovery: socketio.Recovery{Store: db.Sessions(), Window: 2 * time.Minute}}).Validate()
	const want = "socketio: Options.Recovery.Window is 2m0s and the adapter keeps events for 3m0s (its Retention), which serves a window of 1m30s at most; make Retention 4m0s or longer, or Window shorter"
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}

func TestBind_AfterClose(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db, err := Open(t.Context(), b.dsn, &Options{Schema: b.schema})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Bind(nil); !errors.Is(err, adapter.ErrClosed) {
		t.Errorf("%v", err)
	}
}
