package pgadapter

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgsocket/socketio/adapter/adaptertest"
)

// failing makes statements of the hooks of a pool fail with a SQLSTATE while it is not empty.
type failing struct{ state atomic.Value }

func (f *failing) statement() string {
	if state, _ := f.state.Load().(string); state != "" {
		return "do $$ begin raise 'of the application' using errcode = '" + state + "'; end $$"
	}
	return "select 1"
}

// hooks returns for each hook of a pool a change of its configuration by which it fails.
func (f *failing) hooks(dsn string) map[string]func(*pgxpool.Config) {
	return map[string]func(*pgxpool.Config){
		"BeforeConnect": func(c *pgxpool.Config) {
			c.BeforeConnect = func(ctx context.Context, _ *pgx.ConnConfig) error { // the store of secrets is another database
				conn, err := pgx.Connect(ctx, dsn)
				if err != nil {
					return err
				}
				defer conn.Close(ctx)
				_, err = conn.Exec(ctx, f.statement())
				return err
			}
		},
		"AfterConnect": func(c *pgxpool.Config) {
			c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
				_, err := conn.Exec(ctx, f.statement())
				return err
			}
		},
		"ConnConfig.AfterConnect": func(c *pgxpool.Config) {
			c.ConnConfig.AfterConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
				return conn.Exec(ctx, f.statement()).Close()
			}
		},
	}
}

// The SQLSTATEs of a hook's statements say nothing about the schema, the role or the pooler of the node.
func TestNew_HookErrorWithSQLSTATE_Waits(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"42501", "42P01", "28P01", "P0002", "08P01"} {
		var f failing
		for name, change := range f.hooks(newBench(t).dsn) {
			b := newBench(t)
			b.withPool(t, change)
			f.state.Store(state)
			_, err := New(t.Context(), b.pool, &Options{Schema: b.schema, ConnectTimeout: -1})
			want := "pgadapter: no connection to Postgres: "
			if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), name+" of the pool: ") || errors.Is(err, ErrSchema) {
				t.Errorf("%s, %s: %v", name, state, err)
			}
			if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.Code != state {
				t.Errorf("%s, %s: a caller of New does not see the error of its hook in %v", name, state, err)
			}
			waits := newSignal("of the application")
			go func() {
				<-waits.seen
				f.state.Store("")
			}()
			db, err := New(t.Context(), b.pool, &Options{Schema: b.schema, Logger: waits.logger(t)})
			if err != nil {
				t.Fatalf("%s, %s: %v", name, state, err)
			}
			if err := db.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestNew_HookErrorWithSQLSTATE_DoesNotFenceTheNode(t *testing.T) {
	t.Parallel()
	var f failing
	for name, change := range f.hooks(newBench(t).dsn) {
		b := newBench(t).named(t)
		b.withPool(t, change)
		dbs, recorders := b.nodes(t, 1, &Options{Lease: time.Minute})
		db := dbs[0]
		id := db.node.id.Load()
		f.state.Store(stateNodeGone)
		b.terminate(t, "")
		var err error
		eventually(t, "the hook fails", func() bool {
			_, err = db.sessions.flush(t.Context(), nil)
			return err != nil && strings.Contains(err.Error(), "of the application") || errors.Is(err, errNodeGone)
		})
		if errors.Is(err, errNodeGone) || !isTransient(err) || isRefusal(err) || !strings.Contains(err.Error(), name+" of the pool") {
			t.Errorf("%s: %v", name, err)
		}
		f.state.Store("")
		adaptertest.Publish(t, db, adaptertest.Event("after"))
		recorders[0].Expect(t, 1)
		mustOpen(t, db, session("after"))
		if db.node.id.Load() != id || len(recorders[0].Resets()) > 0 {
			t.Errorf("%s: the node was fenced: %v", name, recorders[0].Resets())
		}
	}
}

// A readCounter counts the reads of the log.
type readCounter struct{ n atomic.Int64 }

func (r *readCounter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if strings.Contains(data.SQL, "Batches after id") {
		r.n.Add(1)
	}
	return ctx
}

func (*readCounter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// listeningPool gives the bench a pool whose hook listens on a channel of the application, which it returns.
func (b *bench) listeningPool(t *testing.T, reads *readCounter) (channel string) {
	t.Helper()
	channel = b.schema + "_of_the_application"
	b.withPool(t, func(c *pgxpool.Config) {
		c.ConnConfig.Tracer = reads
		c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, "listen "+quoted(channel))
			return err
		}
	})
	return channel
}

// The connection that reads the log ignores the notifications of the application.
func TestNew_HookListens_ReadsNoLog(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	long := &Options{PollInterval: time.Hour, Retention: 5 * time.Hour}
	other, _ := b.nodes(t, 1, long)
	var reads readCounter
	channel := b.listeningPool(t, &reads)
	dbs, recorders := b.nodes(t, 1, long)
	adaptertest.Publish(t, other[0], adaptertest.Event("0"))
	recorders[0].Expect(t, 1) // the echo came before
	eventually(t, "nothing reads the log", func() bool {
		before := reads.n.Load()
		b.exec(t, "select pg_notify($1, $2)", channel, relayNotification)
		b.exec(t, "select pg_notify($1, $2)", channel, "x") // in the channel of the node, it would mean that the log must be read
		adaptertest.Publish(t, other[0], adaptertest.Event("x"))
		if err := other[0].WaitDelivered(t.Context()); err != nil {
			t.Fatal(err)
		}
		at := other[0].tail.position()
		eventually(t, "delivered", func() bool { return dbs[0].tail.position() >= at })
		return reads.n.Load() == before
	})
}

// Nothing reads the notifications of the application from the other connections of a node.
func TestNew_HookListens_KeepsNoNotification(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	channel := b.listeningPool(t, &readCounter{})
	dbs, _ := b.nodes(t, 1, nil)
	var conns []*pgxpool.Conn
	for range dbs[0].opts.MaxConns {
		conn, err := dbs[0].pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
		conns = append(conns, conn)
	}
	b.exec(t, "select pg_notify($1, 'x')", channel)
	arrived, cancel := context.WithCancel(t.Context())
	cancel()
	for _, conn := range conns {
		if err := conn.Ping(t.Context()); err != nil { // reads what has arrived
			t.Fatal(err)
		}
		if n, err := conn.Conn().WaitForNotification(arrived); err == nil {
			t.Errorf("%v is kept in memory", n)
		}
	}
}
