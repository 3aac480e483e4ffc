package pgadapter

import (
	"strings"
	"testing"
)

// TestTrigger_WriterMayNotEmit: a role that was not given allow_emit changes a table with a trigger. The change is made, with a
// warning that says what is missing, or is refused with the same text.
func TestTrigger_WriterMayNotEmit(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	role, other := b.schema+"_writer", quoted(b.schema+"_app")
	execOn(t, b.conn, "create role "+role, "create schema "+other, "grant usage on schema "+other+" to "+role)
	t.Cleanup(func() {
		b.exec(t, "reset role")
		execOn(t, b.conn, "drop schema "+other+" cascade", "drop owned by "+role, "drop role "+role)
	})
	table := other + ".o"
	execOn(t, b.conn, "create table "+table+" (id int)", "grant insert on "+table+" to "+role)
	want := "may not emit; the owner of the schema allows it with: select " + b.schema + ".allow_emit('" + role + "')"
	says := func(text string) bool { // the schema is quoted where all identifiers are
		return strings.Contains(strings.ReplaceAll(text, `"`, ""), want)
	}
	rows := 0
	for _, grant := range []string{"", "grant usage on schema " + b.schema + " to " + role} {
		if grant != "" {
			b.exec(t, grant)
		}
		for _, perRow := range []string{"false", "true"} {
			attach := "select attach_trigger('" + table + "', 'r', 'o', per_row => " + perRow
			b.exec(t, attach+")")
			said := b.notices(t, "set role "+role, "insert into "+table+" values (1)", "reset role")
			if rows++; !says(said) {
				t.Errorf("%q, per row %s: Postgres warned of %q", grant, perRow, said)
			}
			execOn(t, b.conn, attach+", on_error => 'fail')", "set role "+role)
			_, err := b.conn.Exec(t.Context(), "insert into "+table+" values (2)")
			if sqlState(err) != "42501" || !says(err.Error()) {
				t.Errorf("%q, per row %s, on_error fail: %v", grant, perRow, err)
			}
			execOn(t, b.conn, "reset role", "select detach_trigger('"+table+"')")
		}
	}
	if n := b.int(t, "select count(*) from "+table); n != int64(rows) {
		t.Errorf("%d rows, want %d", n, rows)
	}
	execOn(t, b.conn, "select allow_emit('"+role+"')", "select attach_trigger('"+table+"', 'r', 'o')", "set role "+role, "insert into "+table+" values (3)", "reset role")
	if n := b.int(t, "select count(*) from outbox"); n != 1 {
		t.Errorf("%d events of a role that may emit, want 1", n)
	}
}
