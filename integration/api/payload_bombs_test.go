package api_test

import (
	"context"
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/integration/wire"
	"github.com/pgsocket/socketio/msgpack"
)

// A payloadBomb is what a hostile client sends after CONNECT, with the answer, or "" if the server closes the
// connection.
type payloadBomb struct {
	name   string
	send   []any // string: a text message; []byte: a binary one
	answer string
}

const (
	megabyte = 1_000_000 - 100 // the limit of a message, without the rest of the packet
	deep     = 400_000
)

func payloadBombs() []payloadBomb {
	x := strings.Repeat("x", megabyte)
	tens := make([]any, 0, 11)
	tens = append(tens, `4510-["x",{"_placeholder":true,"num":0}]`)
	for range 9 {
		tens = append(tens, make([]byte, megabyte))
	}
	return []payloadBomb{
		{"a million attachments", []any{`451000000-["x",{"_placeholder":true,"num":0}]`}, ""},
		{"as many as a number holds", []any{`4599999999999999999999-["x"]`}, ""},
		{"ten attachments, one of them text", append(tens, `42["x"]`), ""},
		{"one attachment too many", []any{`451-["x",{"_placeholder":true,"num":0}]`, []byte("x"), []byte("y")}, ""},
		{"a placeholder for what is not there", []any{`451-["x",{"_placeholder":true,"num":4000000000}]`, []byte("x")}, ""},
		{"the last ack id", []any{`429007199254740991["echo"]`}, `39007199254740991[]`},
		{"an ack id beyond", []any{`429007199254740992["echo"]`}, ""},
		{"an ack id without end", []any{`42` + strings.Repeat("9", megabyte) + `["echo"]`}, ""},
		{"an unexpected acknowledgement", []any{`439007199254740991[]`, `421["echo"]`}, `31[]`},
		{
			"depth that is allowed",
			[]any{`421["echo",` + strings.Repeat("[", 127) + strings.Repeat("]", 127) + `]`},
			`31[` + strings.Repeat("[", 127) + strings.Repeat("]", 127) + `]`,
		},
		{"arrays within arrays", []any{`421["echo",` + strings.Repeat("[", deep) + strings.Repeat("]", deep) + `]`}, ""},
		{"objects within objects", []any{`421["echo",` + strings.Repeat(`{"a":`, deep/5) + "1" + strings.Repeat("}", deep/5) + `]`}, ""},
		{"depth that does not end", []any{`421["echo",` + strings.Repeat(`[{"a":`, deep/6)}, ""},
		{"depth in CONNECT", []any{`40/other,` + strings.Repeat(`{"a":`, deep/5) + "1" + strings.Repeat("}", deep/5)}, ""},
		{"a long namespace", []any{`40/` + x}, ""},
		{"a long namespace of an event", []any{`42/` + x + `,["echo"]`}, ""},
		{"a long name of an event", []any{`42["` + x + `"]`, `421["echo"]`}, `31[]`},
		{"as many arguments as are allowed", []any{`42["unhandled"` + strings.Repeat(",0", 1<<16-1) + `]`, `421["echo"]`}, `31[]`},
		{"many arguments", []any{`421["unhandled"` + strings.Repeat(",0", megabyte/2-10) + `]`}, ""},
		{"one attachment for many placeholders", []any{placeholderBomb(30_000), make([]byte, megabyte)}, ""},
		{"many keys", []any{`42["unhandled",{"a":0` + strings.Repeat(`,"a":0`, megabyte/6-10) + `}]`, `421["echo"]`}, `31[]`},
		{"a long number", []any{`421["number",1` + strings.Repeat("0", megabyte-100) + `]`}, `bad_payload`},
		{"a number that is no float", []any{`421["number",1e999999999]`}, `bad_payload`},
		{"a room that is too long", []any{`421["join","` + x + `"]`}, `"code":"internal"`},
		{"a packet that is too long", []any{`42["echo","` + x + x + `"]`}, ""},
		{"half a text", []any{"42[\"echo\",\"\xff\xfe\"]"}, ""},
	}
}

// placeholderBomb returns an event that expands to many times its size: each placeholder stands for the same
// attachment.
func placeholderBomb(n int) string {
	return `451-["echo"` + strings.Repeat(`,{"_placeholder":true,"num":0}`, n) + `]`
}

