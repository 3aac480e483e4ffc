package pgadapter

import (
	"context"
	"errors"
	"maps"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// answerTimeout is how long a statement may take before its connection is
// considered dead.
const answerTimeout = 10 * time.Second

// pingAfter is the time after which an idle connection may have been closed, by
// idle_session_timeout or by the network.
const pingAfter = 500 * time.Millisecond

// A querier is a connection or a pool.
type querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// A dedicatedConn is a connection that one goroutine owns, and that it reopens after a failure.
type dedicatedConn struct {
	config *pgx.ConnConfig
	conn   *pgx.Conn
}

// open returns the connection, and whether it is new.
func (c *dedicatedConn) open(ctx context.Context) (conn *pgx.Conn, fresh bool, err error) {
	if c.conn != nil && !c.conn.IsClosed() {
		return c.conn, false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	c.conn, err = pgx.ConnectConfig(ctx, c.config)
	if err == nil {
		registerTypes(c.conn.TypeMap())
	}
	return c.conn, err == nil, err
}

// drop closes the connection.
func (c *dedicatedConn) drop() {
	if c.conn == nil {
		return
	}
	// A context of its own: the connection is closed because the caller's ctx has ended, or is broken.
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.conn.Close(ctx) // the connection is discarded in any case
	c.conn = nil
}

// sessionSettings returns the settings that the statements of this package need, regardless
// of those of the role, the database or the server. At another isolation level, appends
// would not see concurrent appends; the others determine the text form of values; and jit
// takes far longer than the statements themselves.
func sessionSettings() map[string]string {
	return map[string]string{
		"default_transaction_isolation":  "read committed",
		"default_transaction_deferrable": "off",
		"standard_conforming_strings":    "on",
		"array_nulls":                    "on",
		"bytea_output":                   "hex",
		"datestyle":                      "ISO, MDY",
		"intervalstyle":                  "postgres",
		"jit":                            "off",
	}
}

// pinSettings makes the connections of config start with sessionSettings. If a pooler
// refuses to pass them on, the connections have the settings of their role. They are not
// set by statements, because a pooler would apply those to its other clients.
//
// It makes the first connection, and waits for Postgres as Options.ConnectTimeout allows.
func pinSettings(ctx context.Context, config *pgx.ConnConfig, o *Options) error {
	pinned := config.Copy()
	maps.Copy(pinned.RuntimeParams, sessionSettings())
	return o.wait(ctx, func(ctx context.Context) error { return tryPinned(ctx, config, pinned) })
}

func tryPinned(ctx context.Context, config, pinned *pgx.ConnConfig) error {
	conn, err := pgx.ConnectConfig(ctx, pinned)
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && strings.HasPrefix(pg.Code, "08") && strings.Contains(pg.Message, "startup parameter") {
		for name := range sessionSettings() {
			delete(config.RuntimeParams, name)
		}
		return nil
	}
	if err != nil {
		return err
	}
	config.RuntimeParams = pinned.RuntimeParams
	return conn.Close(ctx)
}

const idleKey = "idle_session_timeout"

// prepareConn prepares a new connection of the pool, and records whether Postgres closes it when it is idle.
func prepareConn(ctx context.Context, conn *pgx.Conn) error {
	registerTypes(conn.TypeMap())
	results, err := conn.PgConn().Exec(ctx, "show idle_session_timeout").ReadAll()
	if err == nil && len(results) == 1 && len(results[0].Rows) == 1 {
		conn.PgConn().CustomData()[idleKey] = string(results[0].Rows[0][0])
	}
	return err
}

// closesIdle reports whether Postgres closes a connection of the pool when it is idle. Other connections need
// no ping, because failed statements are retried.
func closesIdle(conn *pgx.Conn) bool {
	timeout, _ := conn.PgConn().CustomData()[idleKey].(string)
	return timeout != "0"
}

// configure sets the name and the keepalive of a connection.
func configure(config *pgx.ConnConfig) {
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "pgsocket"
	}
	dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3,
	}}
	config.DialFunc = dialer.DialContext
}
