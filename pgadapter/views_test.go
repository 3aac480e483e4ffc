package pgadapter

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/adapter/adaptertest"
	"github.com/pgsocket/socketio/recovery"
)

// rows returns the result of a query as lines of text.
func (b *bench) rows(t *testing.T, sql string) []string {
	t.Helper()
	rows, err := b.conn.Query(t.Context(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	lines, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (string, error) {
		values, err := r.Values()
		line := fmt.Sprintln(values...)
		return line[:len(line)-1], err
	})
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return lines
}

func wantRows(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// Of several nodes on one machine, an operator finds the process.
func TestViews_ProcessOfANode(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.open(t, nil)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	wantRows(t, b.rows(t, "select host, pid from view_nodes"), fmt.Sprint(host, " ", os.Getpid()))
}

func TestModuleVersion(t *testing.T) {
	t.Parallel()
	const path = "github.com/pgsocket/socketio"
	for want, info := range map[string]*debug.BuildInfo{
		"v1.2.3": {Main: debug.Module{Path: "app", Version: "v9.0.0"}, Deps: []*debug.Module{{Path: path, Version: "v1.2.3"}}},
		"v1.2.4": {Deps: []*debug.Module{{Path: path, Version: "v1.2.3", Replace: &debug.Module{Path: "fork", Version: "v1.2.4"}}}},
		"v1.2.5": {Deps: []*debug.Module{{Path: path, Version: "v1.2.5", Replace: &debug.Module{Path: "../socketio"}}}},
		"v1.2.6": {Main: debug.Module{Path: path, Version: "v1.2.6"}},
		"":       {Main: debug.Module{Path: path + "/other", Version: "v1.2.7"}},
	} {
		if got := moduleVersion(info); got != want {
			t.Errorf("%+v: %q, want %q", info, got, want)
		}
	}
}

func TestViews_NodesSessionsRooms(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	first := b.open(t, &Options{NodeName: "first"})
	second := b.open(t, &Options{NodeName: "second"})
	r, _ := adaptertest.Bound(t, first)
	for i, in := range [][]string{{"lobby", "news"}, {"lobby"}, {}} {
		s := session(fmt.Sprint("p", i))
		for _, room := range in {
			s.Rooms = append(s.Rooms, recovery.RoomInterval{Room: room})
		}
		s.Data = map[string]json.RawMessage{"user": json.RawMessage("1")}
		mustOpen(t, []*DB{first, first, second}[i], s)
	}
	if err := first.Sessions().End(session("p1").Key, recovery.Release{Park: true}).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := first.Sessions().Change(session("p0").Key, recovery.Change{Leave: []string{"news"}}).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantRows(t, b.rows(t, "select name, sessions, server is not null, bound is not null, lease = interval '10 s', retention = interval '5 min', silent < lease from view_nodes order by name"),
		"first 1 true true true true true", "second 1 false false true true true")
	if n := b.int(t, "select count(*) from view_nodes where server = $1", r.ID()); n != 1 {
		t.Error("the server is not listed by its ID")
	}
	wantRows(t, b.rows(t, "select sid, namespace, coalesce(node, '-'), parked, expires_at is not null, rooms::text, data_keys::text from view_sessions order by sid"),
		"sid of p0 / first false false {lobby} {user}", "sid of p1 / - true true {lobby} {user}", "sid of p2 / second false false {} {user}")
	wantRows(t, b.rows(t, "select namespace, room, sessions, connected from view_rooms order by room"), "/ lobby 2 1")
}

func TestViews_Log(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	wantRows(t, b.rows(t, "select kept_after, position, at is null, bytes > 0, schema_version from view_log"), "0 0 true true 1")
	execOn(t, b.conn, "insert into log (id, origin, seq, packets, slot, frame) values (8, 1, 1, 1, 0, ''), (9, 1, 2, 3, 0, '')", "update meta set low = 4096 * 7")
	wantRows(t, b.rows(t, "select kept_after, position, at <= clock_timestamp(), bytes > 0, schema_version from view_log"), "28672 36866 true true 1")
}

func TestViews_Packets(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, nil)
	r, _ := adaptertest.Bound(t, db)
	resume := b.stall(t)
	sent := []*adapter.Envelope{
		{Namespace: "/", Payload: []byte(`["x",1]`)},
		{Kind: adapter.Volatile, Namespace: "/chat", Audience: adapter.Audience{Rooms: []string{"a", "ä"}, Except: []string{"b"}}, Payload: []byte(`["é"]`), Attachments: [][]byte{{1}, {2, 3}}, TraceContext: "traceparent:00"},
		{Kind: adapter.Join, Namespace: "/", Audience: adapter.Audience{Rooms: []string{"a"}}, Payload: []byte(`["b"]`)},
		{Kind: adapter.Answer, Payload: []byte("cookies and tokens")},
		{Kind: adapter.Watch + 1, Payload: []byte("of a later version \x00\xff")},
	}
	adaptertest.Publish(t, db, adaptertest.Event("in front"))
	for queued := 1; queued > 0; time.Sleep(time.Millisecond) { // until it is in flight
		db.publisher.mu.Lock()
		queued = len(db.publisher.queue)
		db.publisher.mu.Unlock()
	}
	var withdrawn *adapter.Receipt
	for i, e := range sent {
		if i == 2 {
			withdrawn = adaptertest.Publish(t, db, adaptertest.Event("never"))
		}
		adaptertest.Publish(t, db, e)
	}
	if !withdrawn.Withdraw() {
		t.Error("not withdrawn")
	}
	resume()
	got := r.Expect(t, 1+len(sent))[1:]
	var at []string
	for _, d := range got {
		at = append(at, fmt.Sprint(d.Offset.Position))
	}
	lines := b.rows(t, "select position, kind, namespace, rooms::text, except_rooms::text, attachments, payload from view_packets where payload is distinct from 'in front' order by position")
	wantRows(t, lines,
		at[0]+` event / {} {} 0 ["x",1]`, at[1]+` volatile /chat {a,ä} {b} 2 ["é"]`, at[2]+` join / {a} {} 0 ["b"]`,
		at[3]+` response  {} {} 0 <nil>`, at[4]+` 11  {} {} 0 of a later version \000\377`)
}
