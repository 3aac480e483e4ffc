package cluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/integration/wire"
	"github.com/pgsocket/socketio/pgadapter"
	"github.com/pgsocket/socketio/pgtest"
)

// TestFollow_SnapshotThenEvents is the recipe of docs/sql.md: a client loads the history and resumes from its
// snapshot token, while others post. Half of the clients are cut after a few events and reconnect to the other node.
func TestFollow_SnapshotThenEvents(t *testing.T) { //nolint:paralleltest // it measures, and must not share the machine
	dsn, schema := pgtest.Schema(t)
	quoted := pgx.Identifier{schema}.Sanitize()
	var addrs []string
	for range 2 {
		addrs = append(addrs, startFollowNode(t, dsn, schema))
	}
	connect := func() *pgx.Conn {
		conn, err := pgx.Connect(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close(context.Background()) })
		return conn
	}
	conn := connect()
	for _, sql := range []string{
		"create table " + quoted + ".posts (id bigserial primary key, body text)",
		"select " + quoted + ".attach_trigger('" + quoted + ".posts', 'room', 'post', columns => '{id}')",
	} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	var posting sync.WaitGroup
	for range 4 {
		conn := connect()
		posting.Go(func() {
			for ctx.Err() == nil {
				if _, err := conn.Exec(context.Background(), "insert into "+quoted+".posts (body) values ('x'), ('y')"); err != nil {
					t.Error(err)
					return
				}
				harness.Pause(ctx, 5*time.Millisecond)
			}
		})
	}
	var followers []*follower
	for i := range 20 {
		f := newFollower()
		var mark string
		if err := conn.QueryRow(t.Context(), "select coalesce(array_agg(id), '{}'), "+quoted+".snapshot_token() from "+quoted+".posts").Scan(&f.ids, &mark); err != nil {
			t.Fatal(err)
		}
		c := wire.New(wire.Options{Event: f.onEvent, Auth: map[string]any{"follow": mark}})
		if err := c.Connect(t.Context(), addrs[i%2]); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		// Half of them are cut at once and after every other post, and reconnect to the other node.
		for cut := range i % 2 * 4 {
			if cut > 0 {
				f.awaitPosts(t, 2)
			}
			c.Cut()
			if err := c.Connect(t.Context(), addrs[(i+cut+1)%2]); err != nil {
				t.Fatal(err)
			}
			if !c.Recovered() {
				t.Error("not recovered")
			}
		}
		followers = append(followers, f)
	}
	stop()
	posting.Wait()
	var all []int
	if err := conn.QueryRow(t.Context(), "select array_agg(id order by id) from "+quoted+".posts").Scan(&all); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "select "+quoted+".emit('room', 'end')"); err != nil {
		t.Fatal(err)
	}
	for i, f := range followers {
		f.check(t, i, all)
	}

	stale := wire.New(wire.Options{Auth: map[string]any{"follow": "nonsense"}})
	var refused *wire.RefusedError
	if err := stale.Connect(t.Context(), addrs[0]); !errors.As(err, &refused) || !strings.Contains(refused.Body, "load_again") {
		t.Errorf("an invalid snapshot token: %v", err)
	}
}

func startFollowNode(t *testing.T, dsn, schema string) string {
	t.Helper()
	db, err := pgadapter.Open(t.Context(), dsn, &pgadapter.Options{Schema: schema, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	io := socketio.NewServer(&socketio.Options{
		Adapter: db, Recovery: socketio.Recovery{Store: db.Sessions(), Snapshots: db}, Logger: slog.New(slog.DiscardHandler),
	})
	io.Use(func(ctx context.Context, s *socketio.Socket) error {
		var auth struct{ Follow string }
		if err := s.Handshake().DecodeAuth(&auth); err != nil {
			return err
		}
		switch err := s.ResumeFrom(ctx, auth.Follow); {
		case errors.Is(err, socketio.ErrSnapshot), errors.Is(err, socketio.ErrTrimmed), errors.Is(err, socketio.ErrStale):
			return &socketio.Error{Code: "load_again"}
		case err != nil:
			return err
		}
		return s.Join(ctx, "room")
	})
	server := httptest.NewServer(io)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), harness.MaxWait)
		defer cancel()
		if err := errors.Join(io.Shutdown(ctx), db.Close(ctx)); err != nil {
			t.Error(err)
		}
		server.Close()
	})
	return server.Listener.Addr().String()
}

// A follower collects the ids that it has loaded or received.
type follower struct {
	received chan struct{} // one for each post, up to its capacity
	ended    chan struct{} // closed by the event after the last post

	mu  sync.Mutex
	ids []int
}

func newFollower() *follower {
	return &follower{received: make(chan struct{}, 100), ended: make(chan struct{})}
}

func (f *follower) onEvent(data json.RawMessage) {
	var name string
	var change struct{ New struct{ ID int } }
	if err := json.Unmarshal(data, &[]any{&name, &change}); err != nil || name != "post" {
		close(f.ended)
		return
	}
	f.mu.Lock()
	f.ids = append(f.ids, change.New.ID)
	f.mu.Unlock()
	select {
	case f.received <- struct{}{}:
	default:
	}
}

// awaitPosts waits for a number of posts.
func (f *follower) awaitPosts(t *testing.T, posts int) {
	t.Helper()
	for range posts {
		select {
		case <-f.received:
		case <-time.After(harness.MaxWait):
			t.Fatal("no post within MaxWait")
		}
	}
}

// check waits for the end, and compares what the follower has with what was posted.
func (f *follower) check(t *testing.T, number int, all []int) {
	t.Helper()
	select {
	case <-f.ended:
	case <-time.After(harness.MaxWait):
		t.Errorf("follower %d: the last event did not arrive", number)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	times := make(map[int]int)
	for _, id := range f.ids {
		times[id]++
	}
	for _, id := range all {
		if times[id] != 1 {
			t.Errorf("follower %d has post %d of %d %d times", number, id, len(all), times[id])
		}
	}
	if len(times) != len(all) {
		t.Errorf("follower %d has %d posts of %d", number, len(times), len(all))
	}
}
