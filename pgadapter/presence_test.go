package pgadapter

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

func topicOf(room string) recovery.PresenceTopic {
	return recovery.PresenceTopic{Namespace: "/", PresenceKey: recovery.PresenceKey{Event: "online", Room: room}}
}

func present(room, state string) map[recovery.PresenceKey]json.RawMessage {
	return map[recovery.PresenceKey]json.RawMessage{topicOf(room).PresenceKey: json.RawMessage(state)}
}

// announced returns the announcements of a room, without its name.
func (b *bench) announced(t *testing.T, room string) []string {
	t.Helper()
	return b.rows(t, `select replace(payload, '"room":"`+room+`",', '') from view_packets
		where kind = 'event' and rooms = array[chr(31) || 'online' || chr(31) || '`+room+`'] order by position`)
}

func (b *bench) waitAnnounced(t *testing.T, room string, want ...string) {
	t.Helper()
	eventually(t, "announcements of "+room, func() bool { return len(b.announced(t, room)) >= len(want) })
	wantRows(t, b.announced(t, room), want...)
}

// A killed node changes nothing: its members stay until their clients return or their sessions
// expire.
func TestPresence_NodeKilled_MembersUntilExpiry(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, _ := b.nodes(t, 2, &Options{Lease: time.Second})
	for _, db := range dbs {
		if err := db.Sessions().Bind(&expiryRecorder{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, pid := range []string{"returns", "expires"} {
		s := session(pid)
		s.Window, s.Presence = 5*time.Second, present("r", `{"is": "here"}`)
		mustOpen(t, dbs[0], s)
		b.exec(t, "select 1")
		eventually(t, pid+" is announced", func() bool { return b.int(t, "select count(*) from presence_changes") == 0 })
		time.Sleep(2 * recovery.PresenceInterval) // so that each is announced on its own
	}
	entered := []string{
		`["online",{"version":1,"entered":[{"id":"sid of returns","state":{"is": "here"}}]}]`,
		`["online",{"version":2,"entered":[{"id":"sid of expires","state":{"is": "here"}}]}]`,
	}
	b.waitAnnounced(t, "r", entered...)
	dbs[0].crash()
	eventually(t, "the sessions are parked", func() bool { return b.int(t, "select count(*) from sessions where node is null") == 2 })
	wantRows(t, b.rows(t, "select sid, node is null, parked from view_presence order by sid"), "sid of expires true true", "sid of returns true true")
	back, err := dbs[1].Sessions().Resume(t.Context(), recovery.ResumeRequest{PIDHash: "returns", Namespace: "/"})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(back.Presence[topicOf("r").PresenceKey]); got != `{"is": "here"}` {
		t.Errorf("resumed with state %q", got)
	}
	b.waitAnnounced(t, "r", append(entered, `["online",{"version":3,"left":["sid of expires"]}]`)...)
	members, err := dbs[1].Sessions().Members(t.Context(), topicOf("r"))
	if err != nil || len(members) != 1 || members[0].ID != "sid of returns" {
		t.Errorf("members %v, %v", members, err)
	}
}

// A node that dies between a change and its announcement leaves the change to the others, which
// look once per lease. So do changes that no node makes.
func TestPresence_ChangeNotAnnounced_AnnouncedByOthers(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, &Options{Lease: time.Second})
	mustOpen(t, db, session("a"))
	b.exec(t, `insert into presence (pid_hash, event, room, namespace, sid, state) values ('a', 'online', 'r', '/', 'sid of a', '1')`)
	b.waitAnnounced(t, "r", `["online",{"version":1,"entered":[{"id":"sid of a","state":1}]}]`)
	b.exec(t, "delete from sessions")
	b.waitAnnounced(t, "r", `["online",{"version":1,"entered":[{"id":"sid of a","state":1}]}]`, `["online",{"version":2,"left":["sid of a"]}]`)
}

// Changes of open transactions delay no others, and what is rolled back was never there.
func TestPresence_OpenTransaction_DelaysNoOther(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, &Options{Lease: time.Second})
	for _, pid := range []string{"a", "b", "c"} {
		mustOpen(t, db, session(pid))
	}
	insert := `insert into presence (pid_hash, event, room, namespace, sid, state) values ($1::text, 'online', 'r', '/', $1::text, '1')`
	other := b.connect(t)
	for pid, conn := range map[string]*pgx.Conn{"a": b.conn, "c": other} {
		execOn(t, conn, "begin")
		if _, err := conn.Exec(t.Context(), insert, pid); err != nil {
			t.Fatal(err)
		}
	}
	watcher := b.connect(t)
	if err := db.Sessions().Change(recovery.Key{PIDHash: "b", Epoch: 1}, recovery.Change{Presence: present("r", "2")}).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other change is announced", func() bool {
		var n int
		if err := watcher.QueryRow(t.Context(), "select count(*) from presence_topics").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n == 1
	})
	execOn(t, other, "rollback")
	execOn(t, b.conn, "commit")
	b.waitAnnounced(t, "r", `["online",{"version":1,"entered":[{"id":"sid of b","state":2}]}]`, `["online",{"version":2,"entered":[{"id":"a","state":1}]}]`)
}

