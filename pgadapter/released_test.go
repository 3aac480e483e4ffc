package pgadapter

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/migrations"
	"github.com/pgsocket/socketio/pgtest"
)

// TestReleased_NodesRunOnEachVersion: on the schema of each released version, unchanged if this program supports it, and
// after migrations.Up.
func TestReleased_NodesRunOnEachVersion(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../migrations/testdata/released/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			b := released(t, file)
			if version, _, err := migrations.Version(t.Context(), b.dsn, nil); err != nil {
				t.Fatal(err)
			} else if version >= oldestSchema {
				b.serves(t)
			}
			if err := migrations.Up(t.Context(), b.dsn, nil); err != nil {
				t.Fatal(err)
			}
			b.serves(t)
		})
	}
}

// released restores a released schema in a database of its own.
func released(t *testing.T, file string) *bench {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	dsn, name := pgtest.Schema(t, pgtest.NameOnly())
	admin := &bench{dsn: dsn, schema: name}
	conn := admin.connect(t)
	execOn(t, conn, "create database "+name)
	t.Cleanup(func() { execOn(t, conn, "drop database "+name+" with (force)") })
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	restoring, err := pgx.Connect(t.Context(), u.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = restoring.Close(context.Background()) }()
	execOn(t, restoring, "set standard_conforming_strings = on") // the whole dump is parsed before its first statement runs
	if _, err := restoring.PgConn().Exec(t.Context(), string(text)).ReadAll(); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	b := &bench{dsn: u.String(), schema: migrations.DefaultSchema}
	b.conn = b.connect(t)
	return b
}

// serves fails the test unless nodes emit, SQL emits, and a disconnected client is recovered at another node.
func (b *bench) serves(t *testing.T) {
	t.Helper()
	dbs, recorders := b.nodes(t, 2, nil)
	checkSame(t, recorders, storm(t, dbs, 2, 20, 0))
	for _, db := range dbs {
		if err := db.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	first, second := serve(t, b.open(t, nil)), serve(t, b.open(t, nil))
	var g testClient
	g.connect(t, first)
	say(t, first, "1")
	g.wants(t, "1")
	g.Cut()
	say(t, second, "2")
	execOn(t, b.conn, `select emit_all('said', args => '["3"]')`)
	g.connect(t, second)
	if !g.recovered {
		t.Fatal("not recovered")
	}
	g.wants(t, "2", "3")
}
