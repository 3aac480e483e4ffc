package migrations_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgsocket/socketio/internal/pooltest"
	"github.com/pgsocket/socketio/migrations"
	"github.com/pgsocket/socketio/pgtest"
)

type failingCodec struct{ pgtype.TextCodec }

func (failingCodec) PlanScan(*pgtype.Map, uint32, int16, any) pgtype.ScanPlan { return failingPlan{} }

type failingPlan struct{}

func (failingPlan) Scan([]byte, any) error { return errors.New("codec of the application") }

type statements struct{ n atomic.Int64 }

func (s *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	s.n.Add(1)
	return ctx
}

func (*statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// The application holds the only connection of its pool; its hooks set what migrations must not depend on.
func TestNew_HostilePoolOfOneConnection(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t, pgtest.NameOnly())
	var tracer statements
	var open, asked atomic.Int64
	pool := pooltest.Open(t, dsn, func(c *pgxpool.Config) {
		c.MaxConns = 1
		c.ConnConfig.Tracer = &tracer
		password := c.ConnConfig.Password
		c.ConnConfig.Password = ""
		c.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
			asked.Add(1)
			c.Password = password
			return nil
		}
		c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
			open.Add(1)
			conn.TypeMap().RegisterType(&pgtype.Type{Name: "text", OID: pgtype.TextOID, Codec: failingCodec{}})
			conn.TypeMap().RegisterType(&pgtype.Type{Name: "bool", OID: pgtype.BoolOID, Codec: failingCodec{}})
			return conn.PgConn().Exec(ctx, "set search_path = ''; set default_transaction_isolation = serializable; set lock_timeout = 1; "+
				"set default_transaction_read_only = on; set standard_conforming_strings = off; set check_function_bodies = off").Close()
		}
		c.BeforeClose = func(*pgx.Conn) { open.Add(-1) }
	})
	held, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer held.Release()
	m := migrations.New(pool, &migrations.Options{Schema: schema})
	for _, step := range []struct {
		do   func(context.Context) error
		want uint
	}{
		{m.Up, migrations.Latest},
		{m.Up, migrations.Latest},
		{func(ctx context.Context) error { return m.Force(ctx, migrations.Latest) }, migrations.Latest},
		{m.Down, 0},
	} {
		if err := step.do(t.Context()); err != nil {
			t.Fatal(err)
		}
		if v, dirty, err := m.Version(t.Context()); v != step.want || dirty || err != nil {
			t.Errorf("version %d, dirty %v, %v; want %d", v, dirty, err, step.want)
		}
	}
	if open.Load() != 1 || asked.Load() < 8 || tracer.n.Load() == 0 {
		t.Errorf("%d connections are open, BeforeConnect was called %d times, the tracer has seen %d statements", open.Load(), asked.Load(), tracer.n.Load())
	}
	if s := pool.Stat(); s.AcquireCount() != 1 || s.TotalConns() != 1 {
		t.Errorf("the pool has given out %d connections, and has %d", s.AcquireCount(), s.TotalConns())
	}
}

func TestUp_NoAddress(t *testing.T) {
	t.Setenv("PGHOST", "")
	for _, name := range []string{"PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE"} {
		t.Setenv(name, "")
	}
	if err := migrations.Up(t.Context(), "", nil); err == nil || !strings.HasPrefix(err.Error(), "migrations: the database's address is empty; give one such as postgres://") {
		t.Errorf("an empty address: %v", err)
	}
	if err := migrations.New(nil, nil).Up(t.Context()); err == nil || err.Error() != "migrations: the pool is nil" {
		t.Errorf("no pool: %v", err)
	}
}
