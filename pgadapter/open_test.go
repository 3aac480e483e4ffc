package pgadapter

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

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
		"no privileges":   {dsn: stranger.String(), schema: true, says: "privileges"},
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
