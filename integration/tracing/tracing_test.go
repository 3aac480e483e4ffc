//nolint:paralleltest // the subtests are one conversation
package tracing_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/integration/wire"
	"github.com/pgsocket/socketio/pgadapter"
	"github.com/pgsocket/socketio/pgtest"
)

// patience is a deadline that is reached only if a span is missing.
const patience = 20 * time.Second

const (
	posted  socketio.Event[string] = "posted"
	ordered socketio.Event[string] = "ordered"
)

var mirror = socketio.Request[string, string]("mirror") // client.mjs answers with what it is sent

// configure sets the handlers of the tests.
func configure(n *node) {
	socketio.Event[string]("post").On(n, func(ctx context.Context, _ *socketio.Socket, text string) error {
		if _, err := n.pool.Exec(ctx, "select 'a statement of the handler'"); err != nil {
			return err
		}
		return posted.Emit(ctx, n, text)
	})
	socketio.Request[string, bool]("order").On(n, func(ctx context.Context, _ *socketio.Socket, text string) (bool, error) {
		return n.order(ctx, text)
	})
	socketio.Request[string, string]("ask me").On(n, func(ctx context.Context, s *socketio.Socket, text string) (string, error) {
		return mirror.Call(ctx, s, text)
	})
	socketio.Request[string, []string]("ask others").On(n, func(ctx context.Context, s *socketio.Socket, text string) ([]string, error) {
		var answers []string
		for answer, err := range mirror.CallAll(ctx, s.Others(), text) {
			if err != nil {
				return nil, err
			}
			answers = append(answers, answer.Value)
		}
		return answers, nil
	})
}

// order emits an event in a transaction of the application.
func (n *node) order(ctx context.Context, text string) (bool, error) {
	e, err := ordered.Envelope(n, text)
	if err != nil {
		return false, err
	}
	tx, err := n.pool.Begin(ctx)
	if err != nil {
		return false, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) // after a commit it does nothing
	emitted, err := n.db.EmitTx(ctx, tx, e, &pgadapter.EmitOptions{Notify: true, TraceContext: n.tracer.TraceContext})
	if err != nil {
		return false, err
	}
	return emitted, tx.Commit(ctx)
}

// A packetRecorder is a client that keeps every packet as it came, and acknowledges what it is asked.
type packetRecorder struct {
	mu      sync.Mutex
	packets []string
}

