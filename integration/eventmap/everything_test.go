package eventmap_test

import (
	"context"
	"encoding/json"
	"math/big"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/eventmap"
)

type (
	Color      string
	Everything struct {
		Bool     bool
		Int      int64
		Unsigned uint8
		Float    float64
		Text     string
		Room     socketio.Room
		Color    Color
		Quoted   int64 `json:",string"`
		Pointer  *string
		Omitted  *string   `json:",omitempty"`
		List     []string  `json:",omitempty"`
		Since    time.Time `json:",omitzero"`
		Slice    []*int
		Map      map[string][]int
		Keys     map[int]bool
		Bytes    []byte
		Binary   socketio.Binary
		Binaries []socketio.Binary
		Image    *socketio.Binary
		Time     time.Time
		Duration time.Duration
		Raw      json.RawMessage
		Any      any
		Array    [2]bool
		Address  netip.Addr
		Big      *big.Int
		Next     *Everything
		Inner    struct{ A int }
		Number   float64 `json:"with space"`
		Base
		*More
	}
	Base struct{ Promoted string }
	More struct{ Maybe int }
	Move struct {
		Piece    string
		Position []int
		Data     []byte
		By       *string
	}
)

func (m *Move) Args() []any { return []any{&m.Piece, &m.Position, &m.Data, &m.By} }

// The events of the client in testdata.
const (
	everything socketio.Event[Everything]    = "everything"
	bytesSent  socketio.Event[[]byte]        = "bytes"
	moved      socketio.Event[Move]          = "moved"
	nothing    socketio.Event[socketio.None] = "nothing"

	earlier socketio.History = "earlier" // only described

	ask        socketio.Request[string, string]        = "ask"
	askMove    socketio.Request[socketio.None, Move]   = "askMove"
	askNothing socketio.Request[any, socketio.None]    = "askNothing"
	moving     socketio.Event[Move]                    = "moving"
	file       socketio.Event[[]byte]                  = "file"
	begin      socketio.Request[socketio.None, string] = "begin"

	echo        socketio.Request[Everything, Everything]       = "echo"
	echoPointer socketio.Request[*Everything, *Everything]     = "echoPointer"
	failing     socketio.Request[string, int]                  = "failing"
	refusing    socketio.Request[socketio.None, socketio.None] = "refusing"
	move        socketio.Request[Move, Move]                   = "move"
	end         socketio.Request[socketio.None, socketio.None] = "end"
)

func everyValue() []Everything {
	text, one, image := "text", 1, socketio.Binary{4}
	inner := Everything{Color: "red", Raw: json.RawMessage(`{"a":[null]}`), Binary: socketio.Binary{}, Time: time.Unix(0, 0).UTC()}
	zero := inner
	zero.Raw = json.RawMessage("null")
	full := Everything{
		Bool: true, Int: -5, Unsigned: 200, Float: 1.5, Text: "<\"&>", Room: "lobby", Color: "green", Quoted: 1<<53 + 1, Pointer: &text,
		Omitted: &text, List: []string{"a"}, Since: time.Unix(1e9, 0).UTC(), Slice: []*int{nil, &one}, Map: map[string][]int{"a": {1}, "b": nil},
		Keys: map[int]bool{-1: true}, Bytes: []byte{1, 255}, Binary: socketio.Binary{1, 2}, Binaries: []socketio.Binary{{3}, {}}, Image: &image,
		Time: time.Unix(1e9, 5).UTC(), Duration: time.Second, Raw: json.RawMessage(`[1]`), Any: map[string]any{"x": nil}, Array: [2]bool{true},
		Address: netip.MustParseAddr("::1"), Big: big.NewInt(1 << 40), Next: &inner, Inner: struct{ A int }{3}, Number: 2,
		Base: Base{"promoted"}, More: &More{7},
	}
	return []Everything{zero, full}
}

// leastValue is what the client makes up.
func leastValue() Everything {
	return Everything{
		Int: -1, Unsigned: 1, Float: 0.5, Room: "a", Color: "red", Quoted: 1<<53 + 1, Binary: socketio.Binary{},
		Time: time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC), Duration: 1, Raw: json.RawMessage("null"), Array: [2]bool{true, false}, Inner: struct{ A int }{1},
	}
}

// A peer is the server of one client, and what it received.
type peer struct {
	io *socketio.Server
	mu sync.Mutex
	in []any
}

func (p *peer) got(v any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.in = append(p.in, v)
}

