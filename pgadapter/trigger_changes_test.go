package pgadapter

import (
	"slices"
	"strings"
	"testing"
)

// inserted returns the payload of an insert into a table of the test.
func (b *bench) inserted(table, row string) string {
	return `["o", {"op": "insert", "new": ` + row + `, "table": "` + b.schema + `.` + table + `"}]`
}

func TestTrigger_ColumnsAndTableRenamed(t *testing.T) {
	t.Parallel()
	for _, perRow := range []string{"false", "true"} {
		b := newBench(t)
		execOn(t, b.conn, "create table o (id int primary key, customer int, status text, pad text)",
			"select attach_trigger('o', 'c:{customer}', 'o', columns => '{status}', max_bytes => 200, per_row => "+perRow+")",
			"alter table o rename customer to client", "alter table o rename status to state", "alter table o rename id to number",
			"alter table o add column customer int default 99", "alter table o rename to sales",
			"insert into sales values (1, 7, 'new', '')")
		seen := 0
		wantChanges(t, b, &seen, b.inserted("sales", `{"state": "new"}`))
		if rooms := b.rooms(t); !slices.Equal(rooms, []string{"c:7"}) {
			t.Errorf("per_row %s: the event went to %q", perRow, rooms)
		}
		execOn(t, b.conn, "insert into sales values (2, 7, repeat('x', 300), '')")
		if got := b.changes(t, &seen); len(got) != 1 || !strings.Contains(got[0], `"key": {"number": 2}`) {
			t.Errorf("per_row %s: oversized: %q", perRow, got)
		}
	}
}

func TestTrigger_ColumnDropped(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	execOn(t, b.conn, "create table o (id int, customer int, status text)",
		"select attach_trigger('o', 'c:{customer}', 'o'), attach_trigger('o', 'all', 'o', columns => '{id,status}')")
	execOn(t, b.conn, "select attach_trigger('o', 'c:{customer}', 'room')", "alter table o drop column status", "insert into o values (1, 7)")
	seen := 0
	got := b.changes(t, &seen)
	slices.Sort(got) // triggers run in the order of their names, which depend on the schema
	want := []string{b.inserted("o", `{"id": 1}`), `["room", {"op": "insert", "new": {"id": 1, "customer": 7}, "table": "` + b.schema + `.o"}]`}
	if !slices.Equal(got, want) {
		t.Errorf("emitted %q\nwant    %q", got, want)
	}

	said := b.notices(t, "alter table o drop column customer", "insert into o values (2)")
	wantChanges(t, b, &seen, b.inserted("o", `{"id": 2}`))
	if !strings.Contains(said, "does not exist any more") {
		t.Errorf("Postgres warned of %q", said)
	}

	execOn(t, b.conn, "select detach_trigger('o')", "alter table o add column customer int",
		"select attach_trigger('o', 'c:{customer}', 'o', on_error => 'fail')", "alter table o drop column customer")
	if _, err := b.conn.Exec(t.Context(), "insert into o values (3)"); sqlState(err) != "42703" {
		t.Errorf("a statement without an event, with on_error fail: %v", err)
	}
}

// notices runs statements and returns the warnings of Postgres.
func (b *bench) notices(t *testing.T, statements ...string) string {
	t.Helper()
	execOn(t, b.conn, "set client_min_messages = warning")
	var said strings.Builder
	b.warnings = &said
	defer func() { b.warnings = nil }()
	execOn(t, b.conn, statements...)
	return said.String()
}

func TestTrigger_RestoredTableIsKnownByNames(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	// As after a restored dump: the columns have other numbers, and the table has another oid.
	execOn(t, b.conn, "create table o (gone int, id int, customer int)", "alter table o drop column gone",
		"select attach_trigger('o', 'c:{customer}', 'o', columns => '{id}')")
	var definition string
	if err := b.conn.QueryRow(t.Context(), "select pg_get_triggerdef(oid) from pg_trigger where tgrelid = 'o'::regclass and tgname like '%insert%'").Scan(&definition); err != nil {
		t.Fatal(err)
	}
	execOn(t, b.conn, "drop table o", "create table o (id int, customer int, more text)", definition, "insert into o values (1, 7, 'x')")
	seen := 0
	wantChanges(t, b, &seen, b.inserted("o", `{"id": 1}`))
	if rooms := b.rooms(t); !slices.Equal(rooms, []string{"c:7"}) {
		t.Errorf("the event went to %q", rooms)
	}
}

