package pgadapter

import (
	"fmt"
	"testing"
)

// TestOutboxSequence_StrangersCannotStopIt: a role without rights takes whatever advisory lock it likes, before
// anything was ever emitted from SQL in a new schema or in a copy of one. The first emit waits for none.
func TestOutboxSequence_StrangersCannotStopIt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	stranger := b.stranger(t)
	oid := b.int(t, "select 'outbox'::regclass::oid::bigint") // which any role can read in pg_class
	execOn(t, stranger, fmt.Sprintf("select pg_advisory_lock(1886613102, %d)", oid))
	execOn(t, b.conn, "set statement_timeout = '5s'", "select emit_all('1')", "reset statement_timeout")
	if n := b.int(t, "select count(*) from outbox"); n != 1 {
		t.Errorf("%d rows in the outbox", n)
	}
}
