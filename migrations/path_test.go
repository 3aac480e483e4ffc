package migrations_test

import (
	"context"
	"io/fs"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/migrations"
	"github.com/pgsocket/socketio/pgtest"
)

// install runs the files on a connection with this search_path, as somebody does without Up.
func install(t *testing.T, conn *pgx.Conn, path string) {
	t.Helper()
	files, err := fs.Glob(migrations.Files(), "*.up.sql")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	for _, name := range files {
		text, err := fs.ReadFile(migrations.Files(), name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), "set search_path = "+path+"; "+string(text)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

// A search_path without pg_temp has temporary tables first: then a role that may emit would have its own tables used
// with the rights of the owner of the schema.
func TestSearchPath_InstalledWithAnother(t *testing.T) {
	t.Parallel()
	for name, rest := range map[string]string{"schema": "", "schema and public": ", public", "schema and pg_temp": ", pg_temp"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn, schema := pgtest.Schema(t, pgtest.NameOnly())
			conn, err := pgx.Connect(t.Context(), dsn)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close(context.Background()) })
			run := func(sql string) {
				t.Helper()
				if _, err := conn.Exec(context.Background(), sql); err != nil {
					t.Fatalf("%s: %v", sql, err)
				}
			}
			run("create schema " + schema)
			install(t, conn, schema+rest)

			rows, err := conn.Query(t.Context(), `select p.oid::regprocedure::text from pg_proc p
				where p.pronamespace = $1::text::regnamespace and (p.prosecdef or p.proconfig is not null)
				and not coalesce('search_path=' || quote_ident($1) || ', pg_temp' = any (p.proconfig), false)`, schema)
			if err != nil {
				t.Fatal(err)
			}
			loose, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil || len(loose) > 0 {
				t.Errorf("not pinned to %s, pg_temp: %q, %v", schema, loose, err)
			}

			role := schema + "_emitter"
			run("create role " + role)
			t.Cleanup(func() { run("reset role; drop owned by " + role + "; drop role " + role) })
			run("select " + schema + ".allow_emit('" + role + "'); set search_path = public; set role " + role)
			run(`create temp table meta as select 0::smallint as outbox_slot;
				create temp table outbox (id bigint, packets int, slot smallint, frame bytea);
				create temp table emit_keys (key text primary key);
				create temp table answers (request bytea, role text, content bytea, answer bytea, expires_at timestamptz, xid xid8, constraint answers_pkey primary key (request, role));
				create function pg_temp.mine() returns trigger language plpgsql as
				$$ begin raise exception 'run as %', current_user; end $$;
				create trigger t before insert on outbox for each row execute function pg_temp.mine();
				create trigger t before insert on emit_keys for each row execute function pg_temp.mine();
				create trigger t before insert on answers for each row execute function pg_temp.mine();
				grant all on outbox, emit_keys, answers, meta to public`)
			run("select " + schema + ".claim_request(sha256('r'), sha256('c'), 1000, 1000), " + schema + ".answer_request(sha256('r'), '1', 1000)")
			run("select " + schema + ".emit('room', 'event', '1', key => 'k'), " + schema + ".emit_many('{a}', 'event', '{1}'), " + schema + ".snapshot_token()")
			run("reset role")
			var emitted int
			if err := conn.QueryRow(t.Context(), "select count(*) from "+schema+".outbox").Scan(&emitted); err != nil || emitted != 2 {
				t.Errorf("%d rows in the outbox, %v", emitted, err)
			}
		})
	}
}
