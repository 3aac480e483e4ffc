package pgadapter

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// changes relays, and returns what was logged since its last call.
func (b *bench) changes(t testing.TB, seen *int) []string {
	t.Helper()
	b.relay(t)
	all := b.logged(t)
	since := all[*seen:]
	*seen = len(all)
	return since
}

func wantChanges(t testing.TB, b *bench, seen *int, want ...string) {
	t.Helper()
	if got := b.changes(t, seen); !slices.Equal(got, want) {
		t.Errorf("emitted %q\nwant    %q", got, want)
	}
}

func TestTrigger_EmitsChanges(t *testing.T) {
	t.Parallel()
	for _, perRow := range []bool{false, true} {
		t.Run(fmt.Sprintf("row=%v", perRow), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			execOn(t, b.conn, "create table orders (id int primary key, customer int, total int, note text)",
				fmt.Sprintf("select attach_trigger('orders', 'orders:{customer}', 'order', columns => '{id,total}', per_row => %v)", perRow))
			seen := 0
			name := b.schema + ".orders"
			event := func(rest string) string {
				return `["order", ` + strings.ReplaceAll(rest, "TABLE", `"table": "`+name+`"`) + `]`
			}

			execOn(t, b.conn, "insert into orders values (1, 7, 10, 'x'), (2, null, 3, 'y'), (3, 8, 4, 'z')")
			wantChanges(t, b, &seen,
				event(`{"op": "insert", "new": {"id": 1, "total": 10}, TABLE}`), event(`{"op": "insert", "new": {"id": 3, "total": 4}, TABLE}`))
			execOn(t, b.conn, "update orders set note = 'not asked for'")
			wantChanges(t, b, &seen)
			execOn(t, b.conn, "update orders set customer = 9 where id = 1")
			wantChanges(t, b, &seen, event(`{"op": "update", "new": {"id": 1, "total": 10}, "old": {"id": 1, "total": 10}, TABLE}`))
			if rooms := b.rooms(t); !slices.Equal(rooms, []string{"orders:9", "orders:7"}) {
				t.Errorf("a row that moved went to %q", rooms)
			}
			execOn(t, b.conn, "insert into orders values (3, 8, 5, 'c') on conflict (id) do update set total = excluded.total")
			wantChanges(t, b, &seen, event(`{"op": "update", "new": {"id": 3, "total": 5}, "old": {"id": 3, "total": 4}, TABLE}`))
			execOn(t, b.conn, "delete from orders where id = 3")
			wantChanges(t, b, &seen, event(`{"op": "delete", "old": {"id": 3, "total": 5}, TABLE}`))
			execOn(t, b.conn, "begin", "insert into orders values (4, 1, 1, '')", "rollback")
			wantChanges(t, b, &seen)

			execOn(t, b.conn, "select detach_trigger('orders')", "insert into orders values (5, 1, 1, '')")
			wantChanges(t, b, &seen)
		})
	}
}

// rooms returns the rooms of the last packet in the log.
func (b *bench) rooms(t testing.TB) []string {
	t.Helper()
	var frame []byte
	var packets int
	if err := b.conn.QueryRow(t.Context(), "select frame, packets from log order by id desc limit 1").Scan(&frame, &packets); err != nil {
		t.Fatal(err)
	}
	envelopes, err := decodeFrame(frame, packets)
	if err != nil {
		t.Fatal(err)
	}
	return envelopes[packets-1].Audience.Rooms
}

func TestTrigger_BulkStatements(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	execOn(t, b.conn, "create table o (id int primary key, n int, pad text)", "select attach_trigger('o', 'all', 'o', columns => '{id,n}')")
	seen := 0
	for _, sql := range []string{
		"insert into o select i, i, repeat('x', 50) from generate_series(1, 20000) i",
		"copy (select i, i, '' from generate_series(20001, 20003) i) to stdout", // has no effect on triggers, unlike COPY FROM
		"update o set n = -n where id % 2 = 0",
		"update o set n = n + 1000000, id = id + 1000000",
	} {
		execOn(t, b.conn, sql)
	}
	if _, err := b.conn.PgConn().CopyFrom(t.Context(), strings.NewReader("5\t5\t\n6\t6\t\n"), "copy o from stdin"); err != nil {
		t.Fatal(err)
	}

	got := b.changes(t, &seen)

	if len(got) != 20000+10000+20000+2 {
		t.Fatalf("%d events", len(got))
	}
	for i, text := range got[:20000] {
		if !strings.Contains(text, fmt.Sprintf(`"new": {"n": %d, "id": %d}`, i+1, i+1)) {
			t.Fatalf("event %d: %s", i, text)
		}
	}
	for _, text := range got[20000 : len(got)-2] {
		var newN, newID, oldN, oldID int
		text = text[strings.Index(text, `"new"`):]
		if _, err := fmt.Sscanf(text, `"new": {"n": %d, "id": %d}, "old": {"n": %d, "id": %d}`, &newN, &newID, &oldN, &oldID); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if newID%1000000 != oldID%1000000 || newN != -oldN && newN != oldN+1000000 {
			t.Fatalf("rows at different positions were paired: %s", text)
		}
	}
	if n := b.int(t, "select max(octet_length(frame)) from outbox"); n > 1<<20 {
		t.Errorf("a row of %d bytes in the outbox", n)
	}
}

