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
	if err := db.Sessions().Open(s).Wait(t.Context()); err != nil {
		t.Errorf("open a session: %v", err)
	}
	// After the retention the role must empty a partition and delete what is old.
	eventually(t, "the log was rotated", func() bool { return b.int(t, "select low from meta") > 0 })
	if err := db.sweeper.sweep(t.Context()); err != nil {
		t.Errorf("sweep: %v", err)
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