// A topic without members is forgotten, and its versions go on rising when it has members again.
func TestPresence_TopicForgotten_VersionsRise(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, nil)
	store := db.Sessions()
	mustOpen(t, db, session("a"))
	set := func(room, state string) {
		t.Helper()
		change := present(room, state)
		if state == "" {
			change[topicOf(room).PresenceKey] = nil
		}
		if err := store.Change(recovery.Key{PIDHash: "a", Epoch: 1}, recovery.Change{Presence: change}).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the change is announced", func() bool { return b.int(t, "select count(*) from presence_changes") == 0 })
	}
	for i := range 3 {
		set("r", fmt.Sprint(i))
	}
	set("stays", "1")
	b.exec(t, "select forget_presence('0')")
	set("r", "")
	b.exec(t, "select forget_presence('1 hour')")
	wantRows(t, b.rows(t, "select room, version from presence_topics order by room"), "r 4", "stays 1")
	b.exec(t, "select forget_presence('0')")
	wantRows(t, b.rows(t, "select room, version, (select presence_floor from meta) from presence_topics order by room"), "stays 1 4")
	list, err := store.Announced(t.Context(), topicOf("r"))
	if err != nil || list.Version != 4 || len(list.Members) > 0 {
		t.Errorf("list %+v, %v", list, err)
	}
	set("r", "9")
	wantRows(t, b.announced(t, "r")[4:], `["online",{"version":5,"entered":[{"id":"sid of a","state":9}]}]`)
}

// The views have the same answer as Go, also for a role that may only read them.
func TestPresence_Views_SameAsGo(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, nil)
	for i, room := range []string{"r", "r", "s"} {
		s := session(fmt.Sprint(i))
		s.Presence = present(room, fmt.Sprintf(`{"n":%d}`, i))
		mustOpen(t, db, s)
	}
	role := b.schema + "_reader"
	b.exec(t, "create role "+role)
	b.exec(t, "select allow_read('"+role+"')")
	t.Cleanup(func() { execOn(t, b.conn, "reset role", "drop owned by "+role, "drop role "+role) })
	b.exec(t, "set role "+role)
	members, err := db.Sessions().Members(t.Context(), topicOf("r"))
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, m := range members {
		want = append(want, m.ID+" "+string(m.State))
	}
	wantRows(t, b.rows(t, "select sid || ' ' || state from view_presence where namespace = '/' and event = 'online' and room = 'r' order by sid"), want...)
	wantRows(t, b.rows(t, "select room, members from view_presence_rooms order by room"), "r 2", "s 1")
	if _, err := b.conn.Exec(t.Context(), "select from presence"); sqlState(err) != "42501" {
		t.Errorf("the role reads the table: %v", err)
	}
	b.exec(t, "reset role")
}