// TestPayloadBombs sends many bombs at once. Each is answered, or refused clearly, another client does not notice,
// and their memory is bounded.
func TestPayloadBombs(t *testing.T) {
	t.Parallel()
	io := plain(socketio.Options{})
	echo(io, "echo")
	socketio.Request[float64, float64]("number").On(io, func(_ context.Context, _ *socketio.Socket, v float64) (float64, error) { return v, nil })
	socketio.Request[socketio.Room, socketio.None]("join").On(io, func(ctx context.Context, s *socketio.Socket, r socketio.Room) (socketio.None, error) {
		return socketio.None{}, s.Join(ctx, r)
	})
	url := serve(t, io)
	withOtherClient(t, url, func() {
		for _, b := range payloadBombs() {
			var attackers sync.WaitGroup
			for range 4 {
				attackers.Go(func() { sendBomb(t, url, b) })
			}
			attackers.Wait()
		}
	})
}

// sendBomb sends a bomb on a connection of its own.
func sendBomb(t *testing.T, url string, b payloadBomb) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	link, err := wire.Dial(ctx, strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Errorf("%s: %v", b.name, err)
		return
	}
	defer link.Cut()
	stop := context.AfterFunc(ctx, link.Cut)
	defer stop()
	if err := link.Send("40"); err != nil {
		t.Errorf("%s: %v", b.name, err)
	}
	if _, err := link.Next(); err != nil {
		t.Errorf("%s: %v", b.name, err)
	}
	for _, m := range b.send {
		// The server may close the connection before everything is sent.
		switch m := m.(type) {
		case string:
			_ = link.Send(m)
		case []byte:
			_ = link.Frame(ws.OpBinary, m)
		}
	}
	answer, err := link.Next()
	switch {
	case ctx.Err() != nil:
		t.Errorf("%s: neither refused nor answered", b.name)
	case b.answer == "" && err == nil:
		t.Errorf("%s: answered %.100q, want the end", b.name, answer)
	case b.answer != "" && (err != nil || !strings.Contains(answer, b.answer)):
		t.Errorf("%s: answered %.100q (%v), want %.100q", b.name, answer, err, b.answer)
	}
}

// withOtherClient runs the attack while another client makes calls, and checks its memory.
func withOtherClient(t *testing.T, url string, attack func()) {
	t.Helper()
	done := make(chan struct{})
	healthy := make(chan string, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	victim := wire.New(wire.Options{})
	if err := victim.Connect(ctx, strings.TrimPrefix(url, "http://")); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the attack
		calls, slowest := 0, time.Duration(0)
		for {
			select {
			case <-done:
				healthy <- fmt.Sprintf("%d calls, the slowest took %v", calls, slowest.Round(time.Millisecond))
				return
			default:
			}
			began := time.Now()
			if err := victim.Call(ctx, nil, "echo", "I am here"); err != nil {
				healthy <- ""
				t.Errorf("the other client: %v", err)
				return
			}
			calls++
			slowest = max(slowest, time.Since(began))
		}
	}()
	peak := &heapPeak{stop: done}
	peak.watch()
	attack()
	close(done)
	t.Logf("the other client: %s; the heap's peak: %d MB", <-healthy, peak.wait()>>20)
	if peak.wait() > 512<<20 {
		t.Errorf("the heap grew to %d MB", peak.wait()>>20)
	}
	victim.Cut()
}

// A heapPeak is the largest heap until stop is closed.
type heapPeak struct {
	stop  <-chan struct{}
	ended chan struct{}
	heap  uint64
}

func (p *heapPeak) watch() {
	p.ended = make(chan struct{})
	go func() { // ends with stop
		defer close(p.ended)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			p.heap = max(p.heap, m.HeapAlloc)
			select {
			case <-tick.C:
			case <-p.stop:
				return
			}
		}
	}()
}

func (p *heapPeak) wait() uint64 {
	<-p.ended
	return p.heap
}

