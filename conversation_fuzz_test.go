package socketio_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
	"github.com/pgsocket/socketio/transport/transporttest"
)

// FuzzConversation lets a client send anything to a live node, over one connection after the other. In every case the
// node does not panic, another client is served, allocations are bounded by the input, and nothing is left in memory
// in the end. The script has one step per line, see conversation.step.
func FuzzConversation(f *testing.F) {
	for _, script := range []string{
		"t40\nw\nt420[\"echo\",1,\"two\"]\nw\nt42[\"post\",\"x\"]\nw\nc\nt40{\"pid\":\"$p\",\"offset\":\"$o\"}\nw\nw",
		"t40{\"token\":\"a\"}\nw\nt451-0[\"echo\",{\"_placeholder\":true,\"num\":0}]\nbabc\nw\nt41\nt40\nw",
		"t40/d1,\nw\nt42/d1,7[\"echo\",{\"a\":[1,2,{\"b\":null}]}]\nw\nt41/d1,\nt40/d1,{}\nw\nt40/none,\nw",
		"t40\nw\nt42[\"call\"]\nw\nt430[\"answer\"]\nt430[]\nt43999999999999999999[]\nt461-0[{\"_placeholder\":true,\"num\":0}]\nb1",
		"t40\nw\nt421[\"join\",\"a\"]\nt422[\"join\",\"\"]\nt423[\"leave\",\"a\"]\nt42[\"gone\"]\nt42[\"x\"]\nt40\nw",
		"t40\nw\nt42[\"post\",\"1\"]\nt42[\"post\",\"2\"]\nc\nt40{\"pid\":\"$p\"}\nw\nw\nc\nt40{\"pid\":\"$p\"}\nw\nc\nt40{\"pid\":\"$p\",\"offset\":\"x\"}",
		"t2\nt3\nt6\nt1", "t0{}", "t5", "b40", "t", "t4", "t49", "t42[]", "t420{}", "t45999999-[\"x\"]", "t44{}", "t40[[[[[[",
		"t40\nw\nt452-[\"echo\",{\"_placeholder\":true,\"num\":1},{\"_placeholder\":true,\"num\":1}]\nb1\nb2\nt451-[\"echo\"]\nt42[\"x\"]",
		"r\x81\x80\x00\x00\x00\x00", "r\x88\x82\x00\x00\x00\x00\x03\xe8", "rGET / HTTP/1.1", "r\x01\x81\x00\x00\x00\x004", "t40\nr\xff\xff",
		"t42[\"" + strings.Repeat("a", 300) + "\"]", "t40" + strings.Repeat("[", 200) + "\nt40{\"pid\":5,\"offset\":{}}\nw",
	} {
		f.Add([]byte(script))
	}
	c := newConversation(f)
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 1<<16 {
			return
		}
		c.run(t, script)
	})
}

// A conversation is the state of one process of the fuzzer: a node with a second client that is correct.
type conversation struct {
	io       *socketio.Server
	panicked atomic.Pointer[string]
	runs     int
	before   int64 // bytes on the heap after the first conversations
}

const conversationURL = "/socket.io/?EIO=4&transport=websocket"

func newConversation(f *testing.F) *conversation {
	f.Helper()
	c := &conversation{}
	log := adapter.NewMemory(&adapter.MemoryOptions{MaxBytes: 1 << 20})
	c.io = socketio.NewServer(&socketio.Options{
		Adapter: log, Logger: slog.New(panicFinder{&c.panicked}), CleanupEmptyChildNamespaces: true,
		Recovery: socketio.Recovery{Store: recovery.NewMemory(log), Window: time.Second},
	})
	c.io.Use(func(_ context.Context, s *socketio.Socket) error {
		var auth struct{ Token string }
		if s.Handshake().DecodeAuth(&auth) == nil && auth.Token == "refused" {
			return &socketio.Error{Code: "refused"}
		}
		return nil
	})
	asked := socketio.Request[string, json.RawMessage]("asked")
	for _, r := range []socketio.Registrar{c.io, c.io.OfPattern(regexp.MustCompile(`^/d\d$`))} {
		r.Handle("echo", func(_ context.Context, m *socketio.Message) error {
			if len(m.Args()) == 0 {
				return m.Reply()
			}
			var first json.RawMessage
			if err := m.Decode(&first); err != nil {
				return err
			}
			return m.Reply(first)
		})
		socketio.Event[string]("post").On(r, func(ctx context.Context, s *socketio.Socket, text string) error {
			return said.Emit(ctx, s, text)
		})
		socketio.Event[socketio.None]("call").On(r, func(ctx context.Context, s *socketio.Socket, _ socketio.None) error {
			ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
			_, err := asked.Call(ctx, s, "?")
			return err
		})
		socketio.Event[socketio.None]("gone").On(r, func(ctx context.Context, s *socketio.Socket, _ socketio.None) error {
			return s.Disconnect(ctx)
		})
		join.On(r, func(ctx context.Context, s *socketio.Socket, room string) (socketio.None, error) {
			return socketio.None{}, s.Join(ctx, socketio.Room(room))
		})
		leave.On(r, func(ctx context.Context, s *socketio.Socket, room string) (socketio.None, error) {
			return socketio.None{}, s.Leave(ctx, socketio.Room(room))
		})
	}
	f.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = c.io.Shutdown(ctx) // no client is left
	})
	return c
}

