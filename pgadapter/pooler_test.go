package pgadapter

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/adapter/adaptertest"
	"github.com/pgsocket/socketio/internal/pgserver"
)

// TestPgBouncer: eight clients share two connections to Postgres and emit in every way;
// one node listens on a direct connection, and one only polls.
func TestPgBouncer(t *testing.T) {
	t.Parallel()
	const emitters, rounds = 8, 15
	b := newBench(t)
	execOn(t, b.conn, "create table o (id text primary key)", "select attach_trigger('o', 'all', 'o')")
	direct, pooled := b.dsn, b.pooler(t, pgserver.PoolerOptions{Mode: "transaction", Size: 2})
	b.dsn = pooled
	_, listening := b.nodes(t, 1, &Options{ListenDSN: direct})
	dbs, polling := b.nodes(t, 1, &Options{PollOnly: true})

	var emitting sync.WaitGroup
	for e := range emitters {
		emitting.Go(func() {
			if err := emitPooled(t.Context(), pooled, b.schema, e, rounds); err != nil {
				t.Errorf("emitter %d: %v", e, err)
			}
		})
	}
	emitting.Wait()
	if t.Failed() {
		return
	}

	// In each round one event from SQL, one from Go and one from the trigger; one with a key in all.
	const total = emitters*rounds*3 + rounds
	got := adaptertest.Payloads(listening[0].Expect(t, total))
	if other := adaptertest.Payloads(polling[0].Expect(t, total)); !slices.Equal(got, other) {
		t.Error("the nodes received different events")
	}
	if n := len(slices.Compact(slices.Sorted(slices.Values(got)))); n != total {
		t.Errorf("%d different events of %d", n, total)
	}
	conn, err := pgx.Connect(t.Context(), pooled)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var token string
	if err := conn.QueryRow(t.Context(), "select "+quoted(b.schema)+".snapshot_token()").Scan(&token); err != nil {
		t.Fatal(err)
	}
	if _, err := dbs[0].ResolveSnapshot(t.Context(), token); err != nil {
		t.Error(err)
	}
}

// emitPooled emits in transactions, all through one client of the pooler.
func emitPooled(ctx context.Context, pooled, schema string, number, rounds int) error {
	conn, err := pgx.Connect(ctx, pooled)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for i := range rounds {
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			id := fmt.Sprintf("%d-%d", number, i)
			for _, sql := range []string{
				"select SCHEMA.emit('all', 'sql', to_jsonb($1::text))",
				"savepoint s", "select SCHEMA.emit('all', 'never')", "rollback to s",
				"insert into SCHEMA.o values ($1)",
			} {
				var args []any
				if strings.Contains(sql, "$1") {
					args = []any{id}
				}
				if _, err := tx.Exec(ctx, strings.ReplaceAll(sql, "SCHEMA", quoted(schema)), args...); err != nil {
					return err
				}
			}
			if _, err := EmitTx(ctx, tx, adaptertest.Event(`["go","%s"]`, id), &EmitOptions{Schema: schema}); err != nil {
				return err
			}
			_, err := EmitTx(ctx, tx, adaptertest.Event(`["once",%d]`, i), &EmitOptions{Schema: schema, Key: strconv.Itoa(i)})
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