func TestTrigger_RowTooLarge(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	execOn(t, b.conn, "create table big (id int, part text, body text, primary key (id, part))", "select attach_trigger('big', 'big:{id}:{part}')",
		"insert into big values (1, 'a', repeat('x', 70000))")
	seen := 0
	got := b.changes(t, &seen)
	if len(got) != 1 || !strings.Contains(got[0], `"key": {"id": 1, "part": "a"}`) || !strings.Contains(got[0], `"oversized": 70`) || strings.Contains(got[0], "xxx") {
		t.Errorf("got %.300q", got)
	}
	if rooms := b.rooms(t); !slices.Equal(rooms, []string{"big:1:a"}) {
		t.Errorf("to %q", rooms)
	}
}

func TestTrigger_RowWithoutRoom(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	execOn(t, b.conn, "create table o (room text)", "select attach_trigger('o', '{room}', 'o')",
		"insert into o values (''), (null), (repeat('x', 256)), ('a')", "update o set room = '' where room = 'a'")
	seen := 0
	wantChanges(t, b, &seen,
		`["o", {"op": "insert", "new": {"room": "a"}, "table": "`+b.schema+`.o"}]`,
		`["o", {"op": "update", "new": {"room": ""}, "old": {"room": "a"}, "table": "`+b.schema+`.o"}]`)
	if rooms := b.rooms(t); !slices.Equal(rooms, []string{"a"}) {
		t.Errorf("to %q", rooms)
	}
}

func TestTrigger_AttachErrors(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	execOn(t, b.conn, "create table o (id int, n int)")
	for sql, want := range map[string]string{
		"select attach_trigger('o', 'x:{nope}')":                           "42703",
		"select attach_trigger('o', 'x', columns => '{nope}')":             "42703",
		"select attach_trigger('o', 'x:{id')":                              "22023",
		"select attach_trigger('o', null)":                                 "22023",
		"select attach_trigger('o', 'x', operations => '{truncate}')":      "22023",
		"select attach_trigger('o', 'x', operations => '{}')":              "22023",
		"select attach_trigger('o', 'x', max_bytes => 1)":                  "22023",
		"select attach_trigger('o', 'x', on_error => 'ignore')":            "22023",
		"select attach_trigger('nowhere', 'x')":                            "42P01",
		"create view v as select 1 as id; select attach_trigger('v', 'x')": "42809",
	} {
		var err error
		for s := range strings.SplitSeq(sql, "; ") {
			_, err = b.conn.Exec(t.Context(), s)
		}
		if got := sqlState(err); got != want {
			t.Errorf("%s: %v, want %s", sql, err, want)
		}
	}
}

func TestPrivileges_EmitOnlyRole(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	emitter, reader := b.schema+"_emitter", b.schema+"_reader"
	execOn(t, b.conn, "create role "+emitter, "create role "+reader, "create table mine (id int)",
		"grant all on mine to "+emitter, "select attach_trigger('mine', 'room')",
		fmt.Sprintf("select allow_emit('%s'), allow_read('%s')", emitter, reader))
	t.Cleanup(func() {
		execOn(t, b.conn, "reset role", "drop owned by "+emitter, "drop owned by "+reader, "drop role "+emitter, "drop role "+reader)
	})

	execOn(t, b.conn, "set role "+emitter, "select emit('a', 'x'), emit_all('x', key => 'k'), emit_to('{a}', 'x'), emit_many('{a}', 'x', '{1}')",
		"insert into mine values (1)", "select snapshot_token()")
	denied := func(sql string) {
		t.Helper()
		if _, err := b.conn.Exec(t.Context(), sql); sqlState(err) != "42501" {
			t.Errorf("%s: %v, want a refusal", sql, err)
		}
	}
	for _, sql := range []string{
		"select * from outbox", "insert into outbox (slot, frame) values (0, '')", "select * from log", "select * from meta", "select * from sessions",
		"select append(1, 1, 1, '\\x01ff00000000', false)", "select relay_outbox(true, false)", "select rotate_outbox('0')", "select empty_slot('0')",
		"truncate outbox", "select nextval('outbox_id_seq')", "select * from view_rooms", "select allow_emit('pg_monitor')", "create table " + b.schema + ".t ()",
	} {
		denied(sql)
	}
	execOn(t, b.conn, "set role "+reader, "select * from view_rooms", "select * from view_nodes", "select * from view_outbox", "select * from view_log")
	for _, sql := range []string{"select emit('a', 'x')", "select snapshot_token()", "select * from sessions", "select * from outbox", "select * from log"} {
		denied(sql)
	}
	execOn(t, b.conn, "reset role")
	b.relay(t)
	if got := b.logged(t); len(got) != 5 {
		t.Errorf("emitted %q", got)
	}
	unpinned := b.int(t, `select count(*) from pg_proc p where pronamespace = $1::text::regnamespace and prosecdef
		and not exists (select from unnest(proconfig) c where c like 'search_path=%' and c like '%pg_temp')`, b.schema)
	if unpinned != 0 {
		t.Errorf("%d functions run with the rights of their owner and the search_path of the caller", unpinned)
	}
}

func TestPrivileges_NodeRole(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	role := b.schema + "_node"
	execOn(t, b.conn, "create role "+quoted(role), documentedGrants(t, b.schema, role), "select emit_all('x')")
	t.Cleanup(func() { execOn(t, b.conn, "reset role", "drop owned by "+quoted(role), "drop role "+quoted(role)) })

	execOn(t, b.conn, "set role "+quoted(role), "select relay_outbox(true, true)", "select * from seen_after(0, pg_current_snapshot(), true)",
		"update meta set outbox_started = outbox_started - interval '1 hour'", "select emit_all('y')", "select snapshot_token()", "select * from view_outbox")
	if n := b.int(t, "select rotate_outbox('1 s')::int"); n != 1 {
		t.Error("not rotated")
	}
}
