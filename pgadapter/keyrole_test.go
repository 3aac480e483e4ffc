package pgadapter

import "testing"

// A key counts from the commit: a transaction that is open for longer than the retention keeps it.
func TestKey_TransactionLongerThanTheRetention_KeepsItsKey(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	long, next := keyed{b.connect(t)}, keyed{b.connect(t)}
	execOn(t, long.Conn, "begin")
	long.emit(t, "one", "k")
	execOn(t, long.Conn, "update emit_keys set at = at - interval '1 hour'")
	sweep := func() {
		t.Helper()
		b.exec(t, "update meta set keys_at = keys_at - interval '11 s'")
		b.exec(t, "select rotate_outbox('10 s')")
	}
	sweep()
	execOn(t, long.Conn, "commit")
	b.exec(t, "select rotate_outbox('10 s')")
	sweep()
	if next.emit(t, "two", "k") {
		t.Error("forgotten at the commit")
	}
	sweep()
	if !next.emit(t, "three", "k") {
		t.Error("not forgotten after the retention")
	}
}

// The keys of a role are its own, under SET ROLE as well.
func TestKey_OfAnotherRole_IsNotUsedUp(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	one, two := keyed{b.connect(t)}, keyed{b.connect(t)}
	role := b.schema + "_emits"
	b.exec(t, "create role "+quoted(role))
	t.Cleanup(func() {
		execOn(t, two.Conn, "reset role")
		b.exec(t, "drop owned by "+quoted(role))
		b.exec(t, "drop role "+quoted(role))
	})
	b.exec(t, "select allow_emit("+"'"+quoted(role)+"'::regrole)")
	execOn(t, two.Conn, "set role "+quoted(role))
	if !two.emit(t, "of the role", "k") || two.emit(t, "again", "k") {
		t.Error("a key of the role")
	}
	if !one.emit(t, "of the owner", "k") || one.emit(t, "again", "k") {
		t.Error("the key of another role was used up")
	}
}
