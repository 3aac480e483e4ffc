// Package pgtest gives every test a migrated schema of its own in a real Postgres.
//
//	func TestOrdersReachTheKitchen(t *testing.T) {
//		dsn, schema := pgtest.Schema(t)
//		db, err := pgadapter.Open(t.Context(), dsn, &pgadapter.Options{Schema: schema})
//		…
//	}
//
// Schemas do not see each other, so that tests may run in parallel. The Postgres is the first of these that there is:
//
//   - the one of [On], say a container that the test started;
//   - the one that the environment's DATABASE_URL names; the user needs the right to create schemas in that database;
//   - a private server, started from the binaries installed on this machine. Its tests share it within a test binary,
//     and it goes with the test binary, however that ends.
//
// Without any, the test fails and says what to install. Under -short it is skipped instead, unless CI=true.
//
// A schema is dropped when its test ends. What a killed run left behind in a lasting database is dropped by a later run,
// when it is two hours old.
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

// Option changes what [Schema] gives.
type Option func(*settings)

type settings struct {
	dsn      string
	nameOnly bool
}

// On uses the Postgres at dsn and looks for no other.
func On(dsn string) Option { return func(s *settings) { s.dsn = dsn } }

// NameOnly gives a name that no schema has yet, and leaves it to the test to create the schema. It is dropped all the same.
func NameOnly() Option { return func(s *settings) { s.nameOnly = true } }

// Schema gives a schema for this test alone, with this module's tables in it, and how to reach it.
// It waits for a private server to start, the first time; and for the migrations.
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
		t.Fatalf("pgtest: drop what earlier runs left: %v", err)
	}
	schema = newName(time.Now())
	t.Cleanup(func() {
		// The test's own context has ended by now.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if err := drop(ctx, s.dsn, schema); err != nil {
			t.Errorf("pgtest: drop schema %s, does a connection still hold its tables? %v", schema, err)
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

// DSN is the Postgres that [Schema] uses, for tests that need no schema.
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

// Main runs the tests of a binary, then stops its private server and waits for it to be gone. It is for a TestMain that
// looks for leaks; a test binary without it leaves nothing behind either.
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
	stale  = 2 * time.Hour // longer than any run of tests takes
)

// newName tells when the schema was made, and is unlike any other: pgtest_6920a1b2_k3jq5vexa2.
func newName(now time.Time) string {
	return fmt.Sprintf("%s%08x_%s", prefix, now.Unix(), strings.ToLower(rand.Text()[:10]))
}

// madeAt reads the time in a schema's name; ok is false for a schema that is none of ours.
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

// connect opens a connection that would rather fail than wait for a lock that a test forgot.
func connect(ctx context.Context, dsn string) (*pgx.Conn, error) {
	cfg, err := pgaddress.Parse(dsn)
	if err != nil {
		return nil, err
	}
	cfg.RuntimeParams["lock_timeout"] = "10s"
	return pgx.ConnectConfig(ctx, cfg)
}