func newPeer(t *testing.T) *peer {
	t.Helper()
	p := &peer{io: socketio.NewServer(nil)}
	t.Cleanup(func() { _ = p.io.Shutdown(context.Background()) })
	begin.On(p.io, func(ctx context.Context, s *socketio.Socket, _ socketio.None) (string, error) {
		return "begun", p.emitAll(ctx, s)
	})
	echo.On(p.io, func(_ context.Context, _ *socketio.Socket, v Everything) (Everything, error) {
		p.got(v)
		return v, nil
	})
	echoPointer.On(p.io, func(_ context.Context, _ *socketio.Socket, v *Everything) (*Everything, error) { return v, nil })
	failing.On(p.io, func(_ context.Context, _ *socketio.Socket, how string) (int, error) {
		if how == "all" {
			return 0, &socketio.Error{Code: "failed", Message: "it failed", Data: []int{1}}
		}
		return 0, os.ErrInvalid
	})
	refusing.On(p.io, func(context.Context, *socketio.Socket, socketio.None) (none socketio.None, err error) {
		return none, &socketio.Error{Code: "refused"}
	})
	moving.On(p.io, func(_ context.Context, _ *socketio.Socket, m Move) error {
		p.got(m)
		return nil
	})
	file.On(p.io, func(_ context.Context, _ *socketio.Socket, data []byte) error {
		p.got(data)
		return nil
	})
	move.On(p.io, func(_ context.Context, _ *socketio.Socket, m Move) (Move, error) {
		if m.Piece == "" {
			return m, &socketio.Error{Code: "no_piece"}
		}
		p.got(m)
		return m, nil
	})
	end.On(p.io, func(context.Context, *socketio.Socket, socketio.None) (none socketio.None, err error) {
		return none, nil
	})
	return p
}

// emitAll emits everything to the client, and asks it.
func (p *peer) emitAll(ctx context.Context, s *socketio.Socket) error {
	for _, v := range everyValue() {
		if err := everything.Emit(ctx, s, v); err != nil {
			return err
		}
	}
	by := "you"
	for _, err := range []error{
		bytesSent.Emit(ctx, s, []byte{1, 2}), bytesSent.Emit(ctx, s, nil), moved.Emit(ctx, s, Move{"pawn", []int{1}, []byte{2}, &by}),
		moved.Emit(ctx, s, Move{}), nothing.Emit(ctx, s, socketio.None{}),
	} {
		if err != nil {
			return err
		}
	}
	answer, err := ask.Call(ctx, s, "what")
	if err != nil {
		return err
	}
	p.got(answer)
	moved, err := askMove.Call(ctx, s, socketio.None{})
	if err != nil {
		return err
	}
	p.got(moved)
	_, err = askNothing.Call(ctx, s, true)
	return err
}

func (p *peer) eventMap() *eventmap.Map {
	return &eventmap.Map{
		Namespaces: []eventmap.Namespace{{
			ServerToClient: eventmap.List(everything, bytesSent, moved, nothing, ask, askMove, askNothing),
			ClientToServer: p.io.Handled(),
		}},
		Types: []eventmap.Type{eventmap.Enum[Color]("red", "green")},
	}
}

// TestTypeScript_ValuesOnTheWireHaveTheTypes lets a compiled client and a server exchange a struct of everything, in both
// directions, with values, with null and with omitted fields. What the client received is then compiled against the types: as
// literals, in which a field too many is an error too.
func TestTypeScript_ValuesOnTheWireHaveTheTypes(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.writeTypes("events.ts", newPeer(t).eventMap())
	p.write("everything.ts", read(t, "testdata/everything.ts"))
	if out := p.compile(); out != "" {
		t.Fatal(out)
	}
	for _, transport := range []string{"websocket", "polling"} {
		server := newPeer(t)
		p.write("received-"+transport+".ts", p.exchange(server, transport))
		by := "me"
		want := []any{
			"what!",
			Move{"knight", []int{3, 4}, []byte{5}, nil},
			everyValue()[0], everyValue()[1], leastValue(),
			Move{"rook", []int{1, 2}, []byte{7, 8}, &by},
			[]byte{1, 2, 3},
			Move{"queen", []int{5, 6}, []byte{9}, nil},
		}
		server.mu.Lock()
		if got, want := encoded(t, server.in), encoded(t, want); got != want {
			t.Errorf("over %s the server received\n%s\nwant\n%s", transport, got, want)
		}
		server.mu.Unlock()
	}
	if out := p.compile(); out != "" {
		t.Errorf("what the client received does not have the types:\n%s", out)
	}
}