// fuzzerBuffer is the size of the fuzzer's own buffers on the heap.
const fuzzerBuffer = 100 << 20

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

func (c *conversation) run(t *testing.T, script []byte) {
	recordingAdapter := transporttest.Dial(t, c.io, conversationURL)
	recordingAdapter.WriteText("0")
	recordingAdapter.ReadText()
	began := allocated()
	p := &speaker{}
	p.dial(t, c.io)
	for line := range bytes.SplitSeq(script, []byte("\n")) {
		p.step(t, c.io, line)
	}
	p.Cut()
	if took := allocated() - began; took > 8<<20+uint64(len(script))<<12 {
		t.Errorf("%d bytes were allocated for %d", took, len(script))
	}
	recordingAdapter.WriteText(`27["echo","still here"]`)
	if got := recordingAdapter.ReadText(); got != `37["still here"]` {
		t.Errorf("another client was answered %q", got)
	}
	if text := c.panicked.Load(); text != nil {
		t.Error(*text)
	}
	c.runs++
	switch {
	case c.runs == 100:
		c.before = heap()
	case c.runs%1000 == 0:
		if now := heap(); now > c.before+fuzzerBuffer+8<<20 {
			t.Errorf("%d bytes are on the heap after %d conversations, %d after the first", now, c.runs, c.before)
		}
	}
}

// A speaker is the client that sends anything.
type speaker struct {
	*transporttest.Client

	pid, offset string
}

func (p *speaker) dial(t *testing.T, server *socketio.Server) {
	t.Helper()
	p.Client = transporttest.Dial(t, server, conversationURL)
}

// step executes a line of the script: t sends a text message with its Engine.IO digit, b a binary one, r bytes as
// they are; w waits for a message, c cuts the connection and opens another. $p and $o stand for the session's pid and
// the last offset.
func (p *speaker) step(t *testing.T, server *socketio.Server, line []byte) {
	t.Helper()
	if len(line) == 0 {
		return
	}
	rest := line[1:]
	switch line[0] {
	case 't':
		text := strings.NewReplacer("$p", p.pid, "$o", p.offset).Replace(string(rest))
		p.write(t, ws.NewTextFrame([]byte(text)))
	case 'b':
		p.write(t, ws.NewBinaryFrame(bytes.Clone(rest)))
	case 'r':
		p.WriteRaw(rest)
	case 'w':
		p.receive()
	case 'c':
		p.Cut()
		p.dial(t, server)
	}
}

func (p *speaker) write(t *testing.T, f ws.Frame) {
	t.Helper()
	frame, err := ws.CompileFrame(ws.MaskFrameInPlace(f))
	if err != nil {
		t.Fatal(err)
	}
	p.WriteRaw(frame)
}

// receive reads a message, if one arrives soon, and keeps what a client would keep.
func (p *speaker) receive() {
	for range 3 {
		if p.Waiting() > 0 {
			break
		}
		time.Sleep(100 * time.Microsecond) // it may never arrive; nothing depends on it
	}
	if p.Waiting() == 0 {
		return
	}
	binary, data, err := p.ReadMessage()
	if err != nil || binary || len(data) == 0 {
		return
	}
	var body struct{ PID string }
	var args []any
	if i := bytes.IndexByte(data, '{'); data[0] == '0' && i > 0 && json.Unmarshal(data[i:], &body) == nil {
		p.pid = body.PID
	}
	if i := bytes.IndexByte(data, '['); data[0] == '2' && i > 0 && json.Unmarshal(data[i:], &args) == nil {
		p.offset, _ = args[len(args)-1].(string)
	}
}

// panicFinder is a log that looks for panics only.
type panicFinder struct{ found *atomic.Pointer[string] }

func (panicFinder) Enabled(context.Context, slog.Level) bool { return true }

func (h panicFinder) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += " " + fmt.Sprint(a.Value.Any())
		return true
	})
	if strings.Contains(text, "panic") {
		h.found.Store(&text)
	}
	return nil
}

func (h panicFinder) WithAttrs([]slog.Attr) slog.Handler { return h }

func (h panicFinder) WithGroup(string) slog.Handler { return h }
