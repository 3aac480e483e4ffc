package pgadapter

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/adapter/adaptertest"
)

// waits is for tests that relay by themselves: the nodes do not.
var waits = Options{RelayInterval: time.Hour, PollInterval: 10 * time.Millisecond}

// relay relays until nothing is left.
func (b *bench) relay(t testing.TB) {
	t.Helper()
	for b.int(t, "select relay_outbox(true, true)") > 0 {
	}
}

// logged returns the payloads of the whole log.
func (b *bench) logged(t testing.TB) []string {
	t.Helper()
	var payloads []string
	rows, err := b.conn.Query(t.Context(), "select id, packets, frame from log order by id")
	if err != nil {
		t.Fatal(err)
	}
	var id int64
	var packets int
	var frame []byte
	_, err = pgx.ForEachRow(rows, []any{&id, &packets, &frame}, func() error {
		envelopes, err := decodeFrame(frame, packets)
		for _, e := range envelopes {
			payloads = append(payloads, string(e.Payload))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return payloads
}

func wantLogged(t testing.TB, b *bench, want ...string) {
	t.Helper()
	if got := b.logged(t); !slices.Equal(got, want) {
		t.Errorf("log has %d: %.500q\nwant %d: %.500q", len(got), got, len(want), want)
	}
}

func execOn(t testing.TB, c *pgx.Conn, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := c.Exec(context.Background(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func TestEmitSQL_OnlyAfterCommit(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	execOn(t, b.conn,
		"begin", "select emit('r', 'one')", "savepoint s", "select emit('r', 'not')", "rollback to s", "select emit('r', 'two')", "commit",
		"begin", "select emit('r', 'never')", "rollback",
		"do $$ begin perform emit('r', 'three'); begin perform emit('r', 'no'); raise 'x'; exception when others then null; end; end $$")

	b.relay(t)

	wantLogged(t, b, `["one"]`, `["two"]`, `["three"]`)
	b.relay(t)
	wantLogged(t, b, `["one"]`, `["two"]`, `["three"]`)
}

func TestEmitSQL_OpenTransaction_DelaysNoOther(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	slow, other := b.connect(t), b.connect(t)

	execOn(t, slow, "begin", "select emit_all('slow-1')")
	execOn(t, other, "select emit_all('quick-1')")
	b.relay(t)
	execOn(t, other, "select emit_all('quick-2')", "begin", "select emit_all('quick-3')")
	b.relay(t)
	execOn(t, slow, "select emit_all('slow-2')", "commit")
	execOn(t, other, "select emit_all('quick-4')", "commit")
	b.relay(t)

	wantLogged(t, b, `["quick-1"]`, `["quick-2"]`, `["slow-1"]`, `["slow-2"]`, `["quick-3"]`, `["quick-4"]`)
}

func TestEmitSQL_DependentTransactions_InOrder(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	execOn(t, b.conn, "create table r (n int)", "insert into r values (0)")
	first, second := b.connect(t), b.connect(t)

	execOn(t, second, "begin", "select emit_all('b-begins')") // has the lower number
	execOn(t, first, "begin", "update r set n = 1", "select emit_all('a')", "commit")
	execOn(t, second, "update r set n = 2", "select emit_all('b')", "commit")
	b.relay(t)

	wantLogged(t, b, `["a"]`, `["b-begins"]`, `["b"]`)
}

func TestAppend_RelaysEarlierCommits(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, recorders := b.nodes(t, 2, &waits)
	b.exec(t, "select relay_outbox(true, true)")
	for i := range 5 {
		execOn(t, b.conn, fmt.Sprintf("select emit_all('sql', '%d')", i))
		if err := adaptertest.Publish(t, dbs[i%2], adaptertest.Event(`["go",%d]`, i)).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}

	for _, r := range recorders {
		want := []string{`["sql", 0]`, `["go",0]`, `["sql", 1]`, `["go",1]`, `["sql", 2]`, `["go",2]`, `["sql", 3]`, `["go",3]`, `["sql", 4]`, `["go",4]`}
		if got := adaptertest.Payloads(r.Expect(t, 10)); !slices.Equal(got, want) {
			t.Errorf("got %q", got)
		}
	}
}

func TestRelay_NoAppends(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{"polled": "select emit_all('hi')", "notified": "select emit_all('hi', notify => true)"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			_, recorders := b.nodes(t, 3, &Options{Lease: 5 * time.Second})
			for i := range 20 {
				execOn(t, b.conn, sql)
				for _, r := range recorders {
					r.Expect(t, i+1)
				}
			}
		})
	}
}

func TestRelay_LeaderGone_NextTakesOver(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, recorders := b.nodes(t, 3, &Options{Lease: 5 * time.Second})
	execOn(t, b.conn, "select emit_all('hi')")
	for _, r := range recorders {
		r.Expect(t, 1)
	}
	slices.SortFunc(dbs, func(x, y *DB) int { return int(min(1, max(-1, x.node.id.Load()-y.node.id.Load()))) })
	eventually(t, "one is the first", func() bool {
		return dbs[0].node.isRelayLeader.Load() && !dbs[1].node.isRelayLeader.Load() && !dbs[2].node.isRelayLeader.Load()
	})

	if err := dbs[0].Close(t.Context()); err != nil {
		t.Fatal(err)
	}

	eventually(t, "the second is", func() bool { return dbs[1].node.isRelayLeader.Load() && !dbs[2].node.isRelayLeader.Load() })
}

func TestRelay_LargeTransaction(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	other, open := b.connect(t), b.connect(t)
	calm(t, b.conn, other, open)
	execOn(t, open, "begin", "select emit_all('open')")
	execOn(t, b.conn, "begin", "select count(*) from (select emit_all('x', to_jsonb(i)) from generate_series(1, 5000) i) s")
	execOn(t, other, "select emit_all('other')")
	execOn(t, b.conn, "select count(*) from (select emit_all('x', to_jsonb(i)) from generate_series(5001, 10000) i) s", "commit")
	execOn(t, other, "select emit_all('last')")

	if n := b.int(t, "select relay_pending(1000, 1000000, true, false)"); n != -1 {
		t.Errorf("an append took %d of them", n)
	}
	var steps []int64
	for {
		n := b.int(t, "select relay_pending(4000, 1000000, false, false)")
		if steps = append(steps, n); n == 0 {
			break
		}
	}

	if want := []int64{1, 4000, 4000, 2001, 0}; !slices.Equal(steps, want) {
		t.Errorf("relayed %v, want %v", steps, want)
	}
	want := []string{`["other"]`}
	for i := range 10000 {
		want = append(want, fmt.Sprintf(`["x", %d]`, i+1))
	}
	wantLogged(t, b, append(want, `["last"]`)...)
	execOn(t, open, "commit")
	b.relay(t)
	wantLogged(t, b, append(want, `["last"]`, `["open"]`)...)
	if n := b.int(t, "select max(packets) from log"); n > maxPackets {
		t.Errorf("a batch of %d packets", n)
	}
}

func TestRelay_Backlog_InOrder(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	conns := []*pgx.Conn{b.connect(t), b.connect(t), b.connect(t)}
	var want []string
	// Each of three transactions begins before the one before it has ended.
	for i := range 60 {
		c := conns[i%3]
		if i >= 3 {
			execOn(t, c, fmt.Sprintf("select emit_all('end', '%d')", i-3), "commit")
			want = append(want, fmt.Sprintf(`["begin", %d]`, i-3), fmt.Sprintf(`["end", %d]`, i-3))
		}
		if i < 57 {
			execOn(t, c, "begin", fmt.Sprintf("select emit_all('begin', '%d')", i))
		}
	}
	for b.int(t, "select relay_pending(5, 1000000, false, false)") > 0 {
	}

	wantLogged(t, b, want...)
}

func TestOutbox_Rotation_OpenTransactions(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	open := b.connect(t)
	rotate := func() bool {
		b.exec(t, "update meta set outbox_started = outbox_started - interval '1 hour'")
		return b.int(t, "select rotate_outbox('10 s')::int") == 1
	}
	execOn(t, open, "begin", "select emit_all('open')")
	execOn(t, b.conn, "select emit_all('a')")
	for range 2 {
		if !rotate() {
			t.Fatal("not rotated")
		}
	}
	if rotate() {
		t.Error("a partition was emptied below an open transaction")
	}
	execOn(t, open, "commit")
	if rotate() {
		t.Error("a partition was emptied before it was relayed")
	}
	b.relay(t)
	if !rotate() {
		t.Error("not rotated after everything was relayed")
	}
	wantLogged(t, b, `["open"]`, `["a"]`) // it emitted first
	if n := b.int(t, "select count(*) from outbox"); n != 0 {
		t.Errorf("%d rows left", n)
	}
	b.trim(t)
}

func TestRelay_RelayedRows_KnownWithoutTheLog(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	execOn(t, b.conn, "select emit_all('a')")
	b.relay(t)
	for range 3 {
		b.exec(t, "update meta set slot_started = slot_started - interval '1 hour'")
		b.exec(t, "select empty_slot('1 s')")
		b.exec(t, "select switch_slot('1 s')")
	}
	if n := b.int(t, "select count(*) from log"); n != 0 {
		t.Fatalf("%d rows in the log", n)
	}
	b.relay(t)
	wantLogged(t, b)
}

func TestDump_Restored_Continues(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	execOn(t, b.conn, "select emit_all('old')")
	b.relay(t)
	// As in a database whose transactions had greater numbers.
	b.exec(t, "update outbox set xid = '99000000000'")
	b.exec(t, "update log set snapshot = '99000000001:99000000005:99000000002', xids = '{99000000000}'")

	execOn(t, b.conn, "select emit_all('new-1')", "select emit_all('new-2')")
	for b.int(t, "select relay_pending(1, 100000, false, false)") > 0 {
	}
	execOn(t, b.conn, "select emit_all('new-3')")
	b.relay(t)
	execOn(t, b.conn, "select emit_all('new-4')")
	b.relay(t)

	wantLogged(t, b, `["old"]`, `["new-1"]`, `["new-2"]`, `["new-3"]`, `["new-4"]`)
}

func TestEmitTx(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pool := stdlib.OpenDB(*b.connect(t).Config())
	t.Cleanup(func() { _ = pool.Close() })
	e := &adapter.Envelope{
		Namespace: "/chat", Audience: adapter.Audience{Rooms: []string{"a", "b"}, Except: []string{"c"}},
		Payload: []byte(`["x",{"_placeholder":true,"num":0}]`), Attachments: [][]byte{{1, 2}},
	}
	opts := &EmitOptions{Schema: b.schema, Key: "k"}

	for i, finish := range []func(*sql.Tx) error{(*sql.Tx).Rollback, (*sql.Tx).Commit, (*sql.Tx).Commit} {
		tx, err := pool.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := EmitTx(t.Context(), SQLTx(tx), e, opts); err != nil || ok != (i < 2) {
			t.Errorf("%d: %v, %v", i, ok, err)
		}
		if err := finish(tx); err != nil {
			t.Fatal(err)
		}
	}
	tx, err := b.conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e2 := *e
	e2.Payload = []byte(`["y"]`)
	e2.Attachments = nil
	type key struct{}
	traced := EmitOptions{Schema: b.schema, Notify: true, TraceContext: func(ctx context.Context) string {
		text, _ := ctx.Value(key{}).(string)
		return text
	}}
	if ok, err := EmitTx(context.WithValue(t.Context(), key{}, "traceparent:00"), tx, &e2, &traced); err != nil || !ok {
		t.Errorf("%v, %v", ok, err)
	}
	if e2.TraceContext != "" {
		t.Error("the envelope of the caller was changed")
	}
	e2.TraceContext = "traceparent:00"
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.relay(t)

	wantLogged(t, b, string(e.Payload), `["y"]`)
	var frame []byte
	if err := b.conn.QueryRow(t.Context(), "select frame from log").Scan(&frame); err != nil {
		t.Fatal(err)
	}
	if want := appendPacket(appendPacket([]byte{frameVersion}, e), &e2); string(frame) != string(want) {
		t.Errorf("frame %q\nwant  %q", frame, want)
	}
	large := adaptertest.Event("%s", `["`+strings.Repeat("x", 2<<20)+`"]`)
	b.exec(t, "begin")
	if _, err := EmitTx(t.Context(), b.conn, large, &EmitOptions{Schema: b.schema}); !errors.Is(err, adapter.ErrTooLarge) {
		t.Errorf("2 MiB: %v", err)
	}
	b.exec(t, "commit")
	if tag, err := b.conn.Exec(t.Context(), "select 1"); err != nil || tag.RowsAffected() != 1 {
		t.Errorf("after an event that was too large: %v", err)
	}
	if _, err := EmitTx(t.Context(), b.conn, nil, nil); !errors.Is(err, errKind) {
		t.Errorf("nothing: %v", err)
	}
	if _, err := EmitTx(t.Context(), b.conn, &adapter.Envelope{Kind: adapter.SessionMoved}, nil); !errors.Is(err, errKind) {
		t.Errorf("an eviction: %v", err)
	}
	if _, err := EmitTx(t.Context(), b.conn, e, &EmitOptions{Schema: "nowhere"}); !errors.Is(err, ErrSchema) {
		t.Errorf("no schema: %v", err)
	}
}

// TestEmitTx_SchemaOfItsNode: a DB and an Emitter emit to their own log.
func TestEmitTx_SchemaOfItsNode(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, nil)
	emitter, err := OpenEmitter(t.Context(), b.dsn, &EmitterOptions{Schema: b.schema})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := emitter.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	for payload, emitTx := range map[string]func(context.Context, Tx, *adapter.Envelope, *EmitOptions) (bool, error){
		`["db"]`: db.EmitTx, `["emitter"]`: emitter.EmitTx,
	} {
		for _, opts := range []*EmitOptions{nil, {Key: payload}} {
			if ok, err := emitTx(t.Context(), b.conn, adaptertest.Event("%s", payload), opts); err != nil || !ok {
				t.Errorf("%s: %v, %v", payload, ok, err)
			}
		}
	}
	if n := b.int(t, "select (select count(*) from outbox) + (select count(*) from log)"); n == 0 {
		t.Error("nothing was emitted here")
	}
	if _, err := db.EmitTx(t.Context(), b.conn, adaptertest.Event("x"), &EmitOptions{Schema: "nowhere"}); !errors.Is(err, ErrSchema) {
		t.Errorf("another schema: %v", err)
	}
}

func TestEmitPacket_Malformed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	good := appendPacket(nil, &adapter.Envelope{
		Namespace: "/n", Audience: adapter.Audience{Rooms: []string{"ab", "c"}, Except: []string{"d"}},
		Payload: []byte(`["x",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`), Attachments: [][]byte{{1}, {2, 3}},
		TraceContext: "traceparent:00",
	})
	refused, taken := 0, 0
	for at := range good {
		for _, value := range []byte{0, 1, 2, 3, 127, 128, 255, good[at] + 1, good[at] - 1} {
			p := slices.Clone(good)
			p[at] = value
			if _, err := b.conn.Exec(t.Context(), "select emit_packet($1)", p); err != nil {
				refused++
				continue
			}
			taken++
			if _, err := decodeFrame(append([]byte{frameVersion}, p...), 1); err != nil {
				t.Errorf("byte %d set to %d: taken, and no reader understands it", at, value)
			}
		}
		if _, err := b.conn.Exec(t.Context(), "select emit_packet($1)", good[:at]); err == nil {
			t.Errorf("taken when cut off after %d bytes", at)
		}
	}
	t.Logf("%d refused, %d taken", refused, taken)
}

func TestEmitSQL_Refusals(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for sql, want := range map[string]string{
		"select emit(null, 'x')":                                                  "22004",
		"select emit('', 'x')":                                                    "22023",
		"select emit(repeat('x', 256), 'x')":                                      "22023",
		"select emit_to(array['a', null], 'x')":                                   "22004",
		"select emit_to(null, 'x')":                                               "22004",
		"select emit_all('')":                                                     "22023",
		"select emit_all(null)":                                                   "22023",
		"select emit_all('disconnect')":                                           "22023",
		"select emit_all('x', '1', args => '[]')":                                 "22023",
		"select emit_all('x', args => '{}')":                                      "22023",
		"select emit_all('x', key => '')":                                         "22023",
		"select emit_all('x', namespace => null)":                                 "22023",
		"select emit_all('x', to_jsonb(repeat('x', 1048576)))":                    "54000",
		"select emit_all('x', attachments => array_fill('\\x00'::bytea, '{11}'))": "22023",
		"select emit_all('x', '{\"a\":[{\"_placeholder\":true}]}', attachments => '{\"\\\\x00\"}')": "22023",
		"select emit_many(array[''], 'x', array['1'::jsonb])":                                       "22023",
		"select emit_many(array['a'], 'connect', array['1'::jsonb])":                                "22023",
		"select emit_many(array['a'], 'x', array[to_jsonb(repeat('x', 1048576))])":                  "54000",
		"select emit_packet('\\x00')":                                                               "22023",
	} {
		_, err := b.conn.Exec(t.Context(), sql)
		if got := sqlState(err); got != want {
			t.Errorf("%.70s: %v, want %s", sql, err, want)
		}
	}
	if n := b.int(t, "select emit_to('{}', 'x')::int"); n != 0 {
		t.Error("emitted to an empty audience")
	}
	b.relay(t)
	wantLogged(t, b)
}

func TestEmitSQL_Frames(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	execOn(t, b.conn, `select emit_to('{a,ü}', 'e', '{"k": "😀"}', namespace => 'chat', except_rooms => '{x}', attachments => '{"\\x01","\\x"}')`,
		`select emit('a', 'e', args => '[1, null, "x"]')`, `select emit('a', 'e')`, `select emit('a', 'e', 'null')`,
		`select emit_many('{a,null,b}', 'm', array['1'::jsonb, '2', null], '{c,d,b}')`)
	b.relay(t)
	var frame []byte
	if err := b.conn.QueryRow(t.Context(), "select frame from log").Scan(&frame); err != nil {
		t.Fatal(err)
	}
	want := []byte{frameVersion}
	for _, e := range []*adapter.Envelope{
		{
			Namespace: "/chat", Audience: adapter.Audience{Rooms: []string{"a", "ü"}, Except: []string{"x"}},
			Payload:     []byte(`["e", {"k": "😀"}, {"num": 0, "_placeholder": true}, {"num": 1, "_placeholder": true}]`),
			Attachments: [][]byte{{1}, {}},
		},
		{Namespace: "/", Audience: adapter.Audience{Rooms: []string{"a"}}, Payload: []byte(`["e", 1, null, "x"]`)},
		{Namespace: "/", Audience: adapter.Audience{Rooms: []string{"a"}}, Payload: []byte(`["e"]`)},
		{Namespace: "/", Audience: adapter.Audience{Rooms: []string{"a"}}, Payload: []byte(`["e", null]`)},
		{Namespace: "/", Audience: adapter.Audience{Rooms: []string{"a", "c"}}, Payload: []byte(`["m", 1]`)},
		{Namespace: "/", Audience: adapter.Audience{Rooms: []string{"b"}}, Payload: []byte(`["m"]`)},
	} {
		want = appendPacket(want, e)
	}
	if string(frame) != string(want) {
		t.Errorf("frame %q\nwant  %q", frame, want)
	}
}
