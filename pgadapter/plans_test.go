package pgadapter

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// TestChangesDoNotSearchTheNode: what is changed for some sessions of a node is found by their pids, though Postgres
// thinks that the node has next to none. A plan that begins with all sessions of the node costs their number times
// that of the changes.
func TestChangesDoNotSearchTheNode(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, nil)
	b.exec(t, `insert into sessions (epoch, opened, covered, expires_at, window_ms, known, settled, pid, sid, namespace, held, last)
		select 1, 1, 1, now() + interval '1 hour', 1000, true, true, i::text, i::text, '/', '', '' from generate_series(1, 20000) i`)
	b.exec(t, "analyze sessions") // with nothing that a node has
	b.exec(t, "set plan_cache_mode = force_generic_plan")
	q := db.queries
	for name, statement := range map[string]string{
		"checkpoint": q.checkpointSessions, "park": q.sessionPark, "delete": q.sessionDelete,
		"join": q.roomJoin, "leave": q.roomLeave, "set": q.dataSet, "remove": q.dataDelete,
	} {
		parameters := 0
		for strings.Contains(statement, fmt.Sprintf("$%d", parameters+1)) {
			parameters++
		}
		b.exec(t, "prepare one as "+statement)
		rows, err := b.conn.Query(t.Context(), "explain execute one(null"+strings.Repeat(", null", parameters-1)+")", pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		if text := strings.Join(plan, "\n"); strings.Contains(text, "sessions_node") || !strings.Contains(text, "sessions_pkey") {
			t.Errorf("%s:\n%s", name, text)
		}
		b.exec(t, "deallocate one")
	}
}
