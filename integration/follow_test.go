package integration_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/integration/wire"
	"github.com/pgsocket/socketio/pgadapter"
	"github.com/pgsocket/socketio/pgtest"
)

// TestFollow is the recipe of docs/sql.md: a client loads the history and follows from its bookmark, while others post.
// Its first connection breaks after it has received a little, and it comes back to another node.
func TestFollow(t *testing.T) { //nolint:paralleltest // it measures, and needs the machine for itself
	dsn, schema := pgtest.Schema(t)
	quoted := pgx.Identifier{schema}.Sanitize()
	var addrs []string
	for range 2 {
		addrs = append(addrs, followNode(t, dsn, schema))
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
		"select " + quoted + ".attach_trigger('" + quoted + ".posts', 'lobby', 'post', columns => '{id}')",
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
				pause(ctx, 5*time.Millisecond)
			}
		})
	}
	var followers []*follower
	for i := range 20 {
		f := &follower{}
		var mark string
		if err := conn.QueryRow(t.Context(), "select coalesce(array_agg(id), '{}'), "+quoted+".bookmark() from "+quoted+".posts").Scan(&f.ids, &mark); err != nil {
			t.Fatal(err)
		}
		c := wire.New(wire.Options{Event: f.event, Auth: map[string]any{"follow": mark}})
		if err := c.Connect(t.Context(), addrs[i%2]); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			c.Cut()
			if err := c.Connect(t.Context(), addrs[(i+1)%2]); err != nil {
				t.Fatal(err)
			}
			if !c.Recovered() {
				t.Error("not recovered")
			}
		}
		t.Cleanup(c.Close)
		followers = append(followers, f)
	}
	stop()
	posting.Wait()
	var all []int
	if err := conn.QueryRow(t.Context(), "select array_agg(id order by id) from "+quoted+".posts").Scan(&all); err != nil {
		t.Fatal(err)
	}
	for i, f := range followers {
		deadline := time.Now().Add(20 * time.Second)
		for f.count() < len(all) && time.Now().Before(deadline) {
			pause(t.Context(), 5*time.Millisecond)
		}
		if got := f.sorted(); !slices.Equal(got, all) {
			t.Errorf("follower %d has %d posts of %d, or some twice", i, len(got), len(all))
		}
	}

	stale := wire.New(wire.Options{Auth: map[string]any{"follow": "nonsense"}})
	var refused *wire.RefusedError
	if err := stale.Connect(t.Context(), addrs[0]); !errors.As(err, &refused) || !strings.Contains(refused.Body, "load_again") {
		t.Errorf("a bookmark that is none: %v", err)
	}
}

func followNode(t *testing.T, dsn, schema string) string {
	t.Helper()
	db, err := pgadapter.Open(t.Context(), dsn, &pgadapter.Options{Schema: schema, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	io := socketio.NewServer(&socketio.Options{
		Adapter: db, Recovery: socketio.Recovery{Store: db.Sessions()}, Logger: slog.New(slog.DiscardHandler),
	})
	io.Use(func(ctx context.Context, s *socketio.Socket) error {
		var auth struct{ Follow string }
		if err := s.Handshake().DecodeAuth(&auth); err != nil {
			return err
		}
		switch err := s.Follow(ctx, auth.Follow); {
		case errors.Is(err, socketio.ErrBookmark), errors.Is(err, socketio.ErrTrimmed), errors.Is(err, socketio.ErrStale):
			return &socketio.Error{Code: "load_again"}
		case err != nil:
			return err
		}
		return s.Join(ctx, "lobby")
	})
	server := httptest.NewServer(io)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := errors.Join(io.Shutdown(ctx), db.Close(ctx)); err != nil {
			t.Error(err)
		}
		server.Close()
	})
	return server.Listener.Addr().String()
}

// A follower has the ids that it has read or received.
type follower struct {
	mu  sync.Mutex
	ids []int
}

func (f *follower) event(data json.RawMessage) {
	var change struct{ New struct{ ID int } }
	if err := json.Unmarshal(data, &[]any{new(string), &change}); err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ids = append(f.ids, change.New.ID)
}

func (f *follower) count() int { f.mu.Lock(); defer f.mu.Unlock(); return len(f.ids) }

func (f *follower) sorted() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(slices.Values(f.ids))
}
