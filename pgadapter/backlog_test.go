package pgadapter

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/adapter"
)

// calm sets the settings that the tests rely on, whatever the server has.
func calm(t *testing.T, conns ...*pgx.Conn) {
	t.Helper()
	for _, c := range conns {
		execOn(t, c, `
			select set_config(name, value, false)
			from (values ('default_transaction_isolation', 'read committed'), ('jit', 'off'), ('lock_timeout', '0'), ('statement_timeout', '0'),
				('idle_session_timeout', '0'), ('idle_in_transaction_session_timeout', '0'), ('transaction_timeout', '0')) calm (name, value)
			join pg_settings using (name)`)
	}
}

// big emits n events of 1 MB in one transaction.
func big(t *testing.T, c *pgx.Conn, n int) {
	t.Helper()
	execOn(t, c, fmt.Sprintf("select count(*) from (select emit('r', 'x', to_jsonb(i || repeat('x', 1000000))) from generate_series(1, %d) i) q", n))
}

// heads returns the beginnings of the payloads in the log.
func (b *bench) heads(t *testing.T) []string {
	t.Helper()
	var heads []string
	for _, p := range b.logged(t) {
		head, _, _ := strings.Cut(p, "xxx")
		heads = append(heads, head)
	}
	return heads
}

func TestRelay_TransactionBeforeTheRestOfACutOne_NothingTwice(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	other, third := b.connect(t), b.connect(t)
	calm(t, b.conn, other, third)
	execOn(t, other, "begin", "select emit('r', 'other')")
	execOn(t, third, "begin", "select emit('r', 'third')")
	big(t, b.conn, 40)
	if n := b.int(t, "select relay_outbox(true, false)"); n >= 40 {
		t.Fatalf("%d rows in one call: nothing was cut", n)
	}
	execOn(t, other, "commit")
	if n := b.int(t, "select relay_pending(3, 100000000, false, false)"); n != 3 {
		t.Errorf("%d rows", n)
	}
	execOn(t, third, "commit")
	b.relay(t)

	var want []string
	for i := range 40 {
		want = append(want, fmt.Sprintf(`["x", "%d`, i+1))
	}
	want = append(want, `["other"]`, `["third"]`)
	if got := b.heads(t); !slices.Equal(got, want) {
		t.Errorf("log has %d: %q", len(got), got)
	}
}

// A dump contains transaction ids; the server that it is restored into starts at lower ones.
func TestRelay_CounterPassesTheNumbersOfARestoredDump_NothingTwice(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	open := b.connect(t)
	calm(t, b.conn, open)
	execOn(t, b.conn, "select emit_all('relayed')", "select emit_all('relayed 2')")
	b.relay(t)
	execOn(t, b.conn, "select emit_all('waited')")
	var now int64
	if err := b.conn.QueryRow(t.Context(), "select pg_current_xact_id()::text::bigint").Scan(&now); err != nil {
		t.Fatal(err)
	}
	// The ids in the dump are in the future, both on this server and for transactions that run already.
	execOn(t, open, "begin", "select emit_all('running')")
	var running int64
	if err := open.QueryRow(t.Context(), "select pg_current_xact_id()::text::bigint").Scan(&running); err != nil {
		t.Fatal(err)
	}
	future := running + 40
	execOn(t, b.conn,
		fmt.Sprintf("update outbox o set xid = (case when n = 1 then %d else %d + n end)::text::xid8, horizon = '1000000000' "+
			"from (select id, row_number() over (order by id) as n from outbox) i where i.id = o.id", running, future),
		fmt.Sprintf("update log set snapshot = '%[1]d:%[1]d:'::pg_snapshot where snapshot is not null", future+3),
		fmt.Sprintf("update meta set relayed = '%[1]d:%[1]d:'::pg_snapshot", future+3),
		"select emit_all('new')")
	b.relay(t)
	execOn(t, open, "commit")
	b.relay(t)
	wantLogged(t, b, `["relayed"]`, `["relayed 2"]`, `["waited"]`, `["new"]`, `["running"]`)
	for b.int(t, "select pg_current_xact_id()::text::bigint") < future+10 {
	}
	b.exec(t, "select emit_all('later')")
	b.relay(t)
	b.exec(t, "select emit_all('last')")
	b.relay(t)
	wantLogged(t, b, `["relayed"]`, `["relayed 2"]`, `["waited"]`, `["new"]`, `["running"]`, `["later"]`, `["last"]`)
}

