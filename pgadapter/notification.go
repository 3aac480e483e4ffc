package pgadapter

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
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

// waitNotification waits for a notification. It returns nil when there is a handoff, the log
// must be read, or ctx ended.
func (t *tail) waitNotification(ctx context.Context, conn *pgx.Conn) (*pgconn.Notification, error) {
	ctx, interrupt := context.WithCancel(ctx)
	defer interrupt()
	if !t.armInterrupt(interrupt) {
		return nil, nil
	}
	if t.opts.PollOnly {
		<-ctx.Done()
		return nil, nil
	}
	n, err := conn.WaitForNotification(ctx)
	if err != nil && ctx.Err() != nil && !conn.IsClosed() {
		return nil, nil
	}
	return n, err
}

// drainNotifications consumes the notifications that have already arrived: the next read of
// the log returns all of their batches. Then it reads the notification key again if a seal
// did not match, at most once a second, because any role can send such notifications.
func (t *tail) drainNotifications(ctx context.Context, conn *pgx.Conn) error {
	over, cancel := context.WithCancel(ctx)
	cancel() // consume only what has already arrived
	for {
		n, err := conn.WaitForNotification(over)
		if n == nil || err != nil {
			break
		}
		if _, err := t.handleNotification(ctx, conn, n); err != nil {
			return err
		}
	}
	if !t.keyStale || time.Since(t.keyAsked) < time.Second {
		return nil
	}
	t.keyStale, t.keyAsked = false, time.Now()
	return t.sealer.refresh(ctx, conn, t.queries)
}

// handleNotification handles a notification that names no batch, and reports whether it was one.
// It ignores those of other channels, on which a hook of the application may listen.
func (t *tail) handleNotification(ctx context.Context, conn *pgx.Conn, n *pgconn.Notification) (done bool, err error) {
	payload := n.Payload
	if n.Channel != t.opts.Schema {
		return true, nil
	}
	if strings.HasPrefix(payload, echoPrefix) {
		return true, t.receiveEcho(ctx, conn, payload)
	}
	t.update(func() { t.notified = time.Now() })
	if payload != relayNotification {
		return false, nil
	}
	t.hooks.outboxPending()
	return true, nil
}

// parseNotification returns the batch in a notification, and whether it is complete. It is
// only the name of the batch if the notification has no frame, or one that is not sealed
// with the key that this node has; and the zero batch for other payloads. Any role can
// send a notification without a seal: treat it as a hint.
func (t *tail) parseNotification(payload string) (b *logBatch, carried bool) {
	fields := strings.SplitN(payload, " ", 5)
	m := batchPos{}
	for i, field := range [...]*int64{&m.id, &m.origin, &m.seq} {
		if i >= len(fields) {
			return &logBatch{}, false
		}
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return &logBatch{}, false
		}
		*field = n
	}
	if len(fields) < 5 {
		return &logBatch{batchPos: m}, false
	}
	name := payload[:len(fields[0])+len(fields[1])+len(fields[2])+3]
	frame, err := t.sealer.open(m, name, fields[3], fields[4])
	if err != nil {
		t.keyStale = true
		return &logBatch{batchPos: m}, false
	}
	m.packets = countPackets(frame)
	b, err = decodeBatch(t.opts.frames, t.sealer.number.Load(), m, frame)
	if err != nil {
		return &logBatch{batchPos: m}, false
	}
	return b, true
}

// testEcho sends the echo of a new connection, and detects that it does not arrive.
func (t *tail) testEcho(ctx context.Context) {
	e := &t.echo
	switch {
	case t.opts.PollOnly || e.arrived:
	case e.text == "":
		text := echoPrefix + rand.Text()
		ctx, cancel := context.WithTimeout(ctx, echoTimeout)
		defer cancel()
		if _, err := t.pool.Exec(ctx, t.queries.notify, t.opts.Schema, text); err == nil {
			e.text, e.sent = text, time.Now()
		} // else: after the next read of the log
	case time.Since(e.sent) > echoTimeout && !t.unnotified:
		t.update(func() { t.unnotified = true })
		t.opts.Logger.WarnContext(ctx, "the log is polled", slog.Any("error", errNotNotified), slog.String("every", t.poll().String()))
	}
}

// receiveEcho records that notifications arrive, if the echo is that of this connection.
func (t *tail) receiveEcho(ctx context.Context, conn *pgx.Conn, payload string) error {
	if t.echo.arrived || payload != t.echo.text {
		return nil
	}
	t.echo.arrived = true
	if t.unnotified {
		t.update(func() { t.unnotified = false })
		t.opts.Logger.InfoContext(ctx, "notifications arrive")
	}
	// The connection is not pooled, and listens even if it is idle for long.
	return execWithin(ctx, conn, "set idle_session_timeout = 0")
}