// A list reads the index of its topic, and nothing of 10,000 other rooms; 10,000 members that
// leave at once are a few events.
func TestPresence_ManyMembersAndRooms(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, nil)
	const n = 10_000
	b.exec(t, `insert into sessions (epoch, opened, covered, node, window_ms, known, checkpointed, pid_hash, sid, namespace, initial_offset, last)
		select 1, 0, 0, (select id from nodes), 60000, true, false, 'p' || i, 's' || i, '/', '', '' from generate_series(1, $1) i`, n)
	for what, room := range map[string]string{"members": `'large'`, "rooms": `'room ' || i`} {
		began := time.Now()
		b.exec(t, `insert into presence (pid_hash, event, room, namespace, sid, state)
			select 'p' || i, 'online', `+room+`, '/', 's' || i, '{"name":"someone with a name","seen":1234567890}' from generate_series(1, $1) i`, n)
		db.presences.wake()
		eventually(t, what+" announced", func() bool { return b.int(t, "select count(*) from presence_changes") == 0 })
		t.Logf("10,000 %s entered and announced in %v", what, time.Since(began))
	}
	b.exec(t, "analyze presence; analyze presence_changes")
	for room, most := range map[string]int{"large": n, "room 77": 1} {
		for name, read := range map[string]func() (int, error){
			"members": func() (int, error) {
				m, err := db.Sessions().Members(t.Context(), topicOf(room))
				return len(m), err
			},
			"announced": func() (int, error) {
				l, err := db.Sessions().Announced(t.Context(), topicOf(room))
				return len(l.Members), err
			},
		} {
			began := time.Now()
			count, err := read()
			if err != nil || count != most {
				t.Errorf("%s of %s: %d, %v", name, room, count, err)
			}
			t.Logf("%s of %q: %d in %v", name, room, count, time.Since(began))
		}
	}
	for _, query := range []string{db.queries.presenceMembers, db.queries.presenceAnnounced} {
		plan := strings.Join(b.rows(t, "explain "+strings.NewReplacer("$1", "'/'", "$2", "'online'", "$3", "'room 77'").Replace(query)), "\n")
		if !strings.Contains(plan, "presence_topic") || strings.Contains(plan, "Seq Scan on presence ") {
			t.Errorf("plan of a list:\n%s", plan)
		}
	}
	began := time.Now()
	b.exec(t, "delete from sessions")
	t.Logf("10,000 sessions with two rooms each deleted in %v", time.Since(began))
	before := b.int(t, "select count(*) from log")
	db.presences.wake()
	eventually(t, "all left", func() bool { return b.int(t, "select count(*) from presence_changes") == 0 })
	took := time.Since(began)
	large, last := 0, ""
	watchers := adapter.WatchRequest{Event: "online", Room: "large"}.Watchers()
	for batch, err := range db.Read(t.Context(), 0, adapter.Position(b.int(t, "select position from view_log"))) {
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range batch {
			if slices.Contains(d.Audience.Rooms, watchers) {
				large, last = large+1, string(d.Payload)
			}
		}
	}
	if !strings.Contains(last, `"left":[`) {
		t.Errorf("the last announcement is %.100s", last)
	}
	t.Logf("announced in %v, %d batches; %d announcements of the large room", took, b.int(t, "select count(*) from log")-before, large)
	if large > 2*n/500+20 {
		t.Errorf("%d announcements for %d members that entered and left", large, n)
	}
}

// A room that changes all the time on all nodes is announced ten times a second, by all nodes together.
func TestPresence_ManyChanges_FewAnnouncements(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, _ := b.nodes(t, 3, nil)
	began := time.Now()
	for i := range 400 {
		s := session(fmt.Sprint(i))
		s.Presence = present("r", "1")
		mustOpen(t, dbs[i%len(dbs)], s)
	}
	eventually(t, "all are announced", func() bool { return b.int(t, "select count(*) from presence_changes") == 0 })
	most := int64(time.Since(began)/recovery.PresenceInterval) + 2
	if n := b.int(t, "select version from presence_topics"); n > most {
		t.Errorf("%d announcements of 400 changes in %v", n, time.Since(began))
	} else {
		t.Logf("%d announcements of 400 changes in %v", n, time.Since(began))
	}
}
