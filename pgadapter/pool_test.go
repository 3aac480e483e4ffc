package pgadapter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgsocket/socketio/adapter/adaptertest"
	"github.com/pgsocket/socketio/internal/pgserver"
	"github.com/pgsocket/socketio/internal/pooltest"
)

// withPool gives the bench a pool of the application, from which it makes its nodes.
func (b *bench) withPool(t testing.TB, change func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	b.pool = pooltest.Open(t, b.dsn, change)
	return b.pool
}

// emitInTx emits inside a transaction of the application.
func emitInTx(t *testing.T, b *bench, tx pgx.Tx, payload string) {
	t.Helper()
	if emitted, err := EmitTx(t.Context(), tx, adaptertest.Event("%s", payload), &EmitOptions{Schema: b.schema}); err != nil || !emitted {
		t.Fatalf("EmitTx: %v, %v", emitted, err)
	}
}

// The application holds the only connection of its pool from before New until after Close. The node does all its work
// with connections of its own, whose number is bounded.
func TestNew_PoolOfOneConnection(t *testing.T) {
	t.Parallel()
	for _, conns := range []int{1, 6} {
		t.Run(fmt.Sprint(conns), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			var open, most atomic.Int64
			pool := b.withPool(t, func(c *pgxpool.Config) {
				c.MaxConns, c.MinConns = 1, 1
				c.AfterConnect = func(context.Context, *pgx.Conn) error {
					for n := open.Add(1); ; {
						m := most.Load()
						if n <= m || most.CompareAndSwap(m, n) {
							return nil
						}
					}
				}
				c.BeforeClose = func(*pgx.Conn) { open.Add(-1) }
			})
			tx, err := pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			execOn(t, tx.Conn(), "set idle_session_timeout = 0") // else a hostile server closes this connection while it is idle
			most.Store(0)
			open.Store(0) // from here on, those of the nodes
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			var dbs []*DB
			var recorders []*adaptertest.Recorder
			for range 2 {
				db, err := New(ctx, pool, &Options{Schema: b.schema, MaxConns: conns, Logger: slog.New(slog.NewTextHandler(testWriter{t}, nil))})
				if err != nil {
					t.Fatal(err)
				}
				r, _ := adaptertest.Bound(t, db)
				dbs, recorders = append(dbs, db), append(recorders, r)
			}
			checkSame(t, recorders, storm(t, dbs, 4, 50, 0))
			exerciseSessions(t, dbs)
			for _, err := range []error{dbs[0].sweeper.checkpoint(ctx), dbs[0].sweeper.sweep(ctx)} {
				if err != nil {
					t.Error(err)
				}
			}
			emitInTx(t, b, tx, `["tx"]`)
			if err := tx.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, r := range recorders {
				r.Expect(t, 201)
			}
			for _, db := range dbs {
				if err := db.Close(ctx); err != nil {
					t.Error(err)
				}
			}
			if n := most.Load(); n > int64(2*(conns+2)) {
				t.Errorf("two nodes had %d connections, more than MaxConns + 2 each", n)
			}
			if n := open.Load(); n != 0 {
				t.Errorf("%d connections are left", n)
			}
			if s := pool.Stat(); s.AcquireCount() != 1 || s.TotalConns() != 1 {
				t.Errorf("the pool has given out %d connections, and has %d", s.AcquireCount(), s.TotalConns())
			}
			if err := pool.Ping(t.Context()); err != nil {
				t.Errorf("the pool after Close: %v", err)
			}
		})
	}
}

// failingCodec is a codec that an application might register by mistake, or for a purpose of its own.
type failingCodec struct{ pgtype.TextCodec }

var errCodec = errors.New("codec of the application")

func (failingCodec) PlanScan(*pgtype.Map, uint32, int16, any) pgtype.ScanPlan { return failingPlan{} }

type failingPlan struct{}

func (failingPlan) Scan([]byte, any) error { return errCodec }