// encoded returns values as JSON, a line each.
func encoded(t *testing.T, values []any) string {
	t.Helper()
	var b strings.Builder
	for _, v := range values {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(text, '\n'))
	}
	return b.String()
}

// exchange runs the client, and returns a file with what it received.
func (p *project) exchange(server *peer, transport string) string {
	p.t.Helper()
	web := httptest.NewServer(server.io)
	defer web.Close()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "out/everything.js")
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "URL="+web.URL, "TRANSPORT="+transport)
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		p.t.Fatalf("%v\n%s\n%s", err, out, &complaints)
	}
	const lines = 17 // 2 everything, 2 bytes, 2 moved, begin, 3 echo, echoPointer, 2 failing, refusing, 2 move, end
	if got := strings.Count(string(out), "\n"); got != lines {
		p.t.Errorf("the client received %d values, want %d\n%s", got, lines, out)
	}
	return `import type { AnswerOf, ClientToServerEvents, ServerToClientEvents } from "./events.js";
type Callback<E extends keyof ClientToServerEvents> = Parameters<ClientToServerEvents[E]> extends [...unknown[], infer C extends (...args: any) => void] ? C : never;
` + string(out)
}

// TestAsyncAPI_DocumentIsValid checks a document against the schema of the specification, and the arguments of events, as they
// are on the wire, against its payloads.
func TestAsyncAPI_DocumentIsValid(t *testing.T) {
	t.Parallel()
	m := newPeer(t).eventMap()
	m.Namespaces = append(m.Namespaces, eventmap.Namespace{Name: "/tenant-{id}", ServerToClient: eventmap.List(everything, earlier)})
	values := map[string][][]any{
		"sendMoved":              {{"pawn", []int{1}, "binary", nil, "offset"}, {"pawn", nil, "binary", "you"}},
		"receiveFailing_reply":   {{1}},
		"ErrorReply":             {{map[string]any{"error": map[string]any{"code": "x"}}}},
		"receiveRefusing":        {{}},
		"receiveEchoPointer":     {{nil}},
		"sendTenantIdEverything": {},
		"sendTenantIdEarlier": {
			{map[string]any{"room": "red", "events": []any{}, "complete": false}, "offset"},
			{map[string]any{"room": "red", "events": []any{[]any{"nothing"}, []any{"moved", "pawn", nil, 1}}, "complete": true}},
		},
	}
	for _, v := range append(everyValue(), leastValue()) {
		v.Binary, v.Binaries, v.Image = nil, nil, nil // on the wire they are attachments
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var wire map[string]any
		if err := json.Unmarshal(text, &wire); err != nil {
			t.Fatal(err)
		}
		wire["Binary"] = "binary"
		if next, ok := wire["Next"].(map[string]any); ok {
			next["Binary"] = "binary"
		}
		for _, id := range []string{"sendEverything", "receiveEcho", "receiveEcho_reply", "receiveEchoPointer", "sendTenantIdEverything"} {
			values[id] = append(values[id], []any{wire})
		}
	}
	if out := checkAsyncAPI(t, m, values); out != "" {
		t.Errorf("%s", out)
	}
	wrong := map[string][][]any{
		"sendMoved":            {{"pawn", []int{1}, "binary"}, {1, nil, "", nil}},
		"receiveFailing_reply": {{1.5}},
		"ErrorReply":           {{map[string]any{"error": map[string]any{}}}},
		"receiveEchoPointer":   {{map[string]any{"Bool": true}}},
		"sendTenantIdEarlier":  {{map[string]any{"room": "red", "events": []any{[]any{}}, "complete": true}}},
	}
	out := checkAsyncAPI(t, m, wrong)
	for _, want := range []string{
		"sendMoved:  must NOT have fewer than 4 items", "sendMoved: /0 must be string", "receiveFailing_reply: /0 must be integer",
		"ErrorReply: /0/error must have required property 'code'", "receiveEchoPointer: /0 must have required property 'Text'",
		"sendTenantIdEarlier: /0/events/0 must NOT have fewer than 1 items",
	} {
		if !strings.Contains(out, want+"\n") {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func checkAsyncAPI(t *testing.T, m *eventmap.Map, values any) string {
	t.Helper()
	p := newProject(t)
	var doc strings.Builder
	if err := m.WriteAsyncAPI(&doc); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	p.write("document.json", doc.String())
	p.write("values.json", string(text))
	script, err := filepath.Abs("../js/asyncapi.mjs")
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.run("node", script, "document.json", "values.json")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}
