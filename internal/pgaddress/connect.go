package pgaddress

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A hookError is the error of a function of the application that is called for each
// connection. A later attempt may succeed: a store of secrets may not be up yet. It may wrap
// an error of Postgres, to a statement of the application: see [PostgresError].
type hookError struct {
	hook string
	err  error
}

func (e *hookError) Error() string { return fmt.Sprintf("%s of the pool: %v", e.hook, e.err) }

func (e *hookError) Unwrap() error { return e.err }

// PostgresError returns the error of Postgres in err, or nil if there is none, or if it
// answers a statement of a hook of [FromPool]: its SQLSTATE says nothing about the statements
// of this module. Everything that decides by a SQLSTATE asks this function.
func PostgresError(err error) *pgconn.PgError {
	if _, ok := errors.AsType[*hookError](err); ok {
		return nil
	}
	pg, _ := errors.AsType[*pgconn.PgError](err)
	return pg
}

var errNoPool = errors.New("the pool is nil")

// FromPool returns how pool makes its connections, for connections outside of it: its address,
// TLS, DialFunc, tracer and parameters, and its hooks BeforeConnect, AfterConnect and
// BeforeClose. It leaves out what belongs to the use of the pool: the hooks of acquiring and
// releasing, and the minimum of connections. The pool is not changed, and its connections are
// not used.
func FromPool(pool *pgxpool.Pool) (*pgxpool.Config, error) {
	if pool == nil {
		return nil, errNoPool
	}
	config := pool.Config()
	config.BeforeAcquire, config.PrepareConn, config.AfterRelease, config.ShouldPing = nil, nil, nil, nil //nolint:staticcheck // a deprecated field is cleared
	config.MinConns, config.MinIdleConns = 0, 0
	before := config.BeforeConnect
	config.BeforeConnect = func(ctx context.Context, c *pgx.ConnConfig) error {
		if before != nil {
			if err := before(ctx, c); err != nil {
				return &hookError{"BeforeConnect", err}
			}
		}
		if after := c.AfterConnect; after != nil {
			c.AfterConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
				if err := after(ctx, conn); err != nil {
					return &hookError{"ConnConfig.AfterConnect", err}
				}
				return nil
			}
		}
		return nil
	}
	if after := config.AfterConnect; after != nil {
		config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
			if err := after(ctx, conn); err != nil {
				return &hookError{"AfterConnect", err}
			}
			restoreTypes(conn.TypeMap())
			return nil
		}
	}
	return config, nil
}

// restoreTypes makes a connection encode and decode the types of this module's statements as
// pgx does, whatever a hook has registered for them.
func restoreTypes(m *pgtype.Map) {
	own := pgtype.NewMap()
	for _, name := range []string{"bool", "int2", "int4", "int8", "float8", "text", "varchar", "name", "bytea", "json", "jsonb", "timestamptz", "interval"} {
		for _, name := range []string{name, "_" + name} {
			if t, ok := own.TypeForName(name); ok {
				m.RegisterType(t)
			}
		}
	}
}

// Connect opens a connection that belongs to no pool, and calls the hooks of config as a pool
// with it does. [Close] closes it.
func Connect(ctx context.Context, config *pgxpool.Config) (*pgx.Conn, error) {
	c := config.ConnConfig.Copy()
	if config.BeforeConnect != nil {
		if err := config.BeforeConnect(ctx, c); err != nil {
			return nil, err
		}
	}
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return nil, err
	}
	if config.AfterConnect != nil {
		if err := config.AfterConnect(ctx, conn); err != nil {
			_ = conn.Close(ctx) // the error says more
			return nil, err
		}
	}
	return conn, nil
}

// Close closes a connection of [Connect], whose hook BeforeClose it calls.
func Close(ctx context.Context, config *pgxpool.Config, conn *pgx.Conn) error {
	if config.BeforeClose != nil {
		config.BeforeClose(conn)
	}
	return conn.Close(ctx)
}