// hostileSettings are settings of an application's connections under which statements of this package would fail, or return
// something else.
const hostileSettings = "set default_transaction_isolation = 'serializable'; set default_transaction_deferrable = on; set bytea_output = 'escape'; " +
	"set datestyle = 'SQL, DMY'; set intervalstyle = 'sql_standard'; set timezone = 'Asia/Kathmandu'; set extra_float_digits = -15; " +
	"set standard_conforming_strings = off; set array_nulls = off; set client_encoding = 'LATIN1'; set search_path = ''; " +
	"set statement_timeout = '5s'; set lock_timeout = '1s'; set quote_all_identifiers = on"

// hostilePools are configurations of the application's pool, none of which a node may depend on.
func hostilePools() map[string]func(c *pgxpool.Config, role string) {
	return map[string]func(c *pgxpool.Config, role string){
		"parameters": func(c *pgxpool.Config, _ string) {
			maps.Copy(c.ConnConfig.RuntimeParams, map[string]string{
				"default_transaction_isolation": "serializable", "bytea_output": "escape", "DateStyle": "SQL, DMY",
				"search_path": "pg_temp", "statement_timeout": "5000", "client_encoding": "LATIN1",
			})
		},
		"BeforeConnect": func(c *pgxpool.Config, _ string) {
			c.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
				c.RuntimeParams["default_transaction_isolation"] = "serializable"
				c.OnNotification = func(*pgconn.PgConn, *pgconn.Notification) {}
				return nil
			}
		},
		"AfterConnect": func(c *pgxpool.Config, role string) {
			c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
				_, err := conn.Exec(ctx, hostileSettings+"; set role "+role, pgx.QueryExecModeSimpleProtocol)
				return err
			}
		},
		"AfterConnect below pgx": func(c *pgxpool.Config, _ string) {
			c.ConnConfig.AfterConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
				return conn.Exec(ctx, hostileSettings).Close()
			}
		},
		"types": func(c *pgxpool.Config, _ string) {
			c.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
				for name, oid := range map[string]uint32{
					"text": pgtype.TextOID, "bool": pgtype.BoolOID, "int4": pgtype.Int4OID, "int8": pgtype.Int8OID,
					"bytea": pgtype.ByteaOID, "_int8": pgtype.Int8ArrayOID, "_text": pgtype.TextArrayOID, "timestamptz": pgtype.TimestamptzOID,
				} {
					conn.TypeMap().RegisterType(&pgtype.Type{Name: name, OID: oid, Codec: failingCodec{}})
				}
				return nil
			}
		},
		"hooks of acquiring": func(c *pgxpool.Config, _ string) {
			c.PrepareConn = func(context.Context, *pgx.Conn) (bool, error) { return true, errors.New("no tenant in ctx") }
			c.AfterRelease = func(*pgx.Conn) bool { return false }
		},
		"exec":            func(c *pgxpool.Config, _ string) { c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec },
		"cache_describe":  func(c *pgxpool.Config, _ string) { c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe },
		"simple protocol": func(c *pgxpool.Config, _ string) { c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol },
		"simple protocol and AfterConnect": func(c *pgxpool.Config, _ string) {
			c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
			c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
				_, err := conn.Exec(ctx, hostileSettings)
				return err
			}
		},
	}
}

// application creates a role with the rights that a node needs.
func (b *bench) application(t *testing.T) {
	t.Helper()
	role := b.schema + "_app"
	execOn(t, b.conn, "create role "+role, "grant usage on schema "+b.schema+" to "+role,
		"grant select, insert, update, delete, truncate on all tables in schema "+b.schema+" to "+role,
		"grant usage on all sequences in schema "+b.schema+" to "+role, "grant execute on all functions in schema "+b.schema+" to "+role)
	t.Cleanup(func() { execOn(t, b.conn, "drop owned by "+role, "drop role "+role) })
}

func TestNew_HostilePool(t *testing.T) {
	t.Parallel()
	for name, change := range hostilePools() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.application(t)
			pool := b.withPool(t, func(c *pgxpool.Config) { change(c, b.schema+"_app") })
			dbs, recorders := b.nodes(t, 2, nil)
			checkSame(t, recorders, storm(t, dbs, 2, 20, 0))
			exerciseSessions(t, dbs)
			if nodes, err := dbs[0].Nodes(t.Context()); err != nil || len(nodes) != 2 {
				t.Errorf("Nodes: %v, %v", nodes, err)
			}
			if _, err := dbs[0].ClusterStats(t.Context()); err != nil {
				t.Errorf("ClusterStats: %v", err)
			}
			e, err := NewEmitter(t.Context(), pool, &EmitterOptions{Schema: b.schema})
			if err != nil {
				t.Fatal(err)
			}
			storm(t, []*Emitter{e}, 1, 5, 0)
			if err := e.Close(t.Context()); err != nil {
				t.Error(err)
			}
			for _, r := range recorders {
				r.Expect(t, 45)
			}
			if err := dbs[0].Health(); err != nil {
				t.Errorf("Health: %v", err)
			}
		})
	}
}

