package doctor

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// echoTimeout is that of nodes: a notification that takes longer is taken for lost.
const echoTimeout = time.Second

// checkListen sends a notification to a connection that listens, as a node does: a pooler in
// transaction mode accepts LISTEN and delivers nothing.
func checkListen(ctx context.Context, t *target) (Finding, error) {
	if t.o.PollOnly {
		return skipped("nodes with PollOnly do not listen"), nil
	}
	dsn, by := t.o.DSN, "this address"
	if t.o.ListenDSN != "" {
		dsn, by = t.o.ListenDSN, "--listen-dsn"
	}
	f := Finding{}
	took, err := t.echo(ctx, dsn)
	switch {
	case err == nil:
		return ok("a notification arrived through %s after %v", by, took.Round(10*time.Microsecond)), nil
	case !errors.Is(err, context.DeadlineExceeded):
		f.advise(Fail, "LISTEN through "+by+": "+err.Error(), "give --listen-dsn, and the option ListenDSN of nodes, the direct address of Postgres")
	default:
		f.advise(Fail, "notifications do not arrive through "+by+", as behind a pooler in transaction mode; nodes poll, and their Health fails",
			"set the option ListenDSN of nodes to the direct address of Postgres, and check it with --listen-dsn",
			"or set the option PollOnly, and check with --poll-only")
	}
	return f, nil
}

// echo returns how long a notification takes from the connection of t to one at dsn.
func (t *target) echo(ctx context.Context, dsn string) (time.Duration, error) {
	config, err := parse(dsn)
	if err != nil {
		return 0, err
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return 0, errors.New(strings.ReplaceAll(err.Error(), context.DeadlineExceeded.Error(), "timeout"))
	}
	defer conn.Close(context.WithoutCancel(ctx))
	channel := "pgsocket_doctor_" + strings.ToLower(rand.Text())
	if _, err := conn.Exec(ctx, "listen "+channel); err != nil {
		return 0, err
	}
	began := time.Now()
	if _, err := t.conn.Exec(ctx, "select pg_notify($1, '')", channel); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, echoTimeout)
	defer cancel()
	_, err = conn.WaitForNotification(ctx)
	return time.Since(began), err
}

func checkNotifications(ctx context.Context, t *target) (Finding, error) {
	var used int
	if err := t.row(ctx, "notifications", nil, &used); err != nil {
		return Finding{}, err
	}
	f := ok("%.1f %% of the queue of notifications is used", float64(used)/10)
	if used >= 500 {
		f.advise(Warn, "a session listens and stays in a transaction; when the queue is full nodes only poll",
			"end that session: it has executed LISTEN, on any channel, and is idle in a transaction (see transactions)")
	}
	return f, nil
}
