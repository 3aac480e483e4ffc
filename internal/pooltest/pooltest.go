// Package pooltest opens pools as applications do, for tests of what is made of a pool.
package pooltest

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Open returns a pool for an address, whose configuration change has changed. It is closed with the test.
func Open(t testing.TB, dsn string, change func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	change(config)
	pool, err := pgxpool.NewWithConfig(context.Background(), config) // connections of a cleanup too
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}
