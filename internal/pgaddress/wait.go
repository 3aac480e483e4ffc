package pgaddress

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// DefaultWait is the default time for attempts of a first connection.
const DefaultWait = 30 * time.Second

const (
	waitPause = 200 * time.Millisecond
	waitLog   = 5 * time.Second // between two log lines
	waitTry   = 10 * time.Second
	waitLeast = time.Second // for an attempt
)

// A Waiter waits for a Postgres that does not accept connections, for Timeout over all its
// calls of Wait. It is used by one goroutine.
type Waiter struct {
	Timeout time.Duration // zero means DefaultWait; a negative one means a single attempt
	Logger  *slog.Logger

	began time.Time // of the first call of Wait
	found bool      // Postgres has answered: later attempts may be longer
}

// Wait calls try until it succeeds, fails with a permanent error, or Timeout has passed. Then
// its error names how long it waited, unless there was a single attempt that was answered, and the last error of try. Temporary errors are those of a
// Postgres that does not run yet, starts, shuts down, has no connection left, or refuses the
// credentials, which may be new, and all errors of a pool's hooks. The first failure is
// logged at once, later ones every five seconds, and the end of the wait.
func (w *Waiter) Wait(ctx context.Context, try func(context.Context) error) error {
	if w.began.IsZero() {
		w.began = time.Now()
	}
	timeout := w.timeout()
	var logged time.Time
	var last error
	for {
		err := w.attempt(ctx, try)
		waited := time.Since(w.began).Round(time.Millisecond)
		switch {
		case err == nil:
			w.found = true
			if last != nil {
				w.Logger.InfoContext(ctx, "Postgres accepts the connection", slog.String("waited", waited.String()))
			}
			return nil
		case ctx.Err() != nil:
			return canceled(ctx, waited, last, err)
		case !unavailable(err):
			return permanent(err)
		case waited+waitPause > timeout:
			return w.gaveUp(waited, err)
		}
		last = err
		if logged.IsZero() || time.Since(logged) >= waitLog {
			logged = time.Now()
			w.Logger.WarnContext(ctx, "Postgres does not accept the connection yet; trying again",
				slog.String("waited", waited.String()), slog.String("connect_timeout", timeout.String()), slog.Any("error", oneLine(err)))
		}
		timer := time.NewTimer(waitPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return canceled(ctx, time.Since(w.began).Round(time.Millisecond), last, last)
		}
	}
}

func (w *Waiter) timeout() time.Duration {
	if w.Timeout == 0 {
		return DefaultWait
	}
	return max(w.Timeout, 0)
}

// attempt calls try, for no longer than may be waited: a server that is frozen, or a firewall,
// does not answer at all.
func (w *Waiter) attempt(ctx context.Context, try func(context.Context) error) error {
	limit := waitTry
	if left := w.timeout() - time.Since(w.began); w.Timeout >= 0 && !w.found {
		limit = min(max(left, waitLeast), waitTry)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return try(ctx)
}

// canceled returns the error of a wait whose ctx ended during or after an attempt that failed
// with err. If there was an attempt before, with the error last, that one says why it waited.
func canceled(ctx context.Context, waited time.Duration, last, err error) error {
	if last == nil {
		last = err
	}
	return fmt.Errorf("waited %v for Postgres: %w: %w", waited, context.Cause(ctx), oneLine(last))
}

func (w *Waiter) gaveUp(waited time.Duration, err error) error {
	what := "no connection to Postgres"
	if refused(err) {
		what = "the user or the password is refused by Postgres"
	}
	switch {
	case w.Timeout >= 0:
		what += fmt.Sprintf(" (waited %v, see ConnectTimeout)", waited)
	case errors.Is(err, context.DeadlineExceeded):
		what += fmt.Sprintf(" (no answer in %v)", waited)
	}
	return fmt.Errorf("%s: %w", what, oneLine(err))
}

// permanent returns err in one line, with what to do where it concerns the address.
func permanent(err error) error {
	if pg := PostgresError(err); pg != nil && pg.Code == "3D000" {
		return fmt.Errorf("the database does not exist; create it, or correct its name in the address: %w", oneLine(err))
	}
	return oneLine(err)
}

// A lineError has the text of an error in one line. pgx puts each attempt of a connection, one
// for each address of a name and each mode of TLS, in a line of its own. Of lines that are
// equal, such as those of an address that refuses with and without TLS, it has one.
type lineError struct{ error }

func (e lineError) Error() string {
	var lines []string
	for line := range strings.Lines(e.error.Error()) {
		if line = strings.Join(strings.Fields(line), " "); line != "" && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, " ")
}

func (e lineError) Unwrap() error { return e.error }

func oneLine(err error) error {
	if !strings.Contains(err.Error(), "\n") {
		return err
	}
	return lineError{err}
}

// refused reports whether the credentials were not accepted.
func refused(err error) bool {
	pg := PostgresError(err)
	return pg != nil && strings.HasPrefix(pg.Code, "28")
}

// unavailable reports whether a later attempt may succeed without a change of the address
// or the schema. An error that is not from Postgres is a network error.
func unavailable(err error) bool {
	pg := PostgresError(err)
	if pg == nil {
		connect, ok := errors.AsType[*pgconn.ConnectError](err)
		hook, isHook := errors.AsType[*hookError](err)
		return ok && connect != nil || isHook && hook != nil || pgconn.Timeout(err) || pgconn.SafeToRetry(err) || errors.Is(err, context.DeadlineExceeded)
	}
	switch pg.Code[:min(2, len(pg.Code))] {
	case "08", "28", "53", "57", "58":
		return pg.Code != "57014" // a statement was cancelled
	}
	return false
}