// TestPayloadBombs_MessagePack sends bombs in MessagePack, whose headers announce sizes in advance.
func TestPayloadBombs_MessagePack(t *testing.T) {
	t.Parallel()
	io := plain(socketio.Options{Parser: msgpack.Parser{}})
	connected, echoed := make(chan struct{}, 1), make(chan struct{}, 1)
	io.OnConnect(func(context.Context, *socketio.Socket) error {
		connected <- struct{}{}
		return nil
	})
	io.Handle("echo", func(context.Context, *socketio.Message) error {
		echoed <- struct{}{}
		return nil
	})
	url := serve(t, io)
	// {type: 2, nsp: "/", data: …}
	event := func(data string) []byte { return []byte("\x83\xa4type\x02\xa3nsp\xa1/\xa4data" + data) }
	harmless := event("\x91\xa4echo")
	for name, message := range map[string][]byte{
		"four billion arguments":    event("\xdd\xff\xff\xff\xff\xa4echo"),
		"four billion members":      event("\x92\xa4echo\xdf\xff\xff\xff\xff\xa1a"),
		"four billion bytes":        event("\x92\xa4echo\xc6\xff\xff\xff\xffx"),
		"a text of four billion":    event("\x92\xa4echo\xdb\xff\xff\xff\xffx"),
		"an extension of as many":   event("\x92\xa4echo\xc9\xff\xff\xff\xff\x00x"),
		"arrays within arrays":      event("\x92\xa4echo" + strings.Repeat("\x91", deep) + "\xc0"),
		"maps within maps":          event("\x92\xa4echo" + strings.Repeat("\x81\xa1a", deep/3) + "\xc0"),
		"a packet of many members":  []byte("\xdf\xff\xff\xff\xff\xa4type\x02"),
		"empty attachments":         event("\xdc\xff\xff\xa4echo" + strings.Repeat("\xc4\x00", 65534)),
		"a map like a placeholder":  event("\x93\xa4echo\xc4\x01x\x82\xac_placeholder\xc3\xa3num\x00"),
		"eleven attachments":        event("\x9c\xa4echo" + strings.Repeat("\xc4\x01x", 11)),
		"no packet":                 []byte("\xc0"),
		"nothing":                   {},
		"an ack id beyond":          []byte("\x84\xa4type\x02\xa3nsp\xa1/\xa2id\xcf\x00\x20\x00\x00\x00\x00\x00\x00\xa4data\x91\xa4echo"),
		"a namespace that is large": []byte("\x82\xa4type\x00\xa3nsp\xdb\x00\x0f\x00\x00/" + strings.Repeat("x", 0x0f0000-1)),
	} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		link, err := wire.Dial(ctx, strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer link.Cut()
		stop := context.AfterFunc(ctx, link.Cut)
		defer stop()
		// {type: 0, nsp: "/"}; the answers are binary, which wire does not show.
		if err := link.Frame(ws.OpBinary, []byte("\x82\xa4type\x00\xa3nsp\xa1/")); err != nil {
			t.Fatal(err)
		}
		await(t, connected)
		if err := link.Frame(ws.OpBinary, harmless); err != nil {
			t.Fatal(err)
		}
		await(t, echoed)
		if err := link.Frame(ws.OpBinary, message); err != nil {
			t.Fatal(err)
		}
		if _, err := link.Next(); ctx.Err() != nil || err == nil {
			t.Errorf("%s: not refused", name)
		}
		select {
		case <-echoed:
			t.Errorf("%s: handled", name)
		default:
		}
	}
}

func await(t *testing.T, event <-chan struct{}) {
	t.Helper()
	select {
	case <-event:
	case <-time.After(patience):
		t.Fatal("not within the time limit")
	}
}

// TestNamespaces_Limit: a client that connects to many namespaces gets a limited number of them, and leaves nothing
// behind.
func TestNamespaces_Limit(t *testing.T) {
	t.Parallel()
	io := plain(socketio.Options{CleanupEmptyChildNamespaces: true, ConnectsPerSecond: -1})
	echo(io, "echo")
	parent := io.OfPattern(regexp.MustCompile(`^/any-`))
	url := serve(t, io)
	withOtherClient(t, url, func() {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		link, err := wire.Dial(ctx, strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Error(err)
			return
		}
		defer link.Cut()
		const wanted = 3000
		answers := make(map[string]int)
		for i := range wanted {
			name := fmt.Sprintf("/any-%d", i)
			if i%2 == 0 {
				name = fmt.Sprintf("/none-%d", i)
			}
			if err := link.Send("40" + name + ","); err != nil {
				t.Error(err)
				return
			}
			answer, err := link.Next()
			if err != nil {
				t.Error(err)
				return
			}
			_, body, _ := strings.Cut(answer, ",")
			if strings.HasPrefix(body, `{"sid"`) {
				body = "in"
			}
			answers[body]++
		}
		for body, want := range map[string]int{
			`{"message":"Invalid namespace"}`: 64, "in": 64, `{"message":"Too many namespaces"}`: wanted - 64 - 64,
		} {
			if got := answers[body]; body == "in" && got != want || got == 0 {
				t.Errorf("%s: %d times, want %d", body, got, want)
			}
		}
	})
	shutdown(t, io)
	for n := range parent.Namespaces() {
		t.Errorf("%s remains", n.Name())
	}
}
