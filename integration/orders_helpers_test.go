package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/pgsocket/socketio/integration/history"
	"github.com/pgsocket/socketio/integration/wire"
)

// Control has the node do something, and returns what it says of it.
func Control[A any](ctx context.Context, n *Node, what string, order any) (answer A, err error) {
	body, err := json.Marshal(order)
	if err != nil {
		return answer, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.URL+"/control/"+what, bytes.NewReader(body))
	if err != nil {
		return answer, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", n.Name, what, resp.Status, data)
	}
	if err == nil {
		err = json.Unmarshal(data, &answer)
	}
	return answer, err
}

// An Audience is whom something is for, as the nodes are told.
type Audience struct {
	Rooms  []string `json:"rooms"`
	Except []string `json:"except"`
}

// Operate has a node do something to an audience: "join", "leave" or "disconnect".
func (n *Node) Operate(do string, a Audience, rooms ...string) {
	n.T.Helper()
	_, err := Control[bool](n.T.Context(), n, "operate", struct {
		Do        string   `json:"do"`
		Namespace string   `json:"namespace"`
		Target    Audience `json:"target"`
		Rooms     []string `json:"rooms"`
	}{do, "/", a, rooms})
	if err != nil {
		n.T.Fatal(err)
	}
}

// A hearer is a client in Go that keeps the ticks that it gets, in order.
type hearer struct {
	*wire.Client

	ended chan struct{} // one for each connection that has ended, up to its capacity

	mu      sync.Mutex
	ticks   []history.ID
	changed chan struct{} // closed with every tick
}

// hear connects a client to a node, and puts it into rooms. It ends with the test.
func hear(t *testing.T, n *Node, rooms ...string) *hearer {
	t.Helper()
	return hearIn(t, n, "/", rooms...)
}

// hearIn is hear in a namespace.
func hearIn(t *testing.T, n *Node, namespace string, rooms ...string) *hearer {
	t.Helper()
	h := &hearer{changed: make(chan struct{}), ended: make(chan struct{}, 1000)}
	h.Client = wire.New(wire.Options{Namespace: namespace, Event: h.event, Closed: func(error) { h.ended <- struct{}{} }})
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

func (h *hearer) event(data json.RawMessage) {
	var name string
	var publisher, seq int
	if err := json.Unmarshal(data, &[]any{&name, &publisher, &seq}); err != nil || name != "tick" {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ticks = append(h.ticks, history.Of(publisher, seq))
	close(h.changed)
	h.changed = make(chan struct{})
}

// all returns the ticks so far.
func (h *hearer) all() []history.ID {
	ids, _ := h.now()
	return slices.Clone(ids)
}

// now returns the ticks so far, which nobody may change, and what is closed with the next one.
func (h *hearer) now() ([]history.ID, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ticks, h.changed
}

// await waits until the ticks are as ok wants them.
func (h *hearer) await(ctx context.Context, ok func([]history.ID) bool) error {
	for {
		ids, changed := h.now()
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

// PublishUnrecorded publishes where no history is kept. It may be called from any goroutine.
func (n *Node) PublishUnrecorded(p Publication) {
	n.T.Helper()
	if o := n.Publish(n.T.Context(), &history.History{}, p); o.Acknowledged != p.Count {
		n.T.Errorf("publish on %s: %+v", n.Name, o)
	}
}

// A LogEntry is an event or an operation in the log, as Postgres shows it.
type LogEntry struct {
	Kind    string
	Rooms   []string
	Payload string
}

// LogEntries returns the events and operations of the log.
func (c *Cluster) LogEntries() []LogEntry {
	c.T.Helper()
	rows, err := c.Connect().Query(c.T.Context(), `
		select kind, rooms, payload from `+c.Schema+`.view_packets
		where kind in ('event', 'join', 'leave', 'disconnect') order by position`)
	if err != nil {
		c.T.Fatal(err)
	}
	var all []LogEntry
	for rows.Next() {
		var l LogEntry
		if err := rows.Scan(&l.Kind, &l.Rooms, &l.Payload); err != nil {
			c.T.Fatal(err)
		}
		all = append(all, l)
	}
	if err := rows.Err(); err != nil {
		c.T.Fatal(err)
	}
	return all
}

// expected returns the ticks that a client got by the end of the log that was in the given rooms at its beginning, and
// whose rooms nothing but the log has changed since.
func expected(t *testing.T, log []LogEntry, rooms ...string) []history.ID {
	t.Helper()
	in := make(map[string]bool)
	for _, room := range rooms {
		in[room] = true
	}
	var ids []history.ID
	for _, l := range log {
		if len(l.Rooms) > 0 && !slices.ContainsFunc(l.Rooms, func(room string) bool { return in[room] }) {
			continue
		}
		if l.Kind == "event" {
			var name string
			var publisher, seq int
			if err := json.Unmarshal([]byte(l.Payload), &[]any{&name, &publisher, &seq}); err != nil {
				t.Fatalf("event in the log: %v: %.100s", err, l.Payload)
			}
			ids = append(ids, history.Of(publisher, seq))
			continue
		}
		var moved []string
		if err := json.Unmarshal([]byte(l.Payload), &moved); err != nil {
			t.Fatalf("operation in the log: %v: %.100s", err, l.Payload)
		}
		for _, room := range moved {
			in[room] = l.Kind == "join"
		}
	}
	return ids
}
