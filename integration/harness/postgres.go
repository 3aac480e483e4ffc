package harness

import (
	"testing"

	"github.com/pgsocket/socketio/internal/pgserver"
	"github.com/pgsocket/socketio/pgtest"
)

// PrivatePostgres starts a Postgres for one test, and returns a migrated schema in it.
func PrivatePostgres(t *testing.T) (srv *pgserver.Server, dsn, schema string) {
	t.Helper()
	return PrivatePostgresWith(t, pgserver.Options{Fast: true})
}

// PrivatePostgresWith is PrivatePostgres with options.
func PrivatePostgresWith(t *testing.T, opts pgserver.Options) (srv *pgserver.Server, dsn, schema string) {
	t.Helper()
	srv, err := pgserver.Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Stop(); err != nil {
			t.Errorf("stop the private Postgres: %v", err)
		}
	})
	dsn, schema = pgtest.Schema(t, pgtest.On(srv.DSN()))
	return srv, dsn, schema
}
