package pgadapter

import (
	"testing"

	"github.com/jackc/pgx/v5"
)

// A key is kept for the retention after the commit, even if the transaction was open for longer.
func TestKey_TransactionLongerThanTheRetention_KeepsItsKey(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	long, next := keyed{b.connect(t)}, keyed{b.connect(t)}
	calm(t, b.conn, long.Conn, next.Conn)
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
		t.Error("key deleted at the commit")
	}
	sweep()
	if !next.emit(t, "three", "k") {
		t.Error("key not deleted after the retention")
	}
}

// Each role has its own keys, under SET ROLE as well.
func TestKey_OfAnotherRole_IsNotUsedUp(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	one, two := keyed{b.connect(t)}, keyed{b.connect(t)}
	calm(t, b.conn, one.Conn, two.Conn)
	b.become(t, two.Conn)
	if !two.emit(t, "of the role", "k") || two.emit(t, "again", "k") {
		t.Error("a key of the role")
	}
	if !one.emit(t, "of the owner", "k") || one.emit(t, "again", "k") {
		t.Error("the key of another role was used up")
	}
}

// become gives a connection a role that may only emit.
func (b *bench) become(t *testing.T, c *pgx.Conn) {
	t.Helper()
	role := b.schema + "_emits"
	b.exec(t, "create role "+quoted(role))
	t.Cleanup(func() {
		execOn(t, c, "reset role")
		b.exec(t, "drop owned by "+quoted(role))
		b.exec(t, "drop role "+quoted(role))
	})
	b.exec(t, "select allow_emit('"+quoted(role)+"'::regrole)")
	execOn(t, c, "set role "+quoted(role))
}

// A role that may only emit cannot fill the disk, and its limit affects only such roles.
func TestOutbox_Full_RefusesRolesThatMayOnlyEmit(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.connect(t)
	calm(t, b.conn, c)
	b.become(t, c)
	b.exec(t, "update meta set outbox_limit = 100000")
	emitted := 0
	var err error
	for ; err == nil && emitted < 1000; emitted++ {
		_, err = c.Exec(t.Context(), "select emit_all('x', to_jsonb(md5(random()::text) || repeat('x', 1000)))")
	}
	if sqlState(err) != "53400" || emitted < 20 {
		t.Errorf("after %d events: %v", emitted, err)
	}
	if _, err := c.Exec(t.Context(), "select emit_many(array['r'], 'x', array['1'::jsonb])"); sqlState(err) != "53400" {
		t.Errorf("emit_many: %v", err)
	}
	b.exec(t, "select emit_all('of the owner')")
	b.relay(t)
	if n := len(b.logged(t)); n != emitted {
		t.Errorf("%d of %d events in the log", n, emitted)
	}
	b.exec(t, "update meta set outbox_started = outbox_started - interval '1 hour'")
	b.exec(t, "select rotate_outbox('10 s')")
	execOn(t, c, "select emit_all('x')")
}
