package pgadapter

import (
	"strings"
	"testing"

	"github.com/pgsocket/socketio/adapter"
)

// A room that cannot be joined cannot be emitted to, from Go or SQL.
func TestEmit_RoomThatCannotBeJoined_IsRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.open(t, nil)
	refused := func(what, sql string, args ...any) {
		t.Helper()
		if _, err := b.conn.Exec(t.Context(), sql, args...); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	for what, room := range map[string]string{"empty": "", "long": strings.Repeat("x", 256), "long in bytes": strings.Repeat("é", 128)} {
		refused(what, "select emit($1, 'e')", room)
		refused(what, "select emit_to(array['r', $1], 'e')", room)
		refused(what, "select emit_to(array['r'], 'e', except_rooms => array[$1])", room)
		refused(what, "select emit_all('e', except_rooms => array[$1])", room)
		refused(what, "select emit_many(array[$1], 'e', array['1'::jsonb])", room)
		refused(what, "select join_room($1, 'r')", room)
		refused(what, "select join_room('r', $1)", room)
		refused(what, "select leave_room('r', $1)", room)
		refused(what, "select disconnect($1)", room)
	}
	for what, room := range map[string]string{"empty": "", "long": strings.Repeat("x", 256), "not UTF-8": "\xff", "NUL": "a\x00"} {
		for _, a := range []adapter.Audience{{Rooms: []string{"r", room}}, {Except: []string{room}}} {
			e := &adapter.Envelope{Namespace: "/", Audience: a, Payload: []byte(`["e"]`)}
			if _, err := EmitTx(t.Context(), b.conn, e, &EmitOptions{Schema: b.schema}); err == nil {
				t.Errorf("packet %s: no error", what)
			}
		}
	}
	if n := b.int(t, "select count(*) from outbox"); n != 0 {
		t.Errorf("%d packets in the outbox", n)
	}
}

func TestEmit_ToNobody_WritesNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.open(t, nil)
	e := &adapter.Envelope{Namespace: "/", Audience: adapter.Nobody(), Payload: []byte(`["e"]`)}
	if emitted, err := EmitTx(t.Context(), b.conn, e, &EmitOptions{Schema: b.schema, Key: "k"}); emitted || err != nil {
		t.Errorf("EmitTx: %v, %v", emitted, err)
	}
	if n := b.int(t, "select emit_to('{}', 'e', key => 'k')::int"); n != 0 {
		t.Error("emit_to: true")
	}
	if n := b.int(t, "select (select count(*) from outbox) + (select count(*) from emit_keys)"); n != 0 {
		t.Errorf("%d rows were written", n)
	}
}
