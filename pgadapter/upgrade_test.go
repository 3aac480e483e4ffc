package pgadapter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pgsocket/socketio/adapter/adaptertest"
	"github.com/pgsocket/socketio/migrations"
	"github.com/pgsocket/socketio/recovery"
)

func TestSchemaVersions_AreThoseOfMigrations(t *testing.T) {
	t.Parallel()
	if oldestSchema != migrations.Oldest || schemaVersion != migrations.Latest {
		t.Errorf("supports schemas %d to %d, package migrations %d to %d", oldestSchema, schemaVersion, migrations.Oldest, migrations.Latest)
	}
}

func TestCheckVersion(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		version, worksFrom int
		says               string // "" if the version is supported
	}{
		"older than the range":            {version: 2, worksFrom: 1, says: "pgsocket migrate up"},
		"the oldest of the range":         {version: 3, worksFrom: 1},
		"inside the range":                {version: 4, worksFrom: 4},
		"the newest of the range":         {version: 5, worksFrom: 5},
		"newer, for programs of the past": {version: 8, worksFrom: 5},
		"newer, for newer programs":       {version: 8, worksFrom: 6, says: "upgrade the program"},
	} {
		err := checkVersion("s", c.version, c.worksFrom, 3, 5)
		if (err == nil) != (c.says == "") || err != nil && (!errors.Is(err, ErrSchema) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOpen_LaterSchema: during a rolling upgrade, a node of the older program restarts.
func TestOpen_LaterSchema_ThatWorksWithThisProgram(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.exec(t, fmt.Sprintf("update meta set schema_version = %[1]d; alter table meta alter schema_version set default %[1]d", schemaVersion+1))
	if err := migrations.Up(t.Context(), b.dsn, &migrations.Options{Schema: b.schema}); err != nil {
		t.Errorf("Up of the older program: %v", err)
	}
	dbs, recorders := b.nodes(t, 2, nil)
	checkSame(t, recorders, storm(t, dbs, 2, 20, 0))
	if version, _, err := migrations.Version(t.Context(), b.dsn, &migrations.Options{Schema: b.schema}); err != nil || version != schemaVersion+1 {
		t.Errorf("version %d, %v", version, err)
	}

	b.exec(t, fmt.Sprintf("update meta set works_from = %d", schemaVersion+1))
	if err := migrations.Up(t.Context(), b.dsn, &migrations.Options{Schema: b.schema}); err == nil || !strings.Contains(err.Error(), "upgrade the program") {
		t.Errorf("Up with an unsupported schema: %v", err)
	}
	db, err := Open(t.Context(), b.dsn, &Options{Schema: b.schema})
	if err == nil {
		_ = db.Close(context.Background())
	}
	if !errors.Is(err, ErrSchema) {
		t.Errorf("Open with an unsupported schema: %v", err)
	}
}

// TestMigrationWhileNodesRun_StatementsArePreparedAnew: a migration changes the result types of prepared statements,
// which Postgres refuses once on every connection ("cached plan must not change result type").
func TestMigrationWhileNodesRun_StatementsArePreparedAnew(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, recorders := b.nodes(t, 2, &Options{Heartbeat: 50 * time.Millisecond})
	const sessions = 12
	resume := func() {
		t.Helper()
		for i := range sessions {
			claim := recovery.ResumeRequest{PIDHash: fmt.Sprint("p", i), Namespace: "/"}
			if _, err := dbs[i%2].Sessions().Resume(t.Context(), claim); err != nil {
				t.Errorf("Resume: %v", err)
			}
		}
	}
	for i := range sessions {
		s := session(fmt.Sprint("p", i))
		s.Rooms = []recovery.RoomInterval{{Room: "r", Joined: 1}}
		s.Presence = present("r", "1")
		mustOpen(t, dbs[0], s)
	}
	resume()
	acked := storm(t, dbs, 2, 20, 0)
	for _, db := range dbs {
		if _, err := db.Nodes(t.Context()); err != nil {
			t.Fatal(err)
		}
	}

	execOn(t, b.conn, "begin", "drop view view_sessions, view_nodes, view_rooms, view_presence, view_presence_rooms",
		"alter table nodes alter name type varchar, alter server type varchar",
		"alter table sessions alter sid type varchar, alter namespace type varchar, alter initial_offset type varchar, alter last type varchar",
		"alter table session_rooms alter room type varchar",
		"alter table session_data alter key type varchar",
		"alter table presence alter event type varchar, alter room type varchar, alter sid type varchar, alter namespace type varchar", "commit")

	for _, db := range dbs {
		if nodes, err := db.Nodes(t.Context()); err != nil || len(nodes) != 2 {
			t.Errorf("Nodes: %v, %v", nodes, err)
		}
	}
	resume()
	for i, db := range dbs {
		if _, err := db.node.beat(t.Context(), db.pool); err != nil {
			if _, err = db.node.beat(t.Context(), db.pool); err != nil {
				t.Errorf("node %d: no heartbeat: %v", i, err)
			}
		}
		appendOne(t, db, adaptertest.Event("after %d", i))
	}
	for _, r := range recorders {
		r.Expect(t, len(acked)+len(dbs))
		if resets := r.Resets(); len(resets) > 0 {
			t.Errorf("reset: %v", resets)
		}
	}
}

// versions returns the frame versions in the log after a batch.
func (b *bench) versions(t *testing.T, after int64) string {
	t.Helper()
	var text string
	err := b.conn.QueryRow(t.Context(),
		"select coalesce(string_agg(distinct get_byte(frame, 0)::text, ','), '') from log where id > $1", after).Scan(&text)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestRollingUpgrade_NewFrames: nodes of a program with a newer frame version start one by one, and those of the older
// program leave. Version 2 is version 1 with another number here.
func TestRollingUpgrade_NewFrames(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const newer = frameVersion + 1
	node := func(frames byte) (*DB, *adaptertest.Recorder) {
		dbs, recorders := b.nodes(t, 1, &Options{Heartbeat: 50 * time.Millisecond, frames: frames})
		return dbs[0], recorders[0]
	}
	writes := func(db *DB, version uint32) func() bool {
		return func() bool { return db.publisher.frames.Load() == version }
	}
	old, oldHeard := node(frameVersion)
	first, firstHeard := node(newer)
	eventually(t, "the new node has observed the old one", func() bool {
		_, err := first.node.beat(t.Context(), first.pool)
		return err == nil
	})
	acked := storm(t, []*DB{old, first}, 4, 50, 0)
	checkSame(t, []*adaptertest.Recorder{oldHeard, firstHeard}, acked)
	if got := b.versions(t, 0); got != fmt.Sprint(frameVersion) {
		t.Errorf("with an old node the log has frames of versions %s", got)
	}

	if err := old.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	second, secondHeard := node(newer)
	for _, db := range []*DB{first, second} {
		eventually(t, "newer frames are written", writes(db, newer))
	}
	at := b.int(t, "select max(id) from log")
	more := storm(t, []*DB{first, second}, 4, 50, 0)
	firstHeard.Expect(t, len(acked)+len(more))
	checkSame(t, []*adaptertest.Recorder{secondHeard}, more)
	execOn(t, b.conn, "select emit_all('from SQL')")
	secondHeard.Expect(t, len(more)+1)
	if got := b.versions(t, at); got != fmt.Sprintf("%d,%d", frameVersion, newer) {
		t.Errorf("of new nodes and of SQL the log has frames of versions %s", got)
	}

	// Back to the older program: it treats unreadable batches as trimmed, and reads later ones.
	back, backHeard := node(frameVersion)
	for _, db := range []*DB{first, second} {
		eventually(t, "older frames are written again", writes(db, frameVersion))
	}
	appendOne(t, first, adaptertest.Event("for all"))
	heard := adaptertest.Payloads(backHeard.Expect(t, 1))
	if last := heard[len(heard)-1]; last != string(adaptertest.Event("for all").Payload) {
		t.Errorf("the old node received %q", heard)
	}
	if resets := backHeard.Resets(); len(resets) > 0 {
		t.Errorf("reset: %v", resets)
	}
	eventually(t, "the old node is healthy", func() bool { return back.Health() == nil })
}
