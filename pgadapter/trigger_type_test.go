package pgadapter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"

	"github.com/pgsocket/socketio"
)

// TestTrigger_PayloadIsAChange decodes what triggers emit into socketio.Change, and encodes it again: the same JSON means
// that the type, and the TypeScript that eventmap writes for it, have all fields, with these names, and optional where they
// are.
func TestTrigger_PayloadIsAChange(t *testing.T) {
	t.Parallel()
	type order struct {
		ID     int    `json:"id"`
		Status string `json:"status"`
	}
	for _, perRow := range []bool{false, true} {
		for _, old := range []bool{false, true} {
			b := newBench(t)
			execOn(t, b.conn, "create table orders (id int primary key, status text)",
				fmt.Sprintf("select attach_trigger('orders', 'orders', 'o', max_bytes => 200, old_values => %v, per_row => %v)", old, perRow),
				"insert into orders values (5, 'new')", "update orders set status = 'sent'", "delete from orders",
				"insert into orders values (6, repeat('x', 300))")
			before, after := &order{5, "new"}, &order{5, "sent"}
			table := b.schema + ".orders"
			want := []socketio.Change[order]{
				{Op: socketio.ChangeInsert, Table: table, New: before},
				{Op: socketio.ChangeUpdate, Table: table, New: after, Old: before},
				{Op: socketio.ChangeDelete, Table: table, Old: after},
				{Op: socketio.ChangeInsert, Table: table, Key: map[string]any{"id": 6.0}},
			}
			seen := 0
			emitted := b.changes(t, &seen)
			if len(emitted) != len(want) {
				t.Fatalf("emitted %q", emitted)
			}
			for i, text := range emitted {
				if !old {
					want[i].Old = nil
				}
				got := decodeChange[order](t, text)
				if i == 3 {
					if got.Oversized < 300 {
						t.Errorf("oversized: %d bytes", got.Oversized)
					}
					want[i].Oversized = got.Oversized
				}
				if !reflect.DeepEqual(got, want[i]) {
					t.Errorf("%s is %+v, want %+v", text, got, want[i])
				}
			}
		}
	}
}

// decodeChange decodes an event, and compares it with what its Change is encoded as.
func decodeChange[Row any](t *testing.T, text string) (change socketio.Change[Row]) {
	t.Helper()
	var args []json.RawMessage
	if err := json.Unmarshal([]byte(text), &args); err != nil || len(args) != 2 {
		t.Fatalf("%s: %v", text, err)
	}
	strict := json.NewDecoder(bytes.NewReader(args[1]))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&change); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	again, err := json.Marshal(change)
	if err != nil {
		t.Fatal(err)
	}
	var is, was any
	if err := json.Unmarshal(again, &is); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(args[1], &was); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(is, was) {
		t.Errorf("%s is encoded as %s", text, again)
	}
	return change
}
