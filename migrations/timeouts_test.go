package migrations_test

import (
	"testing"
	"time"

	"github.com/pgsocket/socketio/migrations"
	"github.com/pgsocket/socketio/pgtest"
)

// Up waits for another one for longer than a statement or a transaction of the role may take.
func TestUp_WaitsBeyondTheTimeoutsOfTheRole(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	watch, holder := connectTo(t, dsn), connectTo(t, dsn)
	timeouts := "lock_timeout=1&statement_timeout=500&idle_in_transaction_session_timeout=500&application_name=" + schema
	if watch.text(t, "show server_version_num") >= "170000" {
		timeouts += "&transaction_timeout=500"
	}
	holder.exec(t, "begin")
	holder.exec(t, "lock table "+schema+".socketio_migrations in share row exclusive mode")
	done := make(chan error, 1)
	go func() {
		done <- migrations.Up(t.Context(), with(t, dsn, timeouts), &migrations.Options{Schema: schema})
	}()
	const waits = "select exists (select from pg_stat_activity where application_name = $1 and wait_event_type = 'Lock' and now() - query_start > interval '1s')::text"
	for watch.text(t, waits, schema) != "true" {
		select {
		case err := <-done:
			t.Fatalf("it did not wait: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
	holder.exec(t, "commit")
	if err := <-done; err != nil {
		t.Error(err)
	}
}
