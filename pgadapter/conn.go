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
// thought dead.
const answerTimeout = 10 * time.Second

// pingAfter is the time after which an idle connection may be closed: by idle_session_timeout,
// or by what lies between.
const pingAfter = 500 * time.Millisecond

// A querier is a connection or a pool of them.
type querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// A dedicatedConn is a connection that one goroutine owns, and opens again when it broke.
type dedicatedConn struct {
	config *pgx.ConnConfig
	conn   *pgx.Conn
}

// open returns the connection, and whether it is a new one.
func (l *dedicatedConn) open(ctx context.Context) (conn *pgx.Conn, fresh bool, err error) {
	if l.conn != nil && !l.conn.IsClosed() {
		return l.conn, false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	l.conn, err = pgx.ConnectConfig(ctx, l.config)
	if err == nil {
		registerTypes(l.conn.TypeMap())
	}
	return l.conn, err == nil, err
}

// drop closes the connection.
func (l *dedicatedConn) drop() {
	if l.conn == nil {
		return
	}
	// Its own time: it is closed because the owner's ctx has ended, or is broken.
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = l.conn.Close(ctx) // nobody needs it any more
	l.conn = nil
}

// sessionSettings are what the statements of this package need, whatever the role, the
// database or the server has. Appends at another isolation level would not see what
// others append meanwhile; the others change the form of values, and jit takes far longer
// than the statements do, where a database has it for all.
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

// pinSettings has the connections of config begin with the settings that this package needs. A
// pooler may refuse to pass them on: then the connections have what their role has.
// They are not set by statements, because a pooler would give them to its other clients.
//
// It is the first contact, and waits for Postgres as Options.ConnectTimeout says.
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

// prepareConn makes a new connection of the pool ready, and notes whether Postgres closes it when it is idle.
func prepareConn(ctx context.Context, conn *pgx.Conn) error {
	registerTypes(conn.TypeMap())
	results, err := conn.PgConn().Exec(ctx, "show idle_session_timeout").ReadAll()
	if err == nil && len(results) == 1 && len(results[0].Rows) == 1 {
		conn.PgConn().CustomData()[idleKey] = string(results[0].Rows[0][0])
	}
	return err
}

// closesIdle reports whether Postgres closes a connection of the pool when it is idle. Others need not be asked
// whether they are open, for whatever fails is tried again.
func closesIdle(conn *pgx.Conn) bool {
	timeout, _ := conn.PgConn().CustomData()[idleKey].(string)
	return timeout != "0"
}

// configure sets what every connection of ours has.
func configure(config *pgx.ConnConfig) {
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "pgsocket"
	}
	dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3,
	}}
	config.DialFunc = dialer.DialContext
}
