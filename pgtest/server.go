package pgtest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsocket/socketio/internal/pgserver"
	"github.com/pgsocket/socketio/migrations"
)

// private is the test binary's own server.
//
//nolint:gochecknoglobals // shared by all tests of the binary
var private privateServer

type privateServer struct {
	mu  sync.Mutex
	srv *pgserver.Server
	err error // the error of the only attempt to start it
}

// start starts the server in the first call, and returns its address.
func (p *privateServer) start(ctx context.Context) (dsn string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.srv == nil && p.err == nil {
		p.srv, p.err = pgserver.Start(ctx, pgserver.Options{Fast: true})
	}
	if p.err != nil {
		return "", p.err
	}
	return p.srv.DSN(), nil
}

func (p *privateServer) stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.srv == nil {
		return nil
	}
	srv := p.srv
	p.srv = nil
	return srv.Stop()
}

func migrate(ctx context.Context, dsn, schema string) error {
	return migrations.Up(ctx, dsn, &migrations.Options{Schema: schema})
}

// swept contains the servers whose old schemas have been dropped.
//
//nolint:gochecknoglobals // once per test binary, as private is
var swept struct {
	mu  sync.Mutex
	dsn map[string]bool
}

// sweepOnce drops the schemas of killed runs at dsn, once per process.
func sweepOnce(ctx context.Context, dsn string) error {
	swept.mu.Lock()
	defer swept.mu.Unlock()
	if swept.dsn[dsn] {
		return nil
	}
	if err := sweep(ctx, dsn, time.Now().Add(-stale)); err != nil {
		return err
	}
	if swept.dsn == nil {
		swept.dsn = make(map[string]bool)
	}
	swept.dsn[dsn] = true
	return nil
}

// sweep drops the schemas made before a time. It skips schemas with locks, which a later run drops.
func sweep(ctx context.Context, dsn string, before time.Time) error {
	conn, err := connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	// One test binary at a time sweeps. Closing the connection releases the lock.
	if _, err := conn.Exec(ctx, `select pg_advisory_lock(hashtext('pgtest sweep'))`); err != nil {
		return err
	}
	rows, err := conn.Query(ctx, `select nspname from pg_namespace where nspname like $1`, prefix+"%")
	if err != nil {
		return err
	}
	schemas, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, schema := range schemas {
		if at, ok := madeAt(schema); !ok || !at.Before(before) {
			continue
		}
		_, err := conn.Exec(ctx, `drop schema if exists `+pgx.Identifier{schema}.Sanitize()+` cascade`)
		if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == lockNotAvailable {
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

const lockNotAvailable = "55P03"
