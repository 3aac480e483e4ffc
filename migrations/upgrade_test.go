package migrations_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/pgsocket/socketio/migrations"
	"github.com/pgsocket/socketio/pgtest"
)

// TestDown_LosesADeadlock: a transaction of somebody holds a table that is to be dropped, and wants what Down holds.
func TestDown_LosesADeadlock_TriesAgain(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	other, watch := connectTo(t, dsn), connectTo(t, dsn)
	other.exec(t, "set search_path = "+schema+"; set deadlock_timeout = '10min'; set lock_timeout = '1min'")
	other.exec(t, "begin; lock table sessions in access share mode")
	done := make(chan error, 1)
	go func() { // ends with Down, which is waited for
		done <- migrations.Down(t.Context(), with(t, dsn, "deadlock_timeout=2s"), &migrations.Options{Schema: schema})
	}()
	for watch.text(t, "select count(*)::text from pg_locks where not granted and relation = $1::regclass", schema+".sessions") == "0" {
		if t.Context().Err() != nil {
			t.Fatal(t.Context().Err())
		}
	}
	other.exec(t, "lock table socketio_migrations in row exclusive mode")
	other.exec(t, "rollback")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if v := version(t, dsn, &migrations.Options{Schema: schema}); v != 0 {
		t.Errorf("version %d", v)
	}
}

func TestDown_SaysWhatItRemoved(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	conn := connectTo(t, dsn)
	conn.exec(t, "set search_path = "+schema)
	table := schema + "_orders"
	conn.exec(t, "create table public."+table+" (id int primary key)")
	t.Cleanup(func() { conn.exec(t, "drop table public."+table) })
	conn.exec(t, "select attach_trigger('public."+table+"', room => 'orders', event => 'order')")
	conn.exec(t, "select append(1, 1, 3, '\\x01', false)")
	conn.exec(t, "select emit('r', 'waits', key => 'k')")
	conn.exec(t, "select claim_request(sha256('r'), sha256('c'), 1000, 1000)")
	conn.exec(t, "create view mine as select * from sessions")

	var said strings.Builder
	opts := &migrations.Options{Schema: schema, Logger: slog.New(slog.NewTextHandler(&said, nil))}
	if err := migrations.Down(t.Context(), dsn, opts); err == nil || said.Len() > 0 {
		t.Errorf("Down that fails: %v, %s", err, said.String())
	}
	conn.exec(t, "drop view mine")
	for range 2 { // the second time there is nothing to remove
		if err := migrations.Down(t.Context(), dsn, opts); err != nil {
			t.Fatal(err)
		}
	}
	text := strings.NewReplacer(`\"`, "", `"`, "").Replace(said.String()) // the server may quote all names
	for _, want := range []string{"events=3", "emitted_from_sql=1", "keys=1", "answers=1", "sessions=0", "on public." + table, fmt.Sprintf("version=%d", migrations.Latest)} {
		if !strings.Contains(text, want) {
			t.Errorf("nothing of %q in %s", want, text)
		}
	}
	if strings.Contains(text, "presence_changed") {
		t.Errorf("a trigger on a table of the schema in %s", text)
	}
	if n := strings.Count(text, "\n"); n != 1 {
		t.Errorf("%d lines", n)
	}
}
