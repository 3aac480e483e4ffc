package pgadapter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pgsocket/socketio/adapter/adaptertest"
	"github.com/pgsocket/socketio/internal/pgserver"
	"github.com/pgsocket/socketio/migrations"
	"github.com/pgsocket/socketio/pgtest"
)

// newServer starts a Postgres of the given major version, or of the installed one if that is missing.
func newServer(t *testing.T, major string, settings map[string]string) *pgserver.Server {
	t.Helper()
	opts := pgserver.Options{Fast: true, Settings: settings}
	bin, err := filepath.Abs("../integration/postgres/node_modules/postgres-" + major + "/native/bin")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(bin, "postgres")); err == nil {
		opts.Bin = bin
	}
	srv, err := pgserver.Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Stop() }) // its data is temporary
	return srv
}

// TestCutover_LogicalReplication_EmitsGoOn: the tables of a cluster are copied to another
// major version by logical replication, without the sequences, and the nodes move there. In
// one case the old log has been trimmed.
func TestCutover_LogicalReplication_EmitsGoOn(t *testing.T) {
	t.Parallel()
	for _, trimmed := range []bool{false, true} {
		t.Run(fmt.Sprintf("trimmed=%v", trimmed), func(t *testing.T) {
			t.Parallel()
			settings := map[string]string{"wal_level": "logical"}
			old := newBench(t, pgtest.On(newServer(t, "none", settings).DSN()))
			target := newServer(t, "17", settings)
			if err := migrations.Up(t.Context(), target.DSN(), &migrations.Options{Schema: old.schema}); err != nil {
				t.Fatal(err)
			}
			b := &bench{dsn: target.DSN(), schema: old.schema}
			b.conn = b.connect(t)

			dbs, got := old.nodes(t, 1, nil)
			storm(t, dbs, 2, 20, 0)
			execOn(t, old.conn, "select emit_all('old')", "select relay_outbox(true, true)")
			got[0].Expect(t, 41)
			if trimmed {
				old.trim(t)
			}
			execOn(t, b.conn, "truncate meta, socketio_migrations")
			execOn(t, old.conn, "create publication cutover for tables in schema "+quoted(old.schema))
			execOn(t, b.conn, fmt.Sprintf("create subscription cutover connection '%s' publication cutover", old.dsn))
			eventually(t, "the tables are copied", func() bool {
				return b.int(t, "select count(*) from pg_subscription_rel where srsubstate <> 'r'") == 0
			})
			if err := dbs[0].Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the last changes have arrived", func() bool {
				return b.int(t, "select count(*) from nodes") == 0 && b.int(t, "select count(*) from log") == old.int(t, "select count(*) from log")
			})
			execOn(t, b.conn, "alter subscription cutover disable", "alter subscription cutover set (slot_name = none)", "drop subscription cutover")

			nodes, heard := b.nodes(t, 2, nil)
			acked := storm(t, nodes, 4, 20, 0)
			execOn(t, b.conn, "select emit_all('sql')", "select emit('r', 'sql')")
			for _, r := range heard {
				all := adaptertest.Payloads(r.Expect(t, len(acked)+2))
				for _, one := range acked {
					if !slices.Contains(all, one) {
						t.Errorf("%s was acknowledged and not delivered", one)
					}
				}
			}
		})
	}
}

func TestIsolation_ChangedWhileNodesRun_NothingTwice(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"repeatable read", "serializable"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, pgtest.On(newServer(t, "none", nil).DSN()))
			dbs, heard := b.nodes(t, 2, nil)
			execOn(t, b.conn, "alter role postgres set default_transaction_isolation = '"+level+"'")
			b.terminate(t, "")
			conn := b.connect(t)
			const emits = 400
			var emitting sync.WaitGroup
			emitting.Go(func() {
				for i := range emits {
					if _, err := conn.Exec(context.Background(), "select "+quoted(b.schema)+".emit_all('sql', to_jsonb($1::int))", i); err != nil {
						t.Errorf("emit: %v", err)
						return
					}
				}
			})
			acked := storm(t, dbs, 4, 100, 0)
			emitting.Wait()
			for _, r := range heard {
				all := adaptertest.Payloads(r.Expect(t, len(acked)+emits))
				if n := len(slices.Compact(slices.Sorted(slices.Values(all)))); n != len(acked)+emits {
					t.Errorf("%d different events of %d", n, len(acked)+emits)
				}
			}
		})
	}
}

// TestIsolation_OtherLevel_Refused: an isolation level that does not see concurrent appends is refused.
func TestIsolation_OtherLevel_Refused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	execOn(t, b.conn, "select emit_all('x')")
	for _, sql := range []string{
		"select append(1, 1, 1, decode('01ff00000000', 'hex'), false)", "select relay_outbox(true, false)", "select seen_after(0, pg_current_snapshot(), false)",
	} {
		execOn(t, b.conn, "begin isolation level repeatable read")
		if _, err := b.conn.Exec(t.Context(), sql); sqlState(err) != "PS002" {
			t.Errorf("%s: %v", sql, err)
		}
		execOn(t, b.conn, "rollback")
	}
}

// TestOpen_IsolationBehindAPooler: a pooler that does not pass settings on, and a role
// with another isolation level.
func TestOpen_IsolationBehindAPooler(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.dsn = b.as(t, "repeatable read")
	o := Options{Schema: b.schema, ListenDSN: b.dsn}
	db, err := Open(t.Context(), b.dsn, &o)
	if err != nil {
		t.Fatalf("without a pooler: %v", err)
	}
	if err := db.Close(t.Context()); err != nil {
		t.Error(err)
	}
	db, err = Open(t.Context(), startPooler(t, b.dsn, pgserver.PoolerOptions{Mode: "transaction", Size: 2}), &o)
	if err == nil {
		err = errors.Join(errors.New("Open succeeded"), db.Close(t.Context()))
	}
	if !strings.Contains(err.Error(), "read committed") {
		t.Errorf("through a pooler: %v", err)
	}
}
