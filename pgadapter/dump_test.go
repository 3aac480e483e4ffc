package pgadapter

import (
	"fmt"
	"slices"
	"testing"

	"github.com/pgsocket/socketio/adapter/adaptertest"
	"github.com/pgsocket/socketio/internal/pgserver"
	"github.com/pgsocket/socketio/pgtest"
)

// TestRelay_CounterPassesTheNumbersOfARestoredDump_BeforeTheFirstNode: SQL emits into a database that was restored from
// the dump of a server with greater transaction ids, and its ids exceed those before any node runs there.
func TestRelay_CounterPassesTheNumbersOfARestoredDump_BeforeTheFirstNode(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	execOn(t, b.conn, "select emit_all('old')")
	b.relay(t)
	want := []string{`["old"]`}
	at := b.int(t, "select pg_current_xact_id()::text::bigint") + 20
	execOn(t, b.conn, fmt.Sprintf("update log set snapshot = '%[1]d:%[1]d:', relayed_on = 1 where snapshot is not null", at),
		fmt.Sprintf("update meta set relayed = '%[1]d:%[1]d:', relayed_on = 1", at))
	for i := 0; b.int(t, "select pg_current_xact_id()::text::bigint") < at+5; i++ {
		execOn(t, b.conn, fmt.Sprintf("select emit_all('new-%d')", i))
		want = append(want, fmt.Sprintf(`["new-%d"]`, i))
	}
	db := b.open(t, nil)
	eventually(t, "the last is in the log", func() bool { return b.int(t, "select count(*) from log") > 1 })
	if err := db.WaitDelivered(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantLogged(t, b, want...)
}

// burn advances the transaction ids of a server by n.
func (b *bench) burn(t *testing.T, n int64) {
	t.Helper()
	b.exec(t, fmt.Sprintf("do $$ begin for i in 1..%d loop perform pg_current_xact_id(); commit; end loop; end $$", n))
}

// dumped returns a schema on its own server, with an event that was relayed, one that waits, and one of a transaction
// that is open during the dump.
func dumped(t *testing.T) (b *bench, srv *pgserver.Server, dump []byte) {
	t.Helper()
	srv = newServer(t, "none", nil)
	b = newBench(t, pgtest.On(srv.DSN()))
	b.burn(t, 200)
	open := b.connect(t)
	execOn(t, open, "begin", "select emit_all('never')")
	execOn(t, b.conn, "select emit_all('relayed')")
	b.relay(t)
	execOn(t, b.conn, "select emit_all('waits')")
	dump, err := srv.Dump(t.Context(), b.schema)
	if err != nil {
		t.Fatal(err)
	}
	execOn(t, open, "rollback")
	return b, srv, dump
}

// TestDump_OtherServer: the transaction ids of the other server are smaller, and exceed those of the dump before or
// after the first node runs there.
func TestDump_OtherServer_AllFromSQLIsThereOnce(t *testing.T) {
	t.Parallel()
	for _, nodeFirst := range []bool{true, false} {
		t.Run(fmt.Sprintf("node first=%v", nodeFirst), func(t *testing.T) {
			t.Parallel()
			old, _, dump := dumped(t)
			target := newServer(t, "none", nil)
			if err := target.Restore(t.Context(), dump); err != nil {
				t.Fatal(err)
			}
			b := &bench{dsn: target.DSN(), schema: old.schema}
			b.conn = b.connect(t)
			const below, above = 10, 10
			now, then := b.int(t, "select pg_current_xact_id()::text::bigint"), b.int(t, "select pg_snapshot_xmax(snapshot)::text::bigint from relayed()")
			if now > then-below {
				t.Fatalf("transaction %d of the other server is not below %d", now, then)
			}
			b.burn(t, then-below-now)
			var db *DB
			if nodeFirst {
				db = b.open(t, nil)
			}
			want := []string{`["relayed"]`}
			for i := range below + above {
				execOn(t, b.conn, fmt.Sprintf("select emit_all('new-%d')", i))
				want = append(want, fmt.Sprintf(`["new-%d"]`, i))
			}
			if !nodeFirst {
				db = b.open(t, nil)
			}
			eventually(t, "all is in the log", func() bool { return b.int(t, "select count(*) from view_packets") > int64(len(want)) })
			appendOne(t, db, adaptertest.Event("of a node"))
			b.burn(t, 2*below)
			execOn(t, b.conn, "select emit_all('last')")
			eventually(t, "the last is in the log", func() bool { return b.int(t, "select count(*) from view_packets where payload like '%last%'") > 0 })
			// A transaction of the new server with the id of one in the dump is treated as the same one.
			got, waited := b.logged(t), 0
			got = slices.DeleteFunc(got, func(payload string) bool {
				if payload == `["waits"]` {
					waited++
				}
				return payload == `["waits"]`
			})
			if want = append(want, string(adaptertest.Event("of a node").Payload), `["last"]`); !slices.Equal(got, want) || waited != 1 {
				t.Errorf("log has %d: %q\nwant %d: %q\nand what waited once, not %d times", len(got), got, len(want), want, waited)
			}
		})
	}
}

// TestDump_SameServer: the schema is dropped and restored on the same server.
func TestDump_SameServer_AllFromSQLIsThereOnce(t *testing.T) {
	t.Parallel()
	b, srv, dump := dumped(t)
	execOn(t, b.conn, "select emit_all('lost')", "drop schema "+quoted(b.schema)+" cascade")
	if err := srv.Restore(t.Context(), dump); err != nil {
		t.Fatal(err)
	}
	execOn(t, b.conn, "select emit_all('new')")
	db := b.open(t, nil)
	eventually(t, "it is in the log", func() bool { return b.int(t, "select count(*) from view_packets") >= 3 })
	appendOne(t, db, adaptertest.Event("of a node"))
	execOn(t, b.conn, "select emit_all('last')")
	eventually(t, "the last is in the log", func() bool { return b.int(t, "select count(*) from view_packets where payload like '%last%'") > 0 })
	wantLogged(t, b, `["relayed"]`, `["waits"]`, `["new"]`, string(adaptertest.Event("of a node").Payload), `["last"]`)
}

// TestRelay_RestoredWithNothingThatWaits: the events that were relayed before the dump are checked once.
func TestRelay_RestoredWithNothingThatWaits_NumbersOfThisServer(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	execOn(t, b.conn, "select emit_all('old')")
	b.relay(t)
	b.exec(t, "update log set snapshot = '99000000001:99000000001:', relayed_on = 1 where snapshot is not null")
	b.exec(t, "update outbox set xid = '99000000000'")
	appendOne(t, b.open(t, nil), adaptertest.Event("of a node"))
	if n := b.int(t, "select count(*) from relayed() where not restored and relayed_on = server_identity()"); n != 1 {
		t.Error("the numbers are still those of the other server")
	}
	execOn(t, b.conn, "select emit_all('new')")
	eventually(t, "it is in the log", func() bool { return b.int(t, "select count(*) from view_packets") >= 3 })
	wantLogged(t, b, `["old"]`, string(adaptertest.Event("of a node").Payload), `["new"]`)
}
