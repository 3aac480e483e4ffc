package socketio

// A ChangeOp is what happened to a row, see [Change].
type ChangeOp string

// The operations that triggers emit.
const (
	ChangeInsert ChangeOp = "insert"
	ChangeUpdate ChangeOp = "update"
	ChangeDelete ChangeOp = "delete"
)

// A Change is the payload of the events that the SQL function attach_trigger emits, for
// rows whose columns are the JSON fields of Row:
//
//	const OrderChanged socketio.Event[socketio.Change[Order]] = "order:changed"
//
// A row that is larger than the trigger's max_bytes comes without New and Old: Oversized
// is the size of its event in bytes, and Key contains the columns of its primary key, if the
// table has one.
type Change[Row any] struct {
	Op        ChangeOp       `json:"op"`
	Table     string         `json:"table"`         // with its schema
	New       *Row           `json:"new,omitempty"` // of an insert and an update
	Old       *Row           `json:"old,omitempty"` // of an update and a delete, unless old_values is false
	Oversized int            `json:"oversized,omitempty"`
	Key       map[string]any `json:"key,omitempty"`
}