// The cost of reading a page of the outbox must not depend on the number of waiting or uncommitted rows.
func TestRelay_Backlog_ReadsNoMoreThanACallTakes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const n = 10000
	fill := func(c *pgx.Conn, rows int) {
		t.Helper()
		execOn(t, c, fmt.Sprintf("select count(*) from (select emit_all('x', '1') from generate_series(1, %d)) q", rows))
	}
	open := b.connect(t)
	calm(t, b.conn, open)
	execOn(t, open, "begin")
	fill(open, n) // stays uncommitted until the end
	for range 20 {
		fill(b.conn, n/20)
	}
	blocks := func(statement string) int64 {
		t.Helper()
		execOn(t, b.conn, "begin")
		var plan string
		if err := b.conn.QueryRow(t.Context(), "explain (analyze, buffers, format json) "+statement).Scan(&plan); err != nil {
			t.Fatal(err)
		}
		execOn(t, b.conn, "rollback")
		return b.int(t, "select (p->0->'Plan'->>'Shared Hit Blocks')::bigint + (p->0->'Plan'->>'Shared Read Blocks')::bigint from (select $1::jsonb p) q", plan)
	}
	for _, statement := range []string{
		"select relay_pending(50, 1000000, false, false)", "select relay_pending(50, 1000000, true, false)", "select outbox_due()",
		"select append(1, 1, 1, '\\x01ff00000000', false)",
	} {
		if got := blocks(statement); got > 3000 {
			t.Errorf("%s: %d blocks", statement, got)
		} else {
			t.Logf("%s: %d blocks", statement, got)
		}
	}
	execOn(t, open, "rollback")
	for b.int(t, "select relay_pending(1500, 10000000, false, false)") > 0 {
	}
	if got := len(b.logged(t)); got != n {
		t.Errorf("%d of %d events in the log", got, n)
	}
}

// A call reads the transactions of a backlog with the smallest ids. A transaction that was open for longer and has
// seen a later one still comes after that one.
func TestRelay_BacklogOfOverlappingTransactions_KeepsTheOrder(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var want []string
	emit := func(c *pgx.Conn, event string) {
		execOn(t, c, "select emit_all('"+event+"')")
	}
	long := b.connect(t)
	calm(t, b.conn, long)
	for i := range 12 {
		execOn(t, long, "begin")
		emit(long, fmt.Sprint("long ", i))
		for j := range 7 {
			emit(b.conn, fmt.Sprint(i, " ", j))
			want = append(want, fmt.Sprintf(`["%d %d"]`, i, j))
		}
		emit(long, fmt.Sprint("saw ", i))
		execOn(t, long, "commit")
		want = append(want, fmt.Sprintf(`["long %d"]`, i), fmt.Sprintf(`["saw %d"]`, i))
	}
	for b.int(t, "select relay_pending(5, 1000000, false, false)") > 0 {
	}
	wantLogged(t, b, want...)
}

func TestLocate_SnapshotFromTheFuture_IsRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, nil)
	b.exec(t, "select emit_all('x')")
	b.relay(t)
	var token string
	if err := b.conn.QueryRow(t.Context(), "select snapshot_token()").Scan(&token); err != nil {
		t.Fatal(err)
	}
	f := strings.Split(token, ".")
	for _, snapshot := range []string{"9000000000000000000:9000000000000000000:", "1:9000000000000000000:5", "1000000:1000000:"} {
		f[4] = snapshot
		if _, err := db.ResolveSnapshot(t.Context(), strings.Join(f, ".")); !errors.Is(err, adapter.ErrSnapshot) {
			t.Errorf("%s: %v", snapshot, err)
		}
	}
}

// While snapshot tokens wait for a lock, the pool has connections for everything else.
func TestLocate_ManyAtOnce_LeaveConnectionsForTheRest(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, nil)
	b.exec(t, "select emit_all('x')")
	b.relay(t)
	var token string
	if err := b.conn.QueryRow(t.Context(), "select snapshot_token()").Scan(&token); err != nil {
		t.Fatal(err)
	}
	b.exec(t, "begin; lock table meta in access exclusive mode")
	done := make(chan error)
	const many = 50
	for range many {
		go func() { // received below
			_, err := db.ResolveSnapshot(t.Context(), token)
			done <- err
		}()
	}
	eventually(t, "some wait in Postgres", func() bool { return len(db.snapshots.slots) == cap(db.snapshots.slots) })
	if _, err := db.Nodes(t.Context()); err != nil {
		t.Error(err)
	}
	b.exec(t, "commit")
	for range many {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
