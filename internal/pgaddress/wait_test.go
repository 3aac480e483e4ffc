package pgaddress_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsocket/socketio/internal/pgaddress"
)

func TestParse_ParametersOfThePool(t *testing.T) {
	t.Parallel()
	const address = "postgres://u@h/d?pool_max_conns=7&pool_min_conns=1&pool_max_conn_lifetime=1h&pool_health_check_period=1m&default_query_exec_mode=exec&application_name=a"
	config, err := pgaddress.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	if len(config.RuntimeParams) != 1 || config.RuntimeParams["application_name"] != "a" {
		t.Errorf("parameters for Postgres: %v", config.RuntimeParams)
	}
}

// An empty address is most likely a forgotten one, unless the environment names a database.
func TestParse_Empty(t *testing.T) {
	for _, name := range []string{"PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE"} {
		t.Setenv(name, "")
	}
	const want = "the database's address is empty; give one such as postgres://user:password@host:5432/database, or set PGHOST, PGUSER and PGDATABASE"
	for _, empty := range []string{"", " \n"} {
		if _, err := pgaddress.Parse(empty); err == nil || err.Error() != want {
			t.Errorf("%q: %v", empty, err)
		}
	}
	t.Setenv("PGDATABASE", "app")
	if config, err := pgaddress.Parse(""); err != nil || config.Database != "app" {
		t.Errorf("with PGDATABASE: %v", err)
	}
}

// What is no address at all gets an example of one.
func TestParse_NoAddress(t *testing.T) {
	t.Parallel()
	const want = "the database's address: failed to parse as keyword/value; give one such as postgres://user:password@host:5432/database"
	for _, text := range []string{"hello", "http://x/y", "localhost:5432/app"} {
		if _, err := pgaddress.Parse(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := pgaddress.Parse("postgres://u@h:x/d"); err == nil || err.Error() != "the database's address: invalid port" {
		t.Errorf("a wrong port: %v", err)
	}
}

// A record keeps log lines.
type record struct {
	mu    sync.Mutex
	lines []string
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, strings.TrimSpace(string(p)))
	return len(p), nil
}

func (r *record) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(r, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

func TestWait_Errors(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		state   string
		timeout time.Duration
		took    time.Duration
		says    string
	}{
		"starting":         {"57P03", 3 * time.Second, 3 * time.Second, "no connection to Postgres (waited 3s, see ConnectTimeout): FATAL: no (SQLSTATE 57P03)"},
		"default":          {"53300", 0, 30 * time.Second, "no connection to Postgres (waited 30s, see ConnectTimeout): FATAL: no (SQLSTATE 53300)"},
		"wrong password":   {"28P01", time.Second, time.Second, "the user or the password is refused by Postgres (waited 1s, see ConnectTimeout): FATAL: no (SQLSTATE 28P01)"},
		"not at all":       {"57P03", -1, 0, "no connection to Postgres: FATAL: no (SQLSTATE 57P03)"},
		"credentials once": {"28P01", -1, 0, "the user or the password is refused by Postgres: FATAL: no (SQLSTATE 28P01)"},
		"no such database": {"3D000", 0, 0, "the database does not exist; create it, or correct its name in the address: FATAL: no (SQLSTATE 3D000)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := &pgaddress.Waiter{Timeout: row.timeout, Logger: slog.New(slog.DiscardHandler)}
				began := time.Now()
				err := w.Wait(t.Context(), func(context.Context) error {
					return &pgconn.PgError{Severity: "FATAL", Message: "no", Code: row.state}
				})
				if err == nil || err.Error() != row.says {
					t.Errorf("%v", err)
				}
				if took := time.Since(began); took != row.took {
					t.Errorf("tried for %v", took)
				}
			})
		})
	}
}

// The time-out counts over all calls: each step of a start may find that Postgres is away.
func TestWait_OverSeveralCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &pgaddress.Waiter{Timeout: 10 * time.Second, Logger: slog.New(slog.DiscardHandler)}
		began := time.Now()
		until := func(d time.Duration) func(context.Context) error {
			return func(context.Context) error {
				if time.Since(began) < d {
					return &pgconn.PgError{Code: "57P03"}
				}
				return nil
			}
		}
		if err := w.Wait(t.Context(), until(6*time.Second)); err != nil {
			t.Fatal(err)
		}
		if err := w.Wait(t.Context(), until(time.Minute)); err == nil || time.Since(began) > 10*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

