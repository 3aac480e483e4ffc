// Package pgtest provides each test with its own migrated schema in a real Postgres.
//
//	func TestOrders_Delivered(t *testing.T) {
//		dsn, schema := pgtest.Schema(t)
//		db, err := pgadapter.Open(t.Context(), dsn, &pgadapter.Options{Schema: schema})
//		…
//	}
//
// Schemas are independent, so that tests may run in parallel. The Postgres is the first available one of these:
//
//   - that of [On], for example a container that the test started;
//   - that of the environment variable DATABASE_URL; the user needs the right to create schemas in the database;
//   - a private server, started from the binaries installed on this machine. The tests of a test binary share it. It is
//     stopped when the test binary ends, even if it is killed.
//
// If none is available, the test fails with an error that names what to install. With -short it is skipped instead,
// unless CI=true.
//
// A schema is dropped when its test ends. The schemas of a killed run are dropped by a later run, once they are two hours
// old.
package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/internal/pgaddress"
	"github.com/pgsocket/socketio/internal/pgserver"
)

// Option configures [Schema].
type Option func(*settings)

type settings struct {
	dsn      string
	nameOnly bool
}

// On selects the Postgres at dsn.
func On(dsn string) Option { return func(s *settings) { s.dsn = dsn } }

// NameOnly makes [Schema] return an unused name without creating the schema. A schema with that name is dropped when the
// test ends.
func NameOnly() Option { return func(s *settings) { s.nameOnly = true } }

// Schema creates a schema for this test with this module's tables, and returns its name and the address of the Postgres.
// It waits for the migrations, and in the first call for the start of a private server. It fails the test on an error.
func Schema(t testing.TB, opts ...Option) (dsn, schema string) {
	t.Helper()
	var s settings
	for _, opt := range opts {
		opt(&s)
	}
	if s.dsn == "" {
		s.dsn = DSN(t)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := sweepOnce(ctx, s.dsn); err != nil {
		t.Fatalf("pgtest: drop the schemas of earlier runs: %v", err)
	}
	schema = newName(time.Now())
	t.Cleanup(func() {
		// The test's own context has ended by now.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if err := drop(ctx, s.dsn, schema); err != nil {
			t.Errorf("pgtest: drop schema %s (close connections that lock its tables): %v", schema, err)
		}
	})
	if s.nameOnly {
		return s.dsn, schema
	}
	if err := migrate(ctx, s.dsn, schema); err != nil {
		t.Fatalf("pgtest: migrate schema %s: %v", schema, err)
	}
	return s.dsn, schema
}

// DSN returns the address of the Postgres that [Schema] uses, for tests that need no schema.
func DSN(t testing.TB) string {
	t.Helper()
	if dsn := os.Getenv("DATABASE_URL"); dsn != "" {
		return dsn
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dsn, err := private.start(ctx)
	if errors.Is(err, pgserver.ErrNotInstalled) && testing.Short() && os.Getenv("CI") != "true" {
		t.Skip("pgtest:", err)
	}
	if err != nil {
		t.Fatal("pgtest: ", err)
	}
	return dsn
}

// Main runs the tests of a binary, then stops its private server and waits until it has ended. It is for a TestMain that
// checks for leaks; without it the server is stopped after the end of the test binary.
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
func Main(m interface{ Run() int }) (code int) {
	code = m.Run()
	if err := private.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		return max(code, 1)
	}
	return code
}

const (
	prefix = "pgtest_"
	stale  = 2 * time.Hour // longer than any test run
)

// newName returns a unique name that contains the time of creation: pgtest_6920a1b2_k3jq5vexa2.
func newName(now time.Time) string {
	return fmt.Sprintf("%s%08x_%s", prefix, now.Unix(), strings.ToLower(rand.Text()[:10]))
}

// madeAt returns the time in a schema's name; ok is false if newName did not make the name.
func madeAt(schema string) (at time.Time, ok bool) {
	var seconds int64
	var random string
	if _, err := fmt.Sscanf(schema, prefix+"%08x_%s", &seconds, &random); err != nil {
		return time.Time{}, false
	}
	return time.Unix(seconds, 0), true
}

func drop(ctx context.Context, dsn, schema string) error {
	conn, err := connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, `drop schema if exists `+pgx.Identifier{schema}.Sanitize()+` cascade`)
	return err
}

// connect opens a connection with a lock timeout, so that a lock that a test did not release is an error.
func connect(ctx context.Context, dsn string) (*pgx.Conn, error) {
	cfg, err := pgaddress.Parse(dsn)
	if err != nil {
		return nil, err
	}
	cfg.RuntimeParams["lock_timeout"] = "10s"
	return pgx.ConnectConfig(ctx, cfg)
}