// A transaction of the application emits under the settings of its own pool.
func TestNew_EmitInTransactionOfTheHostilePool(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
		pool := b.withPool(t, func(c *pgxpool.Config) {
			c.ConnConfig.DefaultQueryExecMode = mode
			c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
				// pgx itself requires these two of connections with the simple protocol.
				_, err := conn.Exec(ctx, hostileSettings+"; set standard_conforming_strings = on; set client_encoding = 'UTF8'", pgx.QueryExecModeSimpleProtocol)
				return err
			}
		})
		_, recorders := b.nodes(t, 1, nil)
		tx, err := pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		emitInTx(t, b, tx, `["é"]`)
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := string(recorders[0].Expect(t, 1)[0].Payload); got != `["é"]` {
			t.Errorf("delivered %s", got)
		}
	}
}

// A statementTracer records the statements and how many connections ran them.
type statementTracer struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (s *statementTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, part := range []string{"listen ", "Appends a batch", "Batches after id", "node"} {
		if strings.Contains(data.SQL, part) {
			s.seen[part] = true
		}
	}
	return ctx
}

func (*statementTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func TestNew_TracerDialFuncAndParameters(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	tracer := &statementTracer{seen: make(map[string]bool)}
	var dialed atomic.Int64
	b.withPool(t, func(c *pgxpool.Config) {
		dial := c.ConnConfig.DialFunc
		c.ConnConfig.DialFunc = func(ctx context.Context, network, _ string) (net.Conn, error) {
			dialed.Add(1)
			u, err := url.Parse(b.dsn)
			if err != nil {
				return nil, err
			}
			return dial(ctx, network, u.Host)
		}
		c.ConnConfig.Host, c.ConnConfig.Port = "192.0.2.1", 1 // reached by DialFunc only
		c.ConnConfig.Tracer = tracer
		c.ConnConfig.RuntimeParams["application_name"] = b.schema
	})
	dbs, recorders := b.nodes(t, 1, nil)
	checkSame(t, recorders, storm(t, dbs, 1, 5, 0))
	tracer.mu.Lock()
	if len(tracer.seen) != 4 {
		t.Errorf("the tracer has seen %v", tracer.seen)
	}
	tracer.mu.Unlock()
	if n := b.int(t, "select count(*) from pg_stat_activity where application_name = $1 and backend_type = 'client backend'", b.schema); n < 3 || n > dialed.Load() {
		t.Errorf("%d connections with the application's name, and %d were dialed", n, dialed.Load())
	}
}

// The password changes while the cluster runs and its connections are killed: each new connection asks for it.
func TestNew_PasswordChanges(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	role := b.schema + "_login"
	b.exec(t, "create role "+role+" superuser login password 'first'")
	t.Cleanup(func() { b.exec(t, "drop role "+role) })
	var password atomic.Value // as a store of secrets has it
	password.Store("first")
	var down atomic.Bool // the store
	asked := make(chan struct{}, 1)
	pool := b.withPool(t, func(c *pgxpool.Config) {
		c.ConnConfig.User, c.ConnConfig.Password = role, ""
		c.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
			if down.Load() {
				select {
				case asked <- struct{}{}:
				default:
				}
				return errors.New("the store of secrets is down")
			}
			c.Password = password.Load().(string)
			return nil
		}
	})
	dbs, recorders := b.nodes(t, 2, nil)
	e, err := NewEmitter(t.Context(), pool, &EmitterOptions{Schema: b.schema})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})

	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 5 {
			down.Store(true) // the store is late
			fresh := fmt.Sprint("password ", i)
			execOn(t, b.conn, "alter role "+role+" password '"+fresh+"'",
				"select pg_terminate_backend(pid) from pg_stat_activity where usename = '"+role+"'")
			<-asked
			password.Store(fresh)
			down.Store(false)
			eventually(t, "the nodes are connected again", func() bool { return dbs[0].Health() == nil && dbs[1].Health() == nil })
		}
	}()
	more := func(i int) bool {
		select {
		case <-done:
			return i < 50
		default:
			return true
		}
	}
	acked := stormWhile(t, []publishes{dbs[0], dbs[1], e}, 3, 5*time.Millisecond, more)
	checkSame(t, recorders, acked)
}

