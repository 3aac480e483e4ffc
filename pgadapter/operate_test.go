package pgadapter

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/adapter/adaptertest"
)

func TestOperationsSQL_InOrderWithEmits(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, nil)
	r, _ := adaptertest.Bound(t, db)
	b.exec(t, `do $$ begin
		perform join_room('user:7', 'order:81');
		perform emit('order:81', 'x');
		perform leave_room('user:7', 'order:81', namespace => 'admin', except_rooms => array['muted']);
		perform disconnect('user:7');
	end $$`)
	b.exec(t, "begin")
	b.exec(t, "select join_room('never', 'r')")
	b.exec(t, "rollback")
	got := r.Expect(t, 4)
	want := []adapter.Envelope{
		{Kind: adapter.Join, Namespace: "/", Audience: adapter.Audience{Rooms: []string{"user:7"}}, Payload: []byte(`["order:81"]`)},
		{Kind: adapter.Event, Namespace: "/", Audience: adapter.Audience{Rooms: []string{"order:81"}}, Payload: []byte(`["x"]`)},
		{Kind: adapter.Leave, Namespace: "/admin", Audience: adapter.Audience{Rooms: []string{"user:7"}, Except: []string{"muted"}}, Payload: []byte(`["order:81"]`)},
		{Kind: adapter.Disconnect, Namespace: "/", Audience: adapter.Audience{Rooms: []string{"user:7"}}},
	}
	for i := range want {
		d := got[i]
		if d.Kind != want[i].Kind || d.Namespace != want[i].Namespace || string(d.Payload) != string(want[i].Payload) ||
			!slices.Equal(d.Audience.Rooms, want[i].Audience.Rooms) || !slices.Equal(d.Audience.Except, want[i].Audience.Except) {
			t.Errorf("got %+v, want %+v", *d.Envelope, want[i])
		}
	}
	for i, yes := range []int64{1, 0} {
		if n := b.int(t, "select leave_room('r', 'r', key => 'once')::int"); n != yes {
			t.Errorf("use %d of a key: %d", i, n)
		}
	}
}

func TestOperationsSQL_Refusals(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, sql := range []string{
		"select join_room(null, 'r')", "select join_room('', 'r')", "select join_room('r', null)", "select join_room('r', '')",
		"select leave_room('r', repeat('x', 256))", "select disconnect(null)", "select disconnect('r', namespace => null)",
		"select operate(0, 'r', 'r', '/', null, null, false)", "select operate(6, 'r', 'r', '/', null, null, false)",
		"select join_room('r', 'r', key => '')",
	} {
		_, err := b.conn.Exec(t.Context(), sql)
		if refused, ok := errors.AsType[*pgconn.PgError](err); !ok || refused.Code[:2] != "22" {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

// A role that may emit may not end sessions.
func TestOperationsSQL_Privileges(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	emits, operates := b.role(t, "emits"), b.role(t, "operates")
	b.exec(t, "select allow_emit('"+emits+"'), allow_operate('"+operates+"')")
	try := func(role, sql string) error {
		b.exec(t, "set role "+role)
		defer b.exec(t, "reset role")
		_, err := b.conn.Exec(t.Context(), sql)
		return err
	}
	for _, sql := range []string{"select join_room('r', 's')", "select leave_room('r', 's')", "select disconnect('r')"} {
		if err := try(operates, sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
		if err := try(emits, sql); sqlState(err) != "42501" {
			t.Errorf("a role that may emit: %s: %v", sql, err)
		}
	}
	if err := try(operates, "select emit('r', 'x')"); err != nil {
		t.Error(err)
	}
}

func (b *bench) role(t *testing.T, name string) string {
	t.Helper()
	role := quoted(b.schema + "_" + name)
	b.exec(t, "create role "+role)
	t.Cleanup(func() {
		conn, err := pgx.Connect(context.Background(), b.dsn) // that of the test is closed
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close(context.Background()) }()
		if _, err := conn.Exec(context.Background(), "drop owned by "+role+"; drop role "+role); err != nil {
			t.Error(err)
		}
	})
	return role
}

// A trigger, or a psql session, moves connected and disconnected sessions between
// rooms.
func TestOperationsSQL_MoveSockets(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	here, there := serve(t, b.open(t, nil)), serve(t, b.open(t, nil))
	for _, s := range []*socketio.Server{here, there} {
		s.Use(func(ctx context.Context, s *socketio.Socket) error { return s.Join(ctx, "user:7") })
	}
	var stayed, away, gone testClient
	stayed.connect(t, here)
	away.connect(t, here)
	gone.connect(t, there)
	for _, g := range []*testClient{&away, &gone} {
		g.Cut()
	}
	eventually(t, "two are away", func() bool {
		return b.int(t, "select count(*) from sessions where node is null") == 2
	})
	b.exec(t, "select join_room('user:7', 'order:81')")
	b.exec(t, "select emit('order:81', 'said', '\"hello\"')")
	stayed.wants(t, "hello")
	away.connect(t, there)
	if !away.recovered {
		t.Error("not recovered")
	}
	away.wants(t, "hello")

	b.exec(t, "select disconnect('user:7')")
	b.exec(t, "select emit_all('said', '\"bye\"')")
	if text := stayed.ReadText(); text != "1" { // DISCONNECT
		t.Errorf("a disconnected client receives %q", text)
	}
	gone.connect(t, here)
	if gone.recovered {
		t.Error("a session that was disconnected while its client was away was recovered")
	}
}
