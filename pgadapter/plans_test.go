package pgadapter

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// TestPlans_Changes: changes of some sessions of a node find them by pid_hash, even if Postgres assumes that the node has
// almost none. The cost of a plan that begins with all sessions of the node is their number times that of the
// changes.
func TestPlans_Changes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, nil)
	b.exec(t, `insert into sessions (epoch, opened, covered, expires_at, window_ms, known, checkpointed, pid_hash, sid, namespace, initial_offset, last)
		select 1, 1, 1, now() + interval '1 hour', 1000, true, true, i::text, i::text, '/', '', '' from generate_series(1, 20000) i`)
	b.exec(t, "analyze sessions") // while no node has any
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

// audience is the node of sessions whose clients received one event each.
type audience struct{ pids []string }

func (a *audience) Checkpoint(adapter.Position) (adapter.Position, []recovery.Progress) {
	standings := make([]recovery.Progress, len(a.pids))
	for i, pid := range a.pids {
		standings[i].Key = session(pid).Key
	}
	return 0, standings
}

func (a *audience) Expired(*recovery.Session) {}

func (a *audience) Serving() bool { return true }

// TestPlans_SmallTables: statements for some sessions never scan a table sequentially, not even while it is small, because
// Postgres would keep that plan when it is large. The same holds for foreign key checks.
func TestPlans_SmallTables(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, nil)
	node := &audience{}
	if err := db.Sessions().Bind(node); err != nil {
		t.Fatal(err)
	}
	const tables = " from pg_stat_user_tables where schemaname = current_schema and relname in ('sessions', 'session_rooms', 'session_data', 'presence')"
	before := b.int(t, "select sum(seq_scan)::bigint"+tables)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	store := db.Sessions()
	for i := range 12 { // on each connection of the pool more than once
		s := session(fmt.Sprint(i))
		s.Rooms = []recovery.RoomInterval{{Room: "first", Joined: 1}}
		s.Data = map[string]json.RawMessage{"a": json.RawMessage("1")}
		s.Presence = map[recovery.PresenceKey]json.RawMessage{{Event: "online", Room: "r"}: json.RawMessage("1")}
		s.Window = time.Millisecond
		must(store.Open(s).Wait(t.Context()))
		node.pids = []string{s.PIDHash}
		must(db.sweeper.checkpoint(t.Context()))
		must(store.Change(s.Key, recovery.Change{At: 2, Join: []string{"second"}, Data: map[string]json.RawMessage{"b": json.RawMessage("2")}}).Wait(t.Context()))
		must(store.Change(s.Key, recovery.Change{At: 3, Leave: []string{"first"}, Data: map[string]json.RawMessage{"a": nil}}).Wait(t.Context()))
		must(store.Change(s.Key, recovery.Change{Presence: map[recovery.PresenceKey]json.RawMessage{
			{Event: "online", Room: "r"}: nil, {Event: "online", Room: "s"}: json.RawMessage("2"),
		}}).Wait(t.Context()))
		topic := recovery.PresenceTopic{Namespace: "/", PresenceKey: recovery.PresenceKey{Event: "online", Room: "s"}}
		_, err := store.Members(t.Context(), topic)
		must(err)
		_, err = store.Announced(t.Context(), topic)
		must(err)
		must(store.End(s.Key, recovery.Release{Park: i%4 != 0}).Wait(t.Context()))
		if i%4 > 1 {
			b.exec(t, "update sessions set expires_at = now() + interval '1 minute' where pid_hash = $1", s.PIDHash)
			again, err := store.Resume(t.Context(), recovery.ResumeRequest{PIDHash: s.PIDHash, Namespace: "/"})
			must(err)
			must(store.End(again.Key, recovery.Release{Park: i%4 == 2}).Wait(t.Context()))
		}
		must(db.sweeper.expire(t.Context()))
	}
	eventually(t, "Postgres counts the scans", func() bool {
		return b.int(t, "select min(idx_scan)"+tables) >= 12
	})
	if n := b.int(t, "select sum(seq_scan)::bigint"+tables) - before; n != 0 {
		t.Errorf("%d sequential scans of tables", n)
	}
}
