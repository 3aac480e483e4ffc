package integration_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/integration/wire"
	"github.com/pgsocket/socketio/pgadapter"
	"github.com/pgsocket/socketio/pgtest"
)

const dripped = socketio.Event[string]("dripped")

// TestEventsOfOneSocketFollowItsClient has each node emit to every socket that it has, one event after the other, while
// the clients go from node to node. No bell rings for these events and no node polls: what a client gets only because
// somebody looks by chance does not come in time.
func TestEventsOfOneSocketFollowItsClient(t *testing.T) {
	t.Parallel()
	const clients, hops = 6, 12
	dsn, schema := pgtest.Schema(t)
	d := &drip{acknowledged: make(map[socketio.SocketID][]string)}
	ctx, stop := context.WithCancel(t.Context())
	var addrs []string
	for i := range 3 {
		addrs = append(addrs, d.node(t, ctx, dsn, schema, i))
	}
	var all sync.WaitGroup
	buckets := make([]*bucket, clients)
	for k := range clients {
		b := &bucket{counts: make(map[string]int), filled: make(chan struct{}, 1)}
		b.client = wire.New(wire.Options{Event: b.event})
		buckets[k] = b
		t.Cleanup(b.client.Close)
		all.Go(func() {
			for hop := range hops {
				if err := b.client.Connect(t.Context(), addrs[(k+hop)%len(addrs)]); err != nil {
					t.Errorf("client %d, hop %d: %v", k, hop, err)
					return
				}
				if hop > 0 && !b.client.Recovered() {
					t.Errorf("client %d, hop %d: not recovered", k, hop)
				}
				b.hear(t, hop%3*5)
			}
		})
	}
	all.Wait()
	stop()
	d.emitters.Wait()
	for k, b := range buckets {
		b.check(t, k, d.acknowledged[socketio.SocketID(b.client.ID())])
	}
}

// A drip is what is emitted.
type drip struct {
	emitters sync.WaitGroup

	mu           sync.Mutex
	acknowledged map[socketio.SocketID][]string
}

func (d *drip) node(t *testing.T, ctx context.Context, dsn, schema string, number int) string {
	t.Helper()
	db, err := pgadapter.Open(t.Context(), dsn, &pgadapter.Options{
		Schema: schema, Logger: slog.New(slog.DiscardHandler), PollInterval: time.Hour, Retention: 24 * time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	io := socketio.NewServer(&socketio.Options{
		Adapter: db, Recovery: socketio.Recovery{Store: db.Sessions()}, Logger: slog.New(slog.DiscardHandler),
	})
	var tenure int
	var mu sync.Mutex
	io.OnConnect(func(_ context.Context, s *socketio.Socket) error {
		mu.Lock()
		tenure++
		name := fmt.Sprintf("%d.%d", number, tenure)
		mu.Unlock()
		d.emitters.Go(func() { d.emit(ctx, s, name) }) // ends with the socket, or the test
		return nil
	})
	server := httptest.NewServer(io)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := errors.Join(io.Shutdown(ctx), db.Close(ctx)); err != nil {
			t.Error(err)
		}
		server.Close()
	})
	return server.Listener.Addr().String()
}

// emit emits to a socket until it is gone, and once more.
func (d *drip) emit(ctx context.Context, s *socketio.Socket, name string) {
	for i := 0; ; i++ {
		gone := s.Context().Err() != nil || ctx.Err() != nil
		event := fmt.Sprintf("%s.%d", name, i)
		if dripped.Emit(context.Background(), s, event) == nil {
			d.mu.Lock()
			d.acknowledged[s.ID()] = append(d.acknowledged[s.ID()], event)
			d.mu.Unlock()
		}
		if gone {
			return
		}
		pause(ctx, time.Millisecond)
	}
}

// A bucket is what a client has received.
type bucket struct {
	client *wire.Client
	filled chan struct{} // rung by each event

	mu     sync.Mutex
	counts map[string]int
}

func (b *bucket) event(data json.RawMessage) {
	var args []string
	if json.Unmarshal(data, &args) != nil || len(args) < 2 {
		args = []string{"", "malformed: " + string(data)}
	}
	b.mu.Lock()
	b.counts[args[1]]++
	b.mu.Unlock()
	select {
	case b.filled <- struct{}{}:
	default:
	}
}

// hear waits for so many events, more or less.
func (b *bucket) hear(t *testing.T, n int) {
	for range n {
		select {
		case <-b.filled:
		case <-time.After(30 * time.Second):
			t.Error("no event comes")
			return
		}
	}
}

// check waits until all that was acknowledged is there, and says what is there twice.
func (b *bucket) check(t *testing.T, k int, want []string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); b.missing(want) > 0 && time.Now().Before(deadline); {
		select {
		case <-b.filled:
		case <-time.After(time.Second):
		}
	}
	if n := b.missing(want); n > 0 {
		t.Errorf("client %d lacks %d of %d events", k, n, len(want))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for event, n := range b.counts {
		if n > 1 {
			t.Errorf("client %d has %q %d times", k, event, n)
		}
	}
	if len(want) < 12 {
		t.Errorf("client %d: only %d events were emitted", k, len(want))
	}
}

func (b *bucket) missing(want []string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, event := range want {
		if b.counts[event] == 0 {
			n++
		}
	}
	return n
}
