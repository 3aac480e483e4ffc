package eventmap_test

import (
	"strings"
	"testing"

	"github.com/pgsocket/socketio"
)

// TestTypeScript_Change compares the type of the events of triggers.
func TestTypeScript_Change(t *testing.T) {
	t.Parallel()
	type Order struct {
		ID int64 `json:"id"`
	}
	got := typeScript(t, event[socketio.Change[Order]]())
	for _, want := range []string{
		`"e": (payload: ChangeOrder) => void;`,
		`export type ChangeOp = "insert" | "update" | "delete";`,
		`export interface ChangeOrder {
  op: ChangeOp;
  table: string;
  new?: Order;
  old?: Order;
  oversized?: number;
  key?: { [key: string]: unknown };
}`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s\nis not in\n%s", want, got)
		}
	}
}