// Open waits while BeforeConnect has no credentials yet, and says why when it gives up.
func TestNew_BeforeConnectFails(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var up atomic.Bool
	b.withPool(t, func(c *pgxpool.Config) {
		c.BeforeConnect = func(context.Context, *pgx.ConnConfig) error {
			if !up.Load() {
				return errors.New("the store of secrets is down")
			}
			return nil
		}
	})
	_, err := New(t.Context(), b.pool, &Options{Schema: b.schema, ConnectTimeout: -1})
	const want = "pgadapter: no connection to Postgres: BeforeConnect of the pool: the store of secrets is down"
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
	waits := newSignal("the store of secrets is down")
	go func() {
		<-waits.seen
		up.Store(true)
	}()
	db, err := New(t.Context(), b.pool, &Options{Schema: b.schema, Logger: waits.logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestNew_Errors(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if _, err := New(t.Context(), nil, nil); err == nil || err.Error() != "pgadapter: the pool is nil" {
		t.Errorf("New: %v", err)
	}
	if _, err := NewEmitter(t.Context(), nil, nil); err == nil || err.Error() != "pgadapter: the pool is nil" {
		t.Errorf("NewEmitter: %v", err)
	}
	b.withPool(t, func(c *pgxpool.Config) {
		c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, "set role nobody_of_that_name")
			return err
		}
	})
	_, err := New(t.Context(), b.pool, &Options{Schema: b.schema, ConnectTimeout: -1})
	const want = `AfterConnect of the pool: ERROR: role "nobody_of_that_name" does not exist (SQLSTATE 22023)`
	if err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("%v", err)
	}
}

// The pool goes through a pooler in transaction mode, whose hooks count for the direct address as well.
func TestNew_ListenDSN(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	direct, err := url.Parse(b.dsn)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := direct.User.Password()
	b.dsn = b.pooler(t, pgserver.PoolerOptions{Mode: "transaction", Size: 5})
	var asked atomic.Int64
	b.withPool(t, func(c *pgxpool.Config) {
		c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
		c.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
			if fmt.Sprintf("%s:%d", c.Host, c.Port) == direct.Host {
				asked.Add(1)
				c.Password = password
			}
			return nil
		}
	})
	user := *direct
	user.User = url.User(direct.User.Username())
	dbs, recorders := b.nodes(t, 2, &Options{ListenDSN: user.String(), PollInterval: time.Hour, Retention: 5 * time.Hour})
	checkSame(t, recorders, storm(t, dbs, 2, 20, 0))
	exerciseSessions(t, dbs)
	if asked.Load() == 0 {
		t.Error("BeforeConnect was not called for the connection that listens")
	}
}

// A program with a configuration of a single connection makes a pool for it, see docs/deployment.md.
func TestNew_FromConnConfig(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	connConfig, err := pgx.ParseConfig(b.dsn)
	if err != nil {
		t.Fatal(err)
	}
	tracer := &statementTracer{seen: make(map[string]bool)}
	connConfig.Tracer = tracer
	config, err := pgxpool.ParseConfig(connConfig.ConnString())
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig = connConfig
	if b.pool, err = pgxpool.NewWithConfig(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.pool.Close)
	dbs, recorders := b.nodes(t, 1, nil)
	checkSame(t, recorders, storm(t, dbs, 1, 5, 0))
	tracer.mu.Lock()
	defer tracer.mu.Unlock()
	if len(tracer.seen) != 4 {
		t.Errorf("the tracer has seen %v", tracer.seen)
	}
	if n := b.pool.Stat().TotalConns(); n != 0 {
		t.Errorf("the pool has %d connections", n)
	}
}
