package pgadapter

import (
	"context"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgsocket/socketio/internal/pgserver"
	"github.com/pgsocket/socketio/pgtest"
)

// patience is how long a test waits for an event that must happen, on a slow machine too.
const patience = time.Minute

// A bench is a schema for one test.
type bench struct {
	dsn      string
	schema   string
	conn     *pgx.Conn        // the test's own, with search_path set to the schema
	warnings *strings.Builder // receives the warnings of Postgres to conn, if not nil
	pool     *pgxpool.Pool    // the application's, from which New makes the nodes; nil: Open makes them
}

func newBench(t testing.TB, opts ...pgtest.Option) *bench {
	t.Helper()
	dsn, schema := pgtest.Schema(t, opts...)
	b := &bench{dsn: dsn, schema: schema}
	b.conn = b.connect(t)
	return b
}

// newBenchWith returns a bench on a new server with these settings.
func newBenchWith(t testing.TB, settings map[string]string) *bench {
	t.Helper()
	srv, err := pgserver.Start(t.Context(), pgserver.Options{Fast: true, Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Stop(); err != nil {
			t.Error(err)
		}
	})
	return newBench(t, pgtest.On(srv.DSN()))
}

func (b *bench) connect(t testing.TB) *pgx.Conn {
	t.Helper()
	config, err := pgx.ParseConfig(b.dsn)
	if err != nil {
		t.Fatal(err)
	}
	config.RuntimeParams["search_path"] = pgx.Identifier{b.schema}.Sanitize()
	// The string literals of the tests, and their direct calls of append and relay_outbox, rely on these settings.
	config.RuntimeParams["standard_conforming_strings"] = "on"
	config.RuntimeParams["array_nulls"] = "on"
	config.RuntimeParams["default_transaction_isolation"] = "read committed"
	config.RuntimeParams["idle_session_timeout"] = "0" // a test may wait for longer than a server allows
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if b.warnings != nil {
			b.warnings.WriteString(n.Message + "\n")
		}
	}
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (b *bench) exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	if _, err := b.conn.Exec(context.Background(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func (b *bench) int(t testing.TB, sql string, args ...any) int64 {
	t.Helper()
	var n int64
	if err := b.conn.QueryRow(context.Background(), sql, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// open opens a node, which is closed when the test ends.
func (b *bench) open(t testing.TB, opts *Options) *DB {
	t.Helper()
	var o Options
	if opts != nil {
		o = *opts
	}
	o.Schema = b.schema
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(testWriter{t}, nil))
	}
	var db *DB
	var err error
	if b.pool != nil {
		db, err = New(t.Context(), b.pool, &o)
	} else {
		db, err = Open(t.Context(), b.route(t, &o), &o)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := db.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return db
}

// route returns the address for a node: that of the database, or of the pooler in the environment. Tests that set
// Options themselves, or have their own server, keep their address.
func (b *bench) route(t testing.TB, o *Options) string {
	t.Helper()
	pooler := os.Getenv("SOCKETIO_TEST_POOLER")
	switch {
	case o.ListenDSN != "" || o.PollOnly || o.PollInterval != 0:
	case os.Getenv("SOCKETIO_TEST_POLL") != "":
		o.PollOnly = true
	case pooler != "" && host(t, b.dsn) == host(t, os.Getenv("DATABASE_URL")):
		o.ListenDSN = os.Getenv("SOCKETIO_TEST_LISTEN")
		return pooler
	}
	return b.dsn
}

// host returns the host and the port of an address.
func host(t testing.TB, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// declareDead has one node declare another one dead, as if it had stopped. It retries if a heartbeat of that node comes
// in between.
func (b *bench) declareDead(t testing.TB, by *DB, id int64) {
	t.Helper()
	eventually(t, "the node is declared dead", func() bool {
		var seen string
		err := b.conn.QueryRow(t.Context(), "select coalesce(min(extract(epoch from seen)::text), '') from nodes where id = $1", id).Scan(&seen)
		if err != nil {
			t.Fatal(err)
		}
		by.node.reapDeadNode(t.Context(), id, peerState{seen: seen})
		return b.int(t, "select count(*) from nodes where id = $1", id) == 0
	})
}

// loseFrom removes the batches from id on, as when a standby without them is promoted;
// all other connections are terminated.
func (b *bench) loseFrom(t *testing.T, id int64) {
	t.Helper()
	b.exec(t, "begin")
	b.exec(t, "delete from log where id >= $1", id)
	b.exec(t, "select setval('log_id_seq', $1, false)", id)
	b.exec(t, "commit")
	b.terminate(t, "")
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// eventually waits until happened returns true.
func eventually(t testing.TB, what string, happened func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !happened(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("did not happen: %s", what)
		}
	}
}

func quoted(name string) string { return pgx.Identifier{name}.Sanitize() }
