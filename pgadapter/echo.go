package pgadapter

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	echoPrefix  = "echo " // of a notification by which a node tests whether it receives any
	echoTimeout = time.Second

	// pollOnlyInterval is the poll interval while notifications do not arrive.
	pollOnlyInterval = 20 * time.Millisecond
)

var errNotNotified = errors.New("notifications do not arrive on the connection that listens, as behind a transaction-mode pooler; " +
	"set Options.ListenDSN to the direct address of Postgres, or set Options.PollOnly")

// An echo is a notification that the node sends to itself after LISTEN, over another connection: a
// pooler in transaction mode accepts LISTEN and delivers nothing. The zero echo is not sent yet.
type echo struct {
	text    string // the payload that was sent
	sent    time.Time
	arrived bool
}

// testEcho sends the echo of a new connection, and detects that it does not arrive.
func (t *tail) testEcho(ctx context.Context) {
	e := &t.echo
	switch {
	case t.db.opts.PollOnly || e.arrived:
	case e.text == "":
		text := echoPrefix + rand.Text()
		ctx, cancel := context.WithTimeout(ctx, echoTimeout)
		defer cancel()
		if _, err := t.db.pool.Exec(ctx, t.db.queries.notify, t.db.opts.Schema, text); err == nil {
			e.text, e.sent = text, time.Now()
		} // else: after the next read of the log
	case time.Since(e.sent) > echoTimeout && !t.unnotified:
		t.update(func() { t.unnotified = true })
		t.db.opts.Logger.WarnContext(ctx, "the log is polled", slog.Any("cause", errNotNotified), slog.Duration("every", t.poll()))
	}
}

// handleNotification handles a notification that names no batch, and reports whether it was one.
func (t *tail) handleNotification(ctx context.Context, conn *pgx.Conn, payload string) (done bool, err error) {
	if strings.HasPrefix(payload, echoPrefix) {
		return true, t.receiveEcho(ctx, conn, payload)
	}
	t.update(func() { t.notified = time.Now() })
	if payload != relayNotification {
		return false, nil
	}
	t.db.relay.wake()
	return true, nil
}

// receiveEcho records that notifications arrive, if the echo is that of this connection.
func (t *tail) receiveEcho(ctx context.Context, conn *pgx.Conn, payload string) error {
	if t.echo.arrived || payload != t.echo.text {
		return nil
	}
	t.echo.arrived = true
	if t.unnotified {
		t.update(func() { t.unnotified = false })
		t.db.opts.Logger.InfoContext(ctx, "notifications arrive")
	}
	// The connection is not pooled, and listens even if it is idle for long.
	_, err := conn.Exec(ctx, "set idle_session_timeout = 0")
	return err
}

// poll returns the interval of polls.
func (t *tail) poll() time.Duration {
	if t.unnotified {
		return min(pollOnlyInterval, t.db.opts.PollInterval)
	}
	return t.db.opts.PollInterval
}

// untilNextRead returns how long to wait for a notification.
func (t *tail) untilNextRead() time.Duration {
	if t.echo.text != "" && !t.echo.arrived && !t.unnotified {
		return min(t.poll(), max(echoTimeout-time.Since(t.echo.sent), 0)+time.Millisecond)
	}
	return t.poll()
}

// health returns an error if the log is not followed, or only by polling.
func (t *tail) health() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case !t.following:
		return fmt.Errorf("the log has not been read since %v", t.caughtUp.Round(time.Millisecond))
	case t.unnotified:
		return fmt.Errorf("the log is only polled, every %v: %w", t.poll(), errNotNotified)
	}
	return nil
}

// reopened returns conn, or a new connection if idle_session_timeout closed conn between two
// polls; only a connection that listens can disable that timeout.
func (t *tail) reopened(ctx context.Context, conn *pgx.Conn) (*pgx.Conn, error) {
	if !t.db.opts.PollOnly || t.db.opts.PollInterval < pingAfter {
		return conn, nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if conn.Ping(ctx) == nil {
		return conn, nil
	}
	t.conn.drop()
	return t.connect(ctx)
}
