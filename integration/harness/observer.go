package harness

import (
	"encoding/json"
	"slices"
	"sync"
	"testing"

	"github.com/pgsocket/socketio/integration/checker"
	"github.com/pgsocket/socketio/integration/wire"
)

// An Observer is a raw client whose connection stays open until the node closes it.
type Observer struct {
	Client *wire.Client
	Closed chan struct{}

	mu       sync.Mutex
	received []checker.ID
}

// onEvent records a tick.
func (w *Observer) onEvent(data json.RawMessage) {
	var name string
	var publisher, seq int
	if json.Unmarshal(data, &[]any{&name, &publisher, &seq}) == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.received = append(w.received, checker.NewID(publisher, seq))
	}
}

// Received returns the ticks so far.
func (w *Observer) Received() []checker.ID {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.received)
}

// Observe connects an observer to a node.
func Observe(t *testing.T, n *Node) *Observer {
	t.Helper()
	w := &Observer{Closed: make(chan struct{})}
	w.Client = wire.New(wire.Options{Event: w.onEvent, Closed: func(error) { close(w.Closed) }})
	if err := w.Client.Connect(ContextFor(t, MaxWait), n.Addr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Client.Cut)
	return w
}

// TakeOver claims the observer's session at another node, while the observer's own connection is still open.
func (w *Observer) TakeOver(t *testing.T, n *Node) *wire.Client {
	t.Helper()
	c := wire.New(wire.Options{})
	c.Remember(w.Client.PID(), w.Client.Offset())
	if err := c.Connect(ContextFor(t, MaxWait), n.Addr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Cut)
	return c
}
