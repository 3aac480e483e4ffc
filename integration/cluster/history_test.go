package cluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/pgadapter"
	"github.com/pgsocket/socketio/pgtest"
)

type numberedPost struct {
	Room   string `json:"room"`
	Number int    `json:"number"`
}

const (
	numberedPosts socketio.Event[numberedPost] = "post"
	roomHistories socketio.History             = "earlier"
)

// A numbering emits consecutive numbers to a room, from several nodes.
type numbering struct {
	mu   sync.Mutex
	room string
	next int
}

func (n *numbering) emit(io *socketio.Server) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	err := numberedPosts.Emit(context.Background(), io.To(socketio.Room(n.room)), numberedPost{n.room, n.next + 1})
	if err == nil {
		n.next++
	}
	return err
}

// TestHistory_ConcurrentWriters: official clients join rooms with their histories while others emit, are cut and return to
// another node. One node keeps the log in memory, the other one reads histories from Postgres. SOCKETIO_TEST_JOINS sets how
// many joins there are.
func TestHistory_ConcurrentWriters(t *testing.T) { //nolint:paralleltest // a burst of traffic
	const clients, rooms = 20, 6
	joins := 500
	if n, err := strconv.Atoi(os.Getenv("SOCKETIO_TEST_JOINS")); err == nil {
		joins = n
	}
	dsn, schema := pgtest.Schema(t)
	all := []*numbering{{room: "all"}}
	for i := range rooms {
		all = append(all, &numbering{room: fmt.Sprint("room ", i)})
	}
	nodes := []*historyNode{startHistoryNode(t, dsn, schema, 0, all), startHistoryNode(t, dsn, schema, 4096, all)}
	for _, n := range all[1:] {
		for i := range 5 {
			if err := n.emit(nodes[i%2].io); err != nil {
				t.Fatal(err)
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "../js/history.mjs", strconv.Itoa(clients), strconv.Itoa(joins/clients), nodes[0].url, nodes[1].url)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var result struct {
		Joins, Cuts, Histories int
		Faults                 []string
	}
	if err := json.Unmarshal(out, &result); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d joins, %d histories, %d cuts", result.Joins, result.Histories, result.Cuts)
	if result.Joins != joins || result.Histories != joins || result.Cuts < joins/100 {
		t.Errorf("%d joins, %d histories, %d cuts; want %d joins", result.Joins, result.Histories, result.Cuts, joins)
	}
	for _, f := range result.Faults {
		t.Error(f)
	}
}

type historyNode struct {
	io  *socketio.Server
	url string
}

func startHistoryNode(t *testing.T, dsn, schema string, tailBytes int, numbers []*numbering) *historyNode {
	t.Helper()
	all, numbers := numbers[0], numbers[1:]
	logger := slog.New(slog.DiscardHandler)
	db, err := pgadapter.Open(t.Context(), dsn, &pgadapter.Options{Schema: schema, TailBytes: tailBytes, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	io := socketio.NewServer(&socketio.Options{Adapter: db, Recovery: socketio.Recovery{Store: db.Sessions()}, Logger: logger})
	const (
		begin socketio.Request[string, socketio.None] = "begin"
		join  socketio.Request[string, socketio.None] = "join"
		leave socketio.Request[string, socketio.None] = "leave"
		write socketio.Request[string, socketio.None] = "write"
		start socketio.Event[int]                     = "start"
	)
	begin.On(io, func(ctx context.Context, s *socketio.Socket, _ string) (none socketio.None, err error) {
		all.mu.Lock()
		defer all.mu.Unlock()
		if s.In("all") {
			return none, nil
		}
		if err := start.Emit(ctx, s, all.next); err != nil {
			return none, err
		}
		return none, s.Join(ctx, "all")
	})
	join.On(io, func(ctx context.Context, s *socketio.Socket, room string) (socketio.None, error) {
		return socketio.None{}, roomHistories.Join(ctx, s, socketio.Room(room), socketio.Past{Last: 5})
	})
	leave.On(io, func(ctx context.Context, s *socketio.Socket, room string) (socketio.None, error) {
		return socketio.None{}, s.Leave(ctx, socketio.Room(room))
	})
	write.On(io, func(context.Context, *socketio.Socket, string) (socketio.None, error) {
		for range 1 + rand.IntN(4) {
			if err := numbers[rand.IntN(len(numbers))].emit(io); err != nil {
				return socketio.None{}, err
			}
		}
		return socketio.None{}, all.emit(io)
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
	return &historyNode{io, server.URL}
}
