package pgaddress

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// DefaultWait is the default time for attempts of a first connection.
const DefaultWait = 30 * time.Second

const (
	waitPause = 200 * time.Millisecond
	waitLog   = 5 * time.Second // between two log lines
	waitTry   = 10 * time.Second
)

// Wait calls try until it succeeds, fails with a permanent error, or timeout has passed;
// then it returns the last error. Temporary errors are those of a Postgres that does not run
// yet, starts, shuts down, has no connection left, or refuses the credentials, which may be
// new. A timeout of zero means DefaultWait; a negative one means a single attempt.
// The first failure is logged at once, later ones every five seconds.
func Wait(ctx context.Context, timeout time.Duration, logger *slog.Logger, try func(context.Context) error) error {
	if timeout == 0 {
		timeout = DefaultWait
	}
	began, logged := time.Now(), time.Time{}
	for {
		err := attempt(ctx, try)
		waited := time.Since(began)
		switch {
		case err == nil || ctx.Err() != nil || !unavailable(err):
			return err
		case waited+waitPause > timeout:
			return gaveUp(timeout, err)
		}
		if logged.IsZero() || time.Since(logged) >= waitLog {
			logged = time.Now()
			logger.WarnContext(ctx, "Postgres does not accept the connection yet; trying again",
				slog.Duration("waited", waited.Round(time.Millisecond)), slog.Duration("connect_timeout", timeout), slog.Any("error", err))
		}
		timer := time.NewTimer(waitPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

func attempt(ctx context.Context, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, waitTry)
	defer cancel()
	return try(ctx)
}

func gaveUp(timeout time.Duration, err error) error {
	if timeout < 0 {
		timeout = 0
	}
	if refused(err) {
		return fmt.Errorf("the user or the password of the address is refused by Postgres (tried for %v, see ConnectTimeout): %w", timeout, err)
	}
	return fmt.Errorf("no connection to Postgres (tried for %v, see ConnectTimeout): %w", timeout, err)
}

// refused reports whether the credentials were not accepted.
func refused(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code[:2] == "28"
}

// unavailable reports whether a later attempt may succeed without a change of the address
// or the schema. An error that is not from Postgres is a network error.
func unavailable(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		connect, ok := errors.AsType[*pgconn.ConnectError](err)
		return ok && connect != nil || pgconn.Timeout(err) || pgconn.SafeToRetry(err) || errors.Is(err, context.DeadlineExceeded)
	}
	switch pg.Code[:2] {
	case "08", "28", "53", "57", "58":
		return pg.Code != "57014" // a statement was cancelled
	}
	return false
}
