package migrations_test

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/migrations"
)

const released = "testdata/released"

// TestReleased_FilesAreNotChanged: what belongs to a release is never edited again.
func TestReleased_FilesAreNotChanged(t *testing.T) {
	t.Parallel()
	list, err := os.Open(filepath.Join(released, "SHA256SUMS"))
	if errors.Is(err, fs.ErrNotExist) {
		return // nothing is released yet
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = list.Close() }() // only read
	for lines := bufio.NewScanner(list); lines.Scan(); {
		sum, name, _ := strings.Cut(lines.Text(), "  ")
		text, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
		} else if got := fmt.Sprintf("%x", sha256.Sum256(text)); got != sum {
			t.Errorf("%s belongs to a release and was changed; a change of the schema is a new migration", name)
		}
	}
}

// shape is all that migrations make, in words.
const shape = `
	select format('column %s.%s %s %s %s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attstorage,
		pg_get_expr(d.adbin, d.adrelid))
	from pg_class c join pg_attribute a on a.attrelid = c.oid left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
	where c.relnamespace = 'socketio'::regnamespace and c.relkind in ('r', 'p', 'v') and a.attnum > 0 and not a.attisdropped
	union all
	select format('relation %s %s %s %s', c.relname, c.relkind, c.reloptions, pg_get_expr(c.relpartbound, c.oid))
	from pg_class c where c.relnamespace = 'socketio'::regnamespace and c.relkind in ('r', 'p')
	union all
	select format('view %s %s', c.relname, pg_get_viewdef(c.oid)) from pg_class c
	where c.relnamespace = 'socketio'::regnamespace and c.relkind = 'v'
	union all
	select pg_get_indexdef(c.oid) from pg_class c where c.relnamespace = 'socketio'::regnamespace and c.relkind in ('i', 'I')
	union all
	select format('constraint %s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) from pg_constraint
	where connamespace = 'socketio'::regnamespace and contype <> 'n' -- which Postgres 18 lists; a column says it
	union all
	select format('%s %s', pg_get_functiondef(oid), proacl) from pg_proc where pronamespace = 'socketio'::regnamespace
	union all
	select format('sequence %s %s %s', c.relname, s.seqtypid::regtype, s.seqcache) from pg_sequence s join pg_class c on c.oid = s.seqrelid
	where c.relnamespace = 'socketio'::regnamespace
	order by 1`

func shapeOf(t *testing.T, dsn string) []string {
	t.Helper()
	conn := connectTo(t, dsn)
	rows, err := conn.Query(t.Context(), shape)
	if err != nil {
		t.Fatal(err)
	}
	words, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return words
}

// TestReleased_UpLeadsToTheSameSchema: from each released version, whose files are made by scripts/released-schema. Before
// it is released the latest version is there as it is now.
func TestReleased_UpLeadsToTheSameSchema(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(released, "*.sql"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	fresh := database(t)
	if err := migrations.Up(t.Context(), fresh, nil); err != nil {
		t.Fatal(err)
	}
	want := shapeOf(t, fresh)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		dsn := database(t)
		conn := connectTo(t, dsn)
		conn.exec(t, "set standard_conforming_strings = on") // the whole dump is parsed before its first statement runs
		if _, err := conn.PgConn().Exec(t.Context(), string(text)).ReadAll(); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if err := migrations.Up(t.Context(), dsn, nil); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		got := shapeOf(t, dsn)
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				t.Fatalf("%s: after Up there is\n%s\nand in a new schema\n%s\nAfter a change of a version that is not released run scripts/released-schema.", file, got[i], want[i])
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: %d things after Up, %d in a new schema; run scripts/released-schema if that version is not released", file, len(got), len(want))
		}
	}
	if _, err := os.Stat(filepath.Join(released, fmt.Sprintf("%d.sql", migrations.Latest))); err != nil {
		t.Errorf("the latest version is missing; run scripts/released-schema: %v", err)
	}
}