func TestWait_Progress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r record
		w := &pgaddress.Waiter{Logger: r.logger()}
		began := time.Now()
		err := w.Wait(t.Context(), func(context.Context) error {
			if time.Since(began) < 12*time.Second {
				return &pgconn.PgError{Severity: "FATAL", Message: "the database\n\tis starting", Code: "57P03"}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		const again = `level=WARN msg="Postgres does not accept the connection yet; trying again" waited=%s connect_timeout=30s error="FATAL: the database is starting (SQLSTATE 57P03)"`
		want := []string{
			fmt.Sprintf(again, "0s"), fmt.Sprintf(again, "5s"), fmt.Sprintf(again, "10s"),
			`level=INFO msg="Postgres accepts the connection" waited=12s`,
		}
		if !slices.Equal(r.lines, want) {
			t.Errorf("logged:\n%s\nwant:\n%s", strings.Join(r.lines, "\n"), strings.Join(want, "\n"))
		}
	})
}

// The error names why Postgres was waited for, not only that ctx ended.
func TestWait_CtxEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3100*time.Millisecond)
		defer cancel()
		w := &pgaddress.Waiter{Logger: slog.New(slog.DiscardHandler)}
		err := w.Wait(ctx, func(context.Context) error {
			return &pgconn.PgError{Severity: "FATAL", Message: "starting", Code: "57P03"}
		})
		const want = "waited 3.1s for Postgres: context deadline exceeded: FATAL: starting (SQLSTATE 57P03)"
		if !errors.Is(err, context.DeadlineExceeded) || err.Error() != want {
			t.Errorf("%v", err)
		}
	})
}

// A server that accepts connections and does not answer, as when it is frozen, is waited for no longer.
func TestWait_NoAnswer(t *testing.T) {
	t.Parallel()
	for timeout, want := range map[time.Duration]time.Duration{
		-1: 10 * time.Second, 500 * time.Millisecond: time.Second, 3 * time.Second: 3 * time.Second, 25 * time.Second: 25 * time.Second,
	} {
		t.Run(timeout.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := &pgaddress.Waiter{Timeout: timeout, Logger: slog.New(slog.DiscardHandler)}
				began := time.Now()
				err := w.Wait(t.Context(), func(ctx context.Context) error {
					<-ctx.Done()
					return ctx.Err()
				})
				says := fmt.Sprintf("no connection to Postgres (waited %v, see ConnectTimeout): context deadline exceeded", want)
				if timeout < 0 { // a single attempt
					says = fmt.Sprintf("no connection to Postgres (no answer in %v): context deadline exceeded", want)
				}
				if err == nil || err.Error() != says || time.Since(began) != want {
					t.Errorf("after %v: %v", time.Since(began), err)
				}
			})
		})
	}
}

// Poolers and other servers of the protocol may send an error without a SQLSTATE.
func TestWait_ErrorWithoutState(t *testing.T) {
	t.Parallel()
	w := pgaddress.Waiter{Timeout: -1, Logger: slog.New(slog.DiscardHandler)}
	for _, state := range []string{"", "2", "28"} {
		refused := &pgconn.PgError{Code: state, Message: "no"}
		if err := w.Wait(t.Context(), func(context.Context) error { return refused }); !errors.Is(err, refused) {
			t.Errorf("%q: %v", state, err)
		}
	}
}

// TestWait_SameErrorTwice: an address that refuses with and without TLS is named once.
func TestWait_SameErrorTwice(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	_ = listener.Close() // nobody listens there now
	config, err := pgx.ParseConfig("postgres://u@" + addr + "/d")
	if err != nil {
		t.Fatal(err)
	}
	w := &pgaddress.Waiter{Timeout: -1, Logger: slog.New(slog.DiscardHandler)}
	err = w.Wait(t.Context(), func(ctx context.Context) error {
		_, err := pgx.ConnectConfig(ctx, config)
		return err
	})
	if err == nil || strings.Count(err.Error(), "dial tcp "+addr) != 1 {
		t.Errorf("the error is %v", err)
	}
}