func record(t *testing.T, n *node) *packetRecorder {
	t.Helper()
	link, err := wire.Dial(t.Context(), strings.TrimPrefix(n.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(link.Cut)
	if err := link.Send("40"); err != nil {
		t.Fatal(err)
	}
	r := &packetRecorder{}
	go r.read(link) // ends with the connection
	r.await(t, `0{"sid":`)
	return r
}

func (r *packetRecorder) read(link *wire.Link) {
	for {
		text, err := link.Next()
		if err != nil {
			return
		}
		r.mu.Lock()
		r.packets = append(r.packets, text)
		r.mu.Unlock()
		if id, _, _ := strings.Cut(strings.TrimPrefix(text, "2"), "["); id != "" && text[0] == '2' {
			if err := link.Send("43" + id + `["recorded"]`); err != nil {
				return
			}
		}
	}
}

func (r *packetRecorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.packets)
}

// await waits for a packet that contains the text.
func (r *packetRecorder) await(t *testing.T, text string) {
	t.Helper()
	if !harness.Eventually(patience, func() bool {
		return slices.ContainsFunc(r.all(), func(p string) bool { return strings.Contains(p, text) })
	}) {
		t.Fatalf("no packet contains %s: %q", text, r.all())
	}
}

// clients are two official ones, one on each node, and one on node b that keeps its packets.
type clients struct {
	*harness.Clients

	recorder *packetRecorder
}

// TestTrace_OverTwoNodes follows what a client of node a causes, up to the clients of node b, which receive nothing of the
// trace.
func TestTrace_OverTwoNodes(t *testing.T) {
	dsn, schema := pgtest.Schema(t)
	a, b := startNode(t, "a", dsn, schema, configure), startNode(t, "b", dsn, schema, configure)
	cs := &clients{Clients: harness.NewClients(t, 1)}
	cs.ConnectAll(2, []string{a.url, b.url}, nil)
	cs.recorder = record(t, b)

	t.Run("event of a client", func(t *testing.T) {
		cs.Send(0, harness.Command{"c": "emit", "k": 0, "event": "post", "args": []string{"hello"}, "ack": false})
		spans := wantTrace(t, "handle post", `
a consumer handle post
  a client query select 'a statement of the handler'
  a producer emit posted
    a consumer deliver posted
    a internal append
      a client query append
    b consumer deliver posted
`, a, b)
		if got := spans["b deliver posted"]; got.attribute("socketio.sockets") != "2" || !got.Parent.IsRemote() {
			t.Errorf("delivery on b: parent %v, attributes %v", got.Parent, got.Attributes)
		}
		wantLinkToRequest(t, spans["a handle post"], a)
		cs.wantReceived(t, "posted", "hello", spans)
	})
	t.Run("EmitTx in a handler", func(t *testing.T) {
		if got := cs.Call(0, "order", "tea"); string(got[0]) != "true" {
			t.Errorf("answer %s", got)
		}
		spans := wantTrace(t, "handle order", `
a consumer handle order
  a client query begin
  a client query commit
  a client query emit_packet
  a consumer deliver ordered
  b consumer deliver ordered
`, a, b)
		cs.wantReceived(t, "ordered", "tea", spans)
	})
	t.Run("Call of the client", func(t *testing.T) {
		if got := cs.Call(0, "ask me", "how"); string(got[0]) != `"how"` {
			t.Errorf("answer %s", got)
		}
		wantTrace(t, "handle ask me", `
a consumer handle ask me
  a client call mirror
`, a, b)
	})
	t.Run("CallAll of clients of the other node", func(t *testing.T) {
		if got := cs.Call(0, "ask others", "who"); !slices.Contains([]string{`["who","recorded"]`, `["recorded","who"]`}, string(got[0])) {
			t.Errorf("answer %s", got)
		}
		spans := wantTrace(t, "handle ask others", `
a consumer handle ask others
  a client call mirror
    a client query nodes
    a consumer respond mirror
    a internal append
      a client query append
    b consumer respond mirror
    b internal append
      b client query append
`, a, b)
		wantUntraced(t, cs.recorder, `["mirror","who"]`, spans)
	})
}

// wantLinkToRequest checks that the span begins its trace, and is linked to the HTTP request that opened the connection.
func wantLinkToRequest(t *testing.T, handle span, n *node) {
	t.Helper()
	if handle.Parent.IsValid() || len(handle.Links) != 1 {
		t.Fatalf("parent %v, links %v", handle.Parent, handle.Links)
	}
	if request := handle.Links[0].SpanContext; !slices.ContainsFunc(spansOf(n), func(s span) bool {
		return s.SpanContext.SpanID() == request.SpanID() && s.SpanContext.TraceID() == request.TraceID() && s.SpanKind == trace.SpanKindServer
	}) {
		t.Errorf("%v is no request of node %s", request, n.name)
	}
}

// wantReceived checks that official clients on both nodes received the event with one argument and the offset, and that no
// packet contains more.
func (c *clients) wantReceived(t *testing.T, event, arg string, spans map[string]span) {
	t.Helper()
	for k := range 2 {
		var found harness.Report
		c.Await(patience, event, func() bool {
			i := slices.IndexFunc(c.ByNumber[k].Events, func(e harness.Report) bool { return e.Event == event })
			if i >= 0 {
				found = c.ByNumber[k].Events[i]
			}
			return i >= 0
		})
		var got, offset string
		if len(found.Args) != 2 || json.Unmarshal(found.Args[0], &got) != nil || json.Unmarshal(found.Args[1], &offset) != nil || got != arg {
			t.Errorf("client %d received %s %s", k, event, found.Args)
		}
	}
	wantUntraced(t, c.recorder, `["`+event+`","`+arg+`","`, spans)
}

// wantUntraced checks that a packet was received, and that no packet contains an id of the spans or the name of a header.
func wantUntraced(t *testing.T, r *packetRecorder, contains string, spans map[string]span) {
	t.Helper()
	r.await(t, contains)
	secrets := []string{"traceparent"}
	for _, s := range spans {
		secrets = append(secrets, s.SpanContext.TraceID().String(), s.SpanContext.SpanID().String())
	}
	for _, p := range r.all() {
		for _, secret := range secrets {
			if strings.Contains(p, secret) {
				t.Errorf("%s is in the packet %s", secret, p)
			}
		}
	}
}
