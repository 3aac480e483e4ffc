package pgadapter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgsocket/socketio/adapter/adaptertest"
	"github.com/pgsocket/socketio/internal/pgserver"
	"github.com/pgsocket/socketio/migrations"
	"github.com/pgsocket/socketio/pgtest"
)

// withParams adds parameters to an address.
func withParams(t *testing.T, dsn string, params map[string]string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	for name, value := range params {
		q.Set(name, value)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// as returns the address of the bench for a new role, whose transactions begin at this isolation level.
func (b *bench) as(t *testing.T, isolation string) string {
	t.Helper()
	role := b.schema + "_" + strings.ReplaceAll(isolation, " ", "_")
	execOn(t, b.conn, "create role "+role+" superuser login password 'p'", "alter role "+role+" set default_transaction_isolation = '"+isolation+"'")
	t.Cleanup(func() { b.exec(t, "drop role "+role) })
	u, err := url.Parse(b.dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(role, "p")
	return u.String()
}

// pooler starts a PgBouncer with these options in front of the database of the bench. Its role has the isolation level
// that Open needs, for poolers that do not pass settings on.
func (b *bench) pooler(t *testing.T, o pgserver.PoolerOptions) string {
	t.Helper()
	return startPooler(t, b.as(t, "read committed"), o)
}

func startPooler(t *testing.T, dsn string, o pgserver.PoolerOptions) string {
	t.Helper()
	pooler, err := pgserver.StartPooler(t.Context(), dsn, o)
	if errors.Is(err, pgserver.ErrNoPooler) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		pooler.Stop()
		if t.Failed() {
			t.Logf("PgBouncer said: %s", pooler.Output())
		}
	})
	return pooler.DSN()
}

func TestOpen_ParametersOfThePoolInEveryAddress(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dsn := withParams(t, b.dsn, map[string]string{"pool_max_conns": "3", "pool_max_conn_lifetime": "1h"})
	b.dsn = dsn
	b.open(t, &Options{ListenDSN: dsn})
	e, err := OpenEmitter(t.Context(), dsn, &EmitterOptions{Schema: b.schema})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
	opts := &migrations.Options{Schema: b.schema}
	if err := migrations.Up(t.Context(), dsn, opts); err != nil {
		t.Error(err)
	}
	if _, _, err := migrations.Version(t.Context(), dsn, opts); err != nil {
		t.Error(err)
	}
	pgtest.Schema(t, pgtest.On(dsn))
}

func TestOpen_ListenThroughTransactionPooler(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	direct := b.dsn
	pooled := b.pooler(t, pgserver.PoolerOptions{Mode: "transaction", Size: 5})
	b.dsn = pooled
	said := newSignal("the log is polled")
	dbs, recorders := b.nodes(t, 1, &Options{ListenDSN: pooled, PollInterval: time.Hour, Retention: 5 * time.Hour, Logger: said.logger(t)})
	<-said.seen
	if err := dbs[0].Health(); err == nil || !strings.Contains(err.Error(), "ListenDSN") {
		t.Errorf("Health: %v", err)
	}
	b.dsn = direct
	others, _ := b.nodes(t, 1, &Options{ListenDSN: direct})
	if _, err := others[0].Publish(t.Context(), adaptertest.Event(`["e"]`)); err != nil {
		t.Fatal(err)
	}
	recorders[0].Expect(t, 1) // although the next poll is an hour away
	eventually(t, "the echo of the node that listens directly", func() bool {
		others[0].tail.mu.Lock()
		defer others[0].tail.mu.Unlock()
		return !others[0].tail.unnotified
	})
	if err := others[0].Health(); err != nil {
		t.Error(err)
	}
}

func TestOpen_PreparedStatementsMixedUp(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	u, err := url.Parse(b.pooler(t, pgserver.PoolerOptions{Mode: "transaction", Size: 1}))
	if err != nil {
		t.Fatal(err)
	}
	u.RawQuery = "sslmode=disable"
	// Statements of another program are prepared on the connection that the pooler assigns.
	for range 2 {
		db, err := Open(t.Context(), u.String(), &Options{Schema: b.schema, ListenDSN: b.dsn, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			if !strings.Contains(err.Error(), "default_query_exec_mode") {
				t.Errorf("%v", err)
			}
			return
		}
		t.Cleanup(func() { _ = db.Close(context.Background()) }) // its statements are affected as well
	}
	t.Error("no error")
}

func TestHealth_RightAfterOpen(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for range 20 {
		db := b.open(t, nil)
		if err := db.Health(); err != nil {
			t.Fatal(err)
		}
	}
}

// Idle connections that Postgres closes cause no error and no log line.
func TestHealth_IdleSessionTimeout(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.dsn = withParams(t, b.dsn, map[string]string{"idle_session_timeout": "700"})
	for _, opts := range []*Options{
		{PollInterval: 3 * time.Second, ListenDSN: b.dsn},
		{PollInterval: 1500 * time.Millisecond, PollOnly: true},
	} {
		t.Run(fmt.Sprint(opts.PollOnly), func(t *testing.T) {
			t.Parallel()
			o := *opts
			o.Heartbeat = 2 * time.Second
			lost := newSignal("lost the connection", "heartbeat not confirmed")
			o.Logger = lost.logger(t)
			db := b.open(t, &o)
			// Two polls and two heartbeats after longer idle times than the server allows.
			looks := 0
			for began := time.Now(); looks < 3 && time.Since(began) < patience; looks++ {
				before := db.Stats().CaughtUp
				eventually(t, "the next read of the log", func() bool {
					if err := db.Health(); err != nil {
						t.Fatal(err)
					}
					return db.Stats().CaughtUp.After(before)
				})
			}
			select {
			case <-lost.seen:
				t.Error("connections were lost")
			default:
			}
		})
	}
}

func TestOpen_TextFormsOfValues(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"exec", "simple_protocol", "cache_statement"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.dsn = withParams(t, b.dsn, map[string]string{
				"default_query_exec_mode": mode, "bytea_output": "escape", "DateStyle": "SQL,DMY",
				"IntervalStyle": "sql_standard", "TimeZone": "Asia/Kathmandu", "extra_float_digits": "-15",
			})
			dbs, recorders := b.nodes(t, 2, &Options{ListenDSN: b.dsn})
			checkSame(t, recorders, storm(t, dbs, 2, 20, 0))
			exerciseSessions(t, dbs)
			e, err := OpenEmitter(t.Context(), b.dsn, &EmitterOptions{Schema: b.schema})
			if err != nil {
				t.Fatal(err)
			}
			if err := e.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := dbs[0].ClusterStats(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestBytea_BothTextForms(t *testing.T) {
	t.Parallel()
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	b := newBench(t)
	for _, form := range []string{"escape", "hex"} {
		b.dsn = withParams(t, b.dsn, map[string]string{"bytea_output": form, "default_query_exec_mode": "exec", "standard_conforming_strings": "on"})
		conn := b.connect(t)
		registerTypes(conn.TypeMap())
		var one, none []byte
		var many [][]byte
		err := conn.QueryRow(t.Context(), `select v, null::bytea, array[v, '\\', ''] from (select string_agg(set_byte('\x00', 0, i), '' order by i) v from generate_series(0, 255) i) s`).
			Scan(&one, &none, &many)
		if err != nil || string(one) != string(all) || none != nil || len(many) != 3 || string(many[0]) != string(all) || string(many[1]) != `\` {
			t.Errorf("%s: %x %v %x, %v", form, one, none, many, err)
		}
	}
	for _, text := range []string{`\`, `\9`, `\00`, `\400`, `\xabc`} {
		var got []byte
		if err := (byteaCodec{}).PlanScan(nil, 0, pgtype.TextFormatCode, &got).Scan([]byte(text), &got); err == nil {
			t.Errorf("%q: %x", text, got)
		}
	}
}

// While a password changes, a running node treats it as an outage, and Open waits.
func TestOpen_CredentialsChange(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	admin := b.dsn
	role := b.schema + "_login"
	b.exec(t, "create role "+role+" superuser login password 'old'")
	t.Cleanup(func() { b.exec(t, "drop role "+role) })
	u, err := url.Parse(admin)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(role, "old")
	b.dsn = u.String()
	refused := newSignal("retrying until Postgres answers", "reconnecting")
	dbs, recorders := b.nodes(t, 1, &Options{ListenDSN: b.dsn, Logger: refused.logger(t)})

	b.exec(t, "alter role "+role+" password 'new'")
	b.exec(t, "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1", role)
	r, err := dbs[0].Publish(t.Context(), adaptertest.Event(`["e"]`))
	if err != nil {
		t.Fatal(err)
	}
	<-refused.seen
	_, err = Open(t.Context(), b.dsn, &Options{Schema: b.schema, ConnectTimeout: -1})
	if err == nil || !strings.HasPrefix(err.Error(), "pgadapter: the user or the password is refused by Postgres: ") || strings.Contains(err.Error(), "old") {
		t.Errorf("Open: %v", err)
	}
	waits := newSignal("does not accept the connection yet")
	opened := make(chan error, 1)
	go func() {
		db, err := Open(t.Context(), b.dsn, &Options{Schema: b.schema, ConnectTimeout: patience, Logger: waits.logger(t)})
		if err == nil {
			err = db.Close(context.WithoutCancel(t.Context()))
		}
		opened <- err
	}()
	<-waits.seen
	b.exec(t, "alter role "+role+" password 'old'")
	if err := r.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	recorders[0].Expect(t, 1)
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

func TestOpen_MetaWithoutItsRow(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, recorders := b.nodes(t, 1, nil)
	checkSame(t, recorders, storm(t, dbs, 1, 5, 0))
	b.exec(t, "delete from meta")
	for _, open := range []func() error{
		func() error { _, err := Open(t.Context(), b.dsn, &Options{Schema: b.schema}); return err },
		func() error {
			_, err := OpenEmitter(t.Context(), b.dsn, &EmitterOptions{Schema: b.schema})
			return err
		},
		func() error {
			r, err := dbs[0].Publish(t.Context(), adaptertest.Event(`["e"]`))
			if err == nil {
				err = r.Wait(t.Context())
			}
			return err
		},
	} {
		if err := open(); !errors.Is(err, ErrSchema) || !strings.Contains(err.Error(), "migrate up") {
			t.Errorf("%v", err)
		}
	}
	if err := migrations.Up(t.Context(), b.dsn, &migrations.Options{Schema: b.schema}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node continues in the new log", func() bool { return dbs[0].Stats().Resets == 1 })
	storm(t, dbs, 1, 5, 0)
	recorders[0].Expect(t, 10)
	fresh := b.open(t, nil)
	if at := fresh.tail.position(); int64(at) < b.int(t, "select low from meta") {
		t.Errorf("begins at %d", at)
	}
}

func TestOpen_DirtyMarkOfAnotherTool(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.exec(t, "update socketio_migrations set dirty = true")
	b.open(t, nil) // the tables are complete
	b.exec(t, "update meta set schema_version = 0")
	_, err := Open(t.Context(), b.dsn, &Options{Schema: b.schema})
	if !errors.Is(err, ErrSchema) || !strings.Contains(err.Error(), "broke off; run migrations.Up, or pgsocket migrate up") {
		t.Errorf("%v", err)
	}
	b.exec(t, "update meta set schema_version = 1")
}

func TestOpen_PostgresIsNotUpYet(t *testing.T) {
	t.Parallel()
	srv, err := pgserver.Start(t.Context(), pgserver.Options{Fast: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Stop() })
	if err := migrations.Up(t.Context(), srv.DSN(), nil); err != nil {
		t.Fatal(err)
	}
	if err := srv.Shut(pgserver.Fast); err != nil {
		t.Fatal(err)
	}
	for _, open := range []func(o Options) error{
		func(o Options) error {
			db, err := Open(t.Context(), srv.DSN(), &o)
			if err == nil {
				err = db.Close(context.WithoutCancel(t.Context()))
			}
			return err
		},
		func(o Options) error {
			pool, err := pgxpool.New(t.Context(), srv.DSN())
			if err != nil {
				return err
			}
			defer pool.Close()
			db, err := New(t.Context(), pool, &o)
			if err == nil {
				err = db.Close(context.WithoutCancel(t.Context()))
			}
			return err
		},
		func(o Options) error {
			e, err := OpenEmitter(t.Context(), srv.DSN(), &EmitterOptions{ConnectTimeout: o.ConnectTimeout, Logger: o.Logger})
			if err == nil {
				err = e.Close(context.WithoutCancel(t.Context()))
			}
			return err
		},
	} {
		if err := open(Options{ConnectTimeout: -1}); err == nil || !strings.Contains(err.Error(), "no connection to Postgres") {
			t.Errorf("without waiting: %v", err)
		}
		waits := newSignal("does not accept the connection yet")
		opened := make(chan error, 1)
		go func() { opened <- open(Options{ConnectTimeout: patience, Logger: waits.logger(t)}) }()
		<-waits.seen
		if err := srv.Boot(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-opened; err != nil {
			t.Error(err)
		}
		if err := srv.Shut(pgserver.Fast); err != nil {
			t.Fatal(err)
		}
	}
}

// A signal is given when a line that contains one of the texts is logged.
type signal struct {
	texts []string
	once  sync.Once
	seen  chan struct{}
}

func newSignal(texts ...string) *signal { return &signal{texts: texts, seen: make(chan struct{})} }

func (s *signal) logger(t *testing.T) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(s, nil))
}

func (s *signal) Write(line []byte) (int, error) {
	for _, text := range s.texts {
		if strings.Contains(string(line), text) {
			s.once.Do(func() { close(s.seen) })
		}
	}
	return len(line), nil
}
