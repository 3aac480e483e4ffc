package pgadapter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// The grants are those in docs/deployment.md, verbatim.
func TestPrivileges_Documented(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	role := b.schema + "_app"
	b.exec(t, "create role "+quoted(role)+" login password 'secret'")
	t.Cleanup(func() {
		conn, err := pgx.Connect(context.Background(), b.dsn) // that of the test is closed
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close(context.Background()) }()
		if _, err := conn.Exec(context.Background(), "drop owned by "+quoted(role)+"; drop role "+quoted(role)); err != nil {
			t.Error(err)
		}
	})
	b.exec(t, documentedGrants(t, b.schema, role))

	config, err := pgx.ParseConfig(b.dsn)
	if err != nil {
		t.Fatal(err)
	}
	dsn := fmt.Sprintf("host=%s port=%d dbname=%s user=%s password=secret", config.Host, config.Port, config.Database, role)
	db, err := Open(t.Context(), dsn, &Options{Schema: b.schema, Retention: time.Second, Lease: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	r, err := db.Publish(t.Context(), &adapter.Envelope{Namespace: "/", Payload: []byte(`["x"]`)})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Wait(t.Context()); err != nil {
		t.Errorf("append: %v", err)
	}
	s := &recovery.Session{Key: recovery.Key{PIDHash: "p", Epoch: 1}, ID: "s", Namespace: "/", Window: time.Minute}
	s.Presence = present("r", "1")
	if err := db.Sessions().Open(s).Wait(t.Context()); err != nil {
		t.Errorf("open a session: %v", err)
	}
	if _, err := Once(t.Context(), db.pool, keyOf("k"), &OnceOptions{Schema: b.schema, Window: time.Millisecond}, func(pgx.Tx) (int, error) { return 1, nil }); err != nil {
		t.Errorf("a request that runs once: %v", err)
	}
	eventually(t, "presence was announced", func() bool {
		return b.int(t, "select (select count(*) from presence_topics) - (select count(*) from presence_changes)") == 1
	})
	if members, err := db.Sessions().Members(t.Context(), topicOf("r")); err != nil || len(members) != 1 {
		t.Errorf("members %v: %v", members, err)
	}
	// After the retention the role must empty a partition and delete what is old.
	eventually(t, "the log was rotated", func() bool { return b.int(t, "select low from meta") > 0 })
	if err := db.sweeper.sweep(t.Context()); err != nil {
		t.Errorf("sweep: %v", err)
	}
	if n := b.int(t, "select count(*) from answers"); n != 0 {
		t.Errorf("%d expired answers after the sweep", n)
	}
	if err := db.Close(t.Context()); err != nil {
		t.Errorf("close: %v", err)
	}
	_, err = b.conn.Exec(t.Context(), "set role "+quoted(role)+"; create table "+quoted(b.schema)+".mine ()")
	if denied, ok := errors.AsType[*pgconn.PgError](err); !ok || denied.Code != "42501" {
		t.Errorf("the role may create tables: %v", err)
	}
	b.exec(t, "reset role")
}

// Postgres answers a GRANT of a role without the right to it with a warning. The functions that grant are an error then, also for
// a role that may call all functions, as that of nodes may.
func TestPrivileges_OnlyTheOwnerGrants(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	node, member, other := b.schema+"_node", b.schema+"_member", b.schema+"_other"
	execOn(t, b.conn, "create role "+node, "create role "+member, "create role "+other, documentedGrants(t, b.schema, node),
		"grant "+node+" to "+member)
	t.Cleanup(func() {
		execOn(t, b.conn, "reset role")
		for _, role := range []string{node, member, other} {
			execOn(t, b.conn, "drop owned by "+role, "drop role "+role)
		}
	})
	for _, role := range []string{node, member} {
		execOn(t, b.conn, "set role "+role)
		for _, call := range []string{"allow_emit", "allow_operate", "allow_read"} {
			_, err := b.conn.Exec(t.Context(), "select "+call+"('"+other+"')")
			want := `only the owner of schema "` + b.schema + `" may call ` + call + " "
			if sqlState(err) != "42501" || !strings.Contains(err.Error(), want) {
				t.Errorf("%s as %s: %v\nwant: %s", call, role, err, want)
			}
		}
		execOn(t, b.conn, "reset role")
	}
	mayUse := "select has_schema_privilege('" + other + "', '" + b.schema + "', 'usage')::int"
	if b.int(t, mayUse) != 0 {
		t.Error("a refused call granted something")
	}

	// The owner, and a role that has its rights.
	execOn(t, b.conn, "create role "+b.schema+"_owner")
	t.Cleanup(func() {
		execOn(t, b.conn, "reassign owned by "+b.schema+"_owner to current_user", "drop role "+b.schema+"_owner")
	})
	giveTo(t, b, b.schema+"_owner")
	execOn(t, b.conn, "grant "+b.schema+"_owner to "+member, "set role "+member, "select allow_operate('"+other+"'), allow_read('"+other+"')", "reset role")
	if b.int(t, mayUse) != 1 {
		t.Error("a member of the owner granted nothing")
	}
}

// giveTo makes a role the owner of the schema and of its functions and views.
func giveTo(t *testing.T, b *bench, role string) {
	t.Helper()
	execOn(t, b.conn, "alter schema "+b.schema+" owner to "+role, `do $$ declare o record; begin
		for o in select p.oid::regprocedure::text as name from pg_proc p where pronamespace = current_schema()::regnamespace loop
			execute format('alter function %s owner to `+role+`', o.name);
		end loop;
		for o in select c.oid::regclass::text as name from pg_class c where relnamespace = current_schema()::regnamespace and relkind = 'v' loop
			execute format('alter view %s owner to `+role+`', o.name);
		end loop;
	end $$`)
}

func documentedGrants(t *testing.T, schema, role string) string {
	t.Helper()
	text, err := os.ReadFile("../docs/deployment.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```sql\n(grant .*?)```").FindSubmatch(text)
	if block == nil {
		t.Fatal("docs/deployment.md has no block of grants")
	}
	grants := strings.ReplaceAll(string(block[1]), "schema socketio", "schema "+quoted(schema))
	return strings.ReplaceAll(grants, "to app", "to "+quoted(role))
}
