package pgadapter

import (
	"context"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// answerTimeout is how long a statement may take before its connection is
// thought dead.
const answerTimeout = 10 * time.Second

// A querier is a connection or a pool of them.
type querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// A line is a connection that one goroutine owns, and opens again when it broke.
type line struct {
	config *pgx.ConnConfig
	conn   *pgx.Conn
}

// open returns the connection, and whether it is a new one.
func (l *line) open(ctx context.Context) (conn *pgx.Conn, fresh bool, err error) {
	if l.conn != nil && !l.conn.IsClosed() {
		return l.conn, false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	l.conn, err = pgx.ConnectConfig(ctx, l.config)
	return l.conn, err == nil, err
}

// drop closes the connection.
func (l *line) drop() {
	if l.conn == nil {
		return
	}
	// Its own time: it is closed because the owner's ctx has ended, or is broken.
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = l.conn.Close(ctx) // nobody needs it any more
	l.conn = nil
}

// tune sets what every connection of ours has.
func tune(config *pgx.ConnConfig) {
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "pgsocket"
	}
	dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3,
	}}
	config.DialFunc = dialer.DialContext
}
