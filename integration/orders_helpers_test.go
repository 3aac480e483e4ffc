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

// command has the node do something, and returns what it says of it.
func command[A any](ctx context.Context, n *node, what string, order any) (answer A, err error) {
	body, err := json.Marshal(order)
	if err != nil {
		return answer, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.url+"/control/"+what, bytes.NewReader(body))
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
		err = fmt.Errorf("%s %s: %s: %s", n.name, what, resp.Status, data)
	}
	if err == nil {
		err = json.Unmarshal(data, &answer)
	}
	return answer, err
}

// An audience is whom something is for, as the nodes are told.
type audience struct {
	Rooms  []string `json:"rooms"`
	Except []string `json:"except"`
}

// operate has a node do something to an audience: "join", "leave" or "disconnect".
func (n *node) operate(do string, a audience, rooms ...string) {
	n.t.Helper()
	_, err := command[bool](n.t.Context(), n, "operate", struct {
		Do        string   `json:"do"`
		Namespace string   `json:"namespace"`
		Target    audience `json:"target"`
		Rooms     []string `json:"rooms"`
	}{do, "/", a, rooms})
	if err != nil {
		n.t.Fatal(err)
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
func hear(t *testing.T, n *node, rooms ...string) *hearer {
	t.Helper()
	return hearIn(t, n, "/", rooms...)
}

// hearIn is hear in a namespace.
func hearIn(t *testing.T, n *node, namespace string, rooms ...string) *hearer {
	t.Helper()
	h := &hearer{changed: make(chan struct{}), ended: make(chan struct{}, 1000)}
	h.Client = wire.New(wire.Options{Namespace: namespace, Event: h.event, Closed: func(error) { h.ended <- struct{}{} }})
	if err := h.Connect(t.Context(), n.addr); err != nil {
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

// emits publishes where no history is kept. It may be called from any goroutine.
func (n *node) emits(p publication) {
	n.t.Helper()
	if o := n.publish(n.t.Context(), &history.History{}, p); o.acknowledged != p.Count {
		n.t.Errorf("publish on %s: %+v", n.name, o)
	}
}

// A logged is an event or an operation in the log, as Postgres shows it.
type logged struct {
	kind    string
	rooms   []string
	payload string
}

// inLog returns the events and operations of the log.
func (c *cluster) inLog() []logged {
	c.t.Helper()
	rows, err := c.connect().Query(c.t.Context(), `
		select kind, rooms, payload from `+c.schema+`.view_packets
		where kind in ('event', 'join', 'leave', 'disconnect') order by position`)
	if err != nil {
		c.t.Fatal(err)
	}
	var all []logged
	for rows.Next() {
		var l logged
		if err := rows.Scan(&l.kind, &l.rooms, &l.payload); err != nil {
			c.t.Fatal(err)
		}
		all = append(all, l)
	}
	if err := rows.Err(); err != nil {
		c.t.Fatal(err)
	}
	return all
}

// expected returns the ticks that a client got by the end of the log that was in the given rooms at its beginning, and
// whose rooms nothing but the log has changed since.
func expected(t *testing.T, log []logged, rooms ...string) []history.ID {
	t.Helper()
	in := make(map[string]bool)
	for _, room := range rooms {
		in[room] = true
	}
	var ids []history.ID
	for _, l := range log {
		if len(l.rooms) > 0 && !slices.ContainsFunc(l.rooms, func(room string) bool { return in[room] }) {
			continue
		}
		if l.kind == "event" {
			var name string
			var publisher, seq int
			if err := json.Unmarshal([]byte(l.payload), &[]any{&name, &publisher, &seq}); err != nil {
				t.Fatalf("event in the log: %v: %.100s", err, l.payload)
			}
			ids = append(ids, history.Of(publisher, seq))
			continue
		}
		var moved []string
		if err := json.Unmarshal([]byte(l.payload), &moved); err != nil {
			t.Fatalf("operation in the log: %v: %.100s", err, l.payload)
		}
		for _, room := range moved {
			in[room] = l.kind == "join"
		}
	}
	return ids
}
