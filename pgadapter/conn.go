package pgadapter

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgsocket/socketio/internal/pgaddress"
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
	config *pgxpool.Config
	conn   *pgx.Conn
}

// open returns the connection, and whether it is new.
func (c *dedicatedConn) open(ctx context.Context) (conn *pgx.Conn, fresh bool, err error) {
	if c.conn != nil && !c.conn.IsClosed() {
		return c.conn, false, nil
	}
	c.drop()
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	c.conn, err = pgaddress.Connect(ctx, c.config)
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
	_ = pgaddress.Close(ctx, c.config, c.conn) // the connection is discarded in any case
	c.conn = nil
}

// sessionSettings returns the settings that the statements of this package need, regardless
// of those of the role, the database or the server. At another isolation level, appends
// would not see concurrent appends; the others determine the text form of values; and jit
// takes far longer than the statements themselves.
func sessionSettings() map[string]string {
	return map[string]string{
		"client_encoding":                "UTF8",
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

// prepare gives the connections of config what this package needs, whatever the hooks of
// config do: a name, keepalives, sessionSettings, and the types of the statements.
// If a pooler refuses to pass the settings on, the connections have those of their role. They
// are not set by statements, because a pooler would apply those to its other clients.
//
// It makes the first connection, and waits for Postgres with w.
func prepare(ctx context.Context, config *pgxpool.Config, w *pgaddress.Waiter) error {
	settings, before, after := sessionSettings(), config.BeforeConnect, config.AfterConnect
	passed := true // changed only below, before there are other connections
	config.BeforeConnect = func(ctx context.Context, c *pgx.ConnConfig) error {
		if before != nil {
			if err := before(ctx, c); err != nil {
				return err
			}
		}
		configure(c)
		for name, value := range settings {
			delete(c.RuntimeParams, name)
			if passed {
				c.RuntimeParams[name] = value
			}
		}
		return nil
	}
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		if after != nil {
			if err := keepSettings(ctx, conn.PgConn(), func() error { return after(ctx, conn) }); err != nil {
				return err
			}
		}
		return prepareConn(ctx, conn)
	}
	return w.Wait(ctx, func(ctx context.Context) error {
		conn, err := pgaddress.Connect(ctx, config)
		if pg := pgaddress.PostgresError(err); pg != nil && strings.HasPrefix(pg.Code, "08") && strings.Contains(pg.Message, "startup parameter") {
			passed = false
			return nil
		}
		if err != nil {
			return err
		}
		return pgaddress.Close(ctx, config, conn)
	})
}

// keepSettings calls a hook of the application, and restores those of sessionSettings that it
// changes. It sets nothing that the hook has not set, see prepare.
func keepSettings(ctx context.Context, conn *pgconn.PgConn, hook func() error) error {
	before, err := readSettings(ctx, conn)
	if err != nil {
		return err
	}
	if err := hook(); err != nil {
		return err
	}
	after, err := readSettings(ctx, conn)
	if err != nil {
		return err
	}
	var restore strings.Builder
	for name, value := range before {
		if after[name] != value {
			fmt.Fprintf(&restore, "select pg_catalog.set_config('%s', '%s', false);", name, strings.ReplaceAll(value, "'", "''"))
		}
	}
	if restore.Len() == 0 {
		return nil
	}
	return conn.Exec(ctx, restore.String()).Close()
}

func readSettings(ctx context.Context, conn *pgconn.PgConn) (map[string]string, error) {
	names := slices.Collect(maps.Keys(sessionSettings()))
	sql := "select pg_catalog.current_setting('" + strings.Join(names, "'), pg_catalog.current_setting('") + "')"
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, err
	}
	values := make(map[string]string)
	for i, value := range results[0].Rows[0] {
		values[names[i]] = string(value)
	}
	return values, nil
}

const idleKey = "idle_session_timeout"

// prepareConn prepares a new connection, and records whether Postgres closes it when it is idle.
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

// listening returns config for the connection that listens: pgx keeps its notifications for
// WaitForNotification.
func listening(config *pgxpool.Config) *pgxpool.Config {
	c := config.Copy()
	before := c.BeforeConnect
	c.BeforeConnect = func(ctx context.Context, conn *pgx.ConnConfig) error {
		err := before(ctx, conn)
		conn.OnNotification = nil
		return err
	}
	return c
}

// configure sets the name of a connection, if it has none, and its keepalive. It is dialed and
// opened as the application says. Notifications of channels on which a hook listens are
// discarded; without a function for them, pgx would keep them all.
func configure(config *pgx.ConnConfig) {
	if config.RuntimeParams == nil {
		config.RuntimeParams = make(map[string]string)
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "pgsocket"
	}
	config.OnNotification = func(*pgconn.PgConn, *pgconn.Notification) {}
	if after := config.AfterConnect; after != nil {
		config.AfterConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
			return keepSettings(ctx, conn, func() error { return after(ctx, conn) })
		}
	}
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if tcp, ok := conn.(*net.TCPConn); ok {
			// Without it a dead connection is noticed later, by a statement without an answer.
			_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{
				Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3,
			})
		}
		return conn, err
	}
}
