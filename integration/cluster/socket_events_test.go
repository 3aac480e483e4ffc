package cluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/integration/wire"
	"github.com/pgsocket/socketio/pgadapter"
	"github.com/pgsocket/socketio/pgtest"
)

const emitted = socketio.Event[string]("dripped")

// TestRecovery_EventsToOneSocket_OtherNode emits to a socket, many events at a time, while its client moves to
// another node, which emits nothing. These events cause no notification and the nodes do not poll, so the nodes must
// hand them over.
func TestRecovery_EventsToOneSocket_OtherNode(t *testing.T) {
	t.Parallel()
	const moves = 15
	dsn, schema := pgtest.Schema(t)
	d := &socketEmitter{acknowledged: make(map[socketio.SocketID][]string)}
	from, to := d.startNode(t, dsn, schema, true), d.startNode(t, dsn, schema, false)
	for k := range moves {
		b := &eventCounter{counts: make(map[string]int), received: make(chan struct{}, 1)}
		b.client = wire.New(wire.Options{Event: b.onEvent})
		t.Cleanup(b.client.Close)
		if err := b.client.Connect(t.Context(), from); err != nil {
			t.Fatal(err)
		}
		b.await(t, 1+k%3)
		if err := b.client.Connect(t.Context(), to); err != nil {
			t.Fatal(err)
		}
		if !b.client.Recovered() {
			t.Errorf("client %d: not recovered", k)
		}
		d.emitters.Wait()
		b.check(t, k, d.acknowledged[socketio.SocketID(b.client.ID())])
	}
}

// A socketEmitter emits to the sockets of a node.
type socketEmitter struct {
	emitters sync.WaitGroup

	mu           sync.Mutex
	acknowledged map[socketio.SocketID][]string
}

func (d *socketEmitter) startNode(t *testing.T, dsn, schema string, emits bool) string {
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
	if emits {
		io.OnConnect(func(_ context.Context, s *socketio.Socket) error {
			d.emitters.Go(func() { d.emit(s) }) // ends with the socket
			return nil
		})
	}
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

// emit emits to a socket until it disconnects.
func (d *socketEmitter) emit(s *socketio.Socket) {
	var receipts []*socketio.Receipt
	for s.Context().Err() == nil {
		receipts = append(receipts, emitted.EmitAsync(s, strconv.Itoa(len(receipts))))
		harness.Pause(s.Context(), 100*time.Microsecond)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, r := range receipts {
		if r.Wait(context.Background()) == nil {
			d.acknowledged[s.ID()] = append(d.acknowledged[s.ID()], strconv.Itoa(i))
		}
	}
}

// An eventCounter counts what a client receives.
type eventCounter struct {
	client   *wire.Client
	received chan struct{} // signaled by each event

	mu     sync.Mutex
	counts map[string]int
}

func (b *eventCounter) onEvent(data json.RawMessage) {
	var args []string
	if json.Unmarshal(data, &args) != nil || len(args) < 2 {
		args = []string{"", "malformed: " + string(data)}
	}
	b.mu.Lock()
	b.counts[args[1]]++
	b.mu.Unlock()
	select {
	case b.received <- struct{}{}:
	default:
	}
}

// await waits for about n events.
func (b *eventCounter) await(t *testing.T, n int) {
	for range n {
		select {
		case <-b.received:
		case <-time.After(30 * time.Second):
			t.Error("no event within 30 s")
			return
		}
	}
}

// check waits until all acknowledged events have arrived, and fails the test for missing and duplicate ones.
func (b *eventCounter) check(t *testing.T, k int, want []string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); b.missing(want) > 0 && time.Now().Before(deadline); {
		select {
		case <-b.received:
		case <-time.After(time.Second):
		}
	}
	if n := b.missing(want); n > 0 {
		t.Errorf("client %d misses %d of %d events", k, n, len(want))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for event, n := range b.counts {
		if n > 1 {
			t.Errorf("client %d received %q %d times", k, event, n)
		}
	}
	if len(want) == 0 {
		t.Errorf("client %d: nothing was emitted", k)
	}
}

func (b *eventCounter) missing(want []string) int {
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