func TestTrigger_SettingsOfTheSessionDoNotCount(t *testing.T) {
	t.Parallel()
	for _, perRow := range []string{"false", "true"} {
		b := newBench(t)
		execOn(t, b.conn, "create table o (at timestamptz, day date, f float8, b bytea, i interval, c regclass)",
			"select attach_trigger('o', '{at} {day} {f} {b} {i} {c}', 'o', operations => '{insert,insert}', per_row => "+perRow+")")
		insert := "insert into o values ('2026-03-01 12:00:00+00', '2026-03-01', 0.1, decode('00ff', 'hex'), interval '1 day 2 hours', 'pg_class')"
		execOn(t, b.conn, "set quote_all_identifiers = off", insert,
			"set timezone = 'Asia/Kathmandu'", "set datestyle = 'SQL, DMY'", "set extra_float_digits = -15",
			"set bytea_output = 'escape'", "set intervalstyle = 'iso_8601'", "set standard_conforming_strings = off",
			"set quote_all_identifiers = on", insert,
			"select emit('r', 'e', '1', attachments => array[decode('00', 'hex')])", "select emit_many('{r}', 'e', array['1'::jsonb])")
		b.relay(t)
		packets := b.packets(t)
		if len(packets) != 4 || packets[0] != packets[1] {
			t.Errorf("per_row %s: %q", perRow, packets)
		}
		// lc_monetary matters for amounts of money; a test cannot rely on other locales.
		if n := b.int(t, "select count(*) from pg_proc where pronamespace = current_schema()::regnamespace and 'lc_monetary=C' = any (proconfig)"); n != 2 {
			t.Errorf("%d functions of triggers set lc_monetary", n)
		}
	}
}

// packets returns rooms and payloads of the log.
func (b *bench) packets(t *testing.T) []string {
	t.Helper()
	rows, err := b.conn.Query(t.Context(), "select rooms::text || ' ' || payload from view_packets order by position")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var one string
		if err := rows.Scan(&one); err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	return all
}

func TestTrigger_RowIsWrittenWhateverBecomesOfTheEvent(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	execOn(t, b.conn, "create table j (j json)", "select attach_trigger('j', 'a')")
	b.exec(t, "insert into j values ($1), ('1')", `"\u0000"`)
	seen := 0
	wantChanges(t, b, &seen)
	if n := b.int(t, "select count(*) from j"); n != 2 {
		t.Errorf("%d rows", n)
	}
	execOn(t, b.conn, "delete from meta")
	execOn(t, b.conn, `insert into j values ('2')`)

	execOn(t, b.conn, "select attach_trigger('j', 'a', on_error => 'fail')")
	if _, err := b.conn.Exec(t.Context(), "insert into j values ($1)", `"\u0000"`); sqlState(err) != "22P05" {
		t.Errorf("a value that jsonb cannot store, with on_error fail: %v", err)
	}
	if _, err := b.conn.Exec(t.Context(), `insert into j values ('2')`); sqlState(err) != "PS003" {
		t.Errorf("a schema without its row of meta, with on_error fail: %v", err)
	}
}

func TestTrigger_VirtualGeneratedColumn(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if b.int(t, "select current_setting('server_version_num')::int / 10000") < 18 {
		t.Skip("virtual generated columns came with Postgres 18")
	}
	execOn(t, b.conn, "create table o (id int, v int generated always as (id * 2), s int generated always as (id * 3) stored)")
	for _, sql := range []string{"select attach_trigger('o', '{v}', 'o')", "select attach_trigger('o', 'a', 'o', columns => '{v}')"} {
		if _, err := b.conn.Exec(t.Context(), sql); sqlState(err) != "0A000" {
			t.Errorf("%s: %v", sql, err)
		}
	}
	for _, perRow := range []string{"false", "true"} {
		execOn(t, b.conn, "select attach_trigger('o', 'a', 'o', per_row => "+perRow+")", "insert into o values (1)")
	}
	seen := 0
	wantChanges(t, b, &seen, b.inserted("o", `{"s": 3, "id": 1}`), b.inserted("o", `{"s": 3, "id": 1}`))
}

func TestEmit_MetaWithoutItsRow(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	execOn(t, b.conn, "delete from meta")
	for _, sql := range []string{
		"select emit('r', 'e')", "select emit('r', 'e', key => 'k')", "select emit_all('e')", "select emit_many('{r}', 'e', '{1}')",
		"select join_room('a', 'b')",
	} {
		if _, err := b.conn.Exec(t.Context(), sql); sqlState(err) != "PS003" {
			t.Errorf("%s: %v", sql, err)
		}
	}
	if n := b.int(t, "select count(*) from emit_keys"); n != 0 {
		t.Error("a key was used by an emit that failed")
	}
}
