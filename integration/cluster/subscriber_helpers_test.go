package cluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/pgsocket/socketio/integration/checker"
	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/integration/wire"
)

// A subscriber is a client in Go that records the ticks that it receives, in order.
type subscriber struct {
	*wire.Client

	closed chan struct{} // one for each connection that has ended, up to its capacity

	mu      sync.Mutex
	ticks   []checker.ID
	changed chan struct{} // closed with every tick
}

// subscribe connects a subscriber to a node and puts it into rooms. It ends with the test.
func subscribe(t *testing.T, n *harness.Node, rooms ...string) *subscriber {
	t.Helper()
	return subscribeIn(t, n, "/", rooms...)
}

// subscribeIn is subscribe in a namespace.
func subscribeIn(t *testing.T, n *harness.Node, namespace string, rooms ...string) *subscriber {
	t.Helper()
	h := &subscriber{changed: make(chan struct{}), closed: make(chan struct{}, 1000)}
	h.Client = wire.New(wire.Options{Namespace: namespace, Event: h.onEvent, Closed: func(error) { h.closed <- struct{}{} }})
	if err := h.Connect(t.Context(), n.Addr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Cut)
	if len(rooms) > 0 {
		if err := h.Call(t.Context(), nil, "join", rooms); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func (h *subscriber) onEvent(data json.RawMessage) {
	var name string
	var publisher, seq int
	if err := json.Unmarshal(data, &[]any{&name, &publisher, &seq}); err != nil || name != "tick" {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ticks = append(h.ticks, checker.NewID(publisher, seq))
	close(h.changed)
	h.changed = make(chan struct{})
}

// received returns the ticks so far.
func (h *subscriber) received() []checker.ID {
	ids, _ := h.snapshot()
	return slices.Clone(ids)
}

// snapshot returns the ticks so far, which must not be changed, and a channel that the next tick closes.
func (h *subscriber) snapshot() ([]checker.ID, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ticks, h.changed
}

// await waits until ok returns true for the ticks.
func (h *subscriber) await(ctx context.Context, ok func([]checker.ID) bool) error {
	for {
		ids, changed := h.snapshot()
		if ok(ids) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("after %d ticks: %w", len(ids), context.Cause(ctx))
		}
	}
}

// expectedEvents returns the events in the log for a client that was in the given rooms at its beginning, if only
// operations in the log change its rooms.
func expectedEvents(t *testing.T, log []harness.LogEntry, rooms ...string) []checker.ID {
	t.Helper()
	in := make(map[string]bool)
	for _, room := range rooms {
		in[room] = true
	}
	var ids []checker.ID
	for _, l := range log {
		if len(l.Rooms) > 0 && !slices.ContainsFunc(l.Rooms, func(room string) bool { return in[room] }) {
			continue
		}
		if l.Kind == "event" {
			var name string
			var publisher, seq int
			if err := json.Unmarshal([]byte(l.Payload), &[]any{&name, &publisher, &seq}); err != nil {
				t.Fatalf("decode an event in the log: %v: %.100s", err, l.Payload)
			}
			ids = append(ids, checker.NewID(publisher, seq))
			continue
		}
		var moved []string
		if err := json.Unmarshal([]byte(l.Payload), &moved); err != nil {
			t.Fatalf("decode an operation in the log: %v: %.100s", err, l.Payload)
		}
		for _, room := range moved {
			in[room] = l.Kind == "join"
		}
	}
	return ids
}
