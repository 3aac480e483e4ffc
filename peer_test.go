package socketio_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/transport/transporttest"
)

// bubble runs a test in virtual time against a server of its own, which it shuts
// down at the end.
func bubble(t *testing.T, opts *socketio.Options, test func(t *testing.T, io *socketio.Server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		server := newServer(opts)
		// Heartbeats keep virtual time running: a read without a message would
		// block forever.
		hung := time.AfterFunc(24*time.Hour, func() { panic("the test waits for something that does not come") })
		defer hung.Stop()
		test(t, server)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
}

func newServer(opts *socketio.Options) *socketio.Server {
	var o socketio.Options
	if opts != nil {
		o = *opts
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return socketio.NewServer(&o)
}

// A peer is a client that sends raw packets, and keeps the same state as the official
// client: its private id and the last string that ended an event.
type peer struct {
	*transporttest.Client

	t           *testing.T
	id          string
	pid, offset string
	events      []string // without their offsets
}

func dial(t *testing.T, server *socketio.Server) *peer {
	t.Helper()
	return &peer{Client: transporttest.Dial(t, server, "/socket.io/?EIO=4&transport=websocket"), t: t}
}

// connected returns a peer that has joined "/".
func connected(t *testing.T, server *socketio.Server) *peer {
	t.Helper()
	p := dial(t, server)
	p.connect("")
	return p
}

// connect joins "/" with an auth object, or none, and waits.
func (p *peer) connect(auth string) {
	p.t.Helper()
	p.WriteText("0" + auth)
	p.connects()
	synctest.Wait()
}

// connects reads the answer to CONNECT.
func (p *peer) connects() {
	p.t.Helper()
	text := p.ReadText()
	var body struct{ SID, PID string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(text, "0")), &body); err != nil || body.SID == "" {
		p.t.Fatalf("CONNECT answered with %q", text)
	}
	p.id, p.pid = body.SID, body.PID
}

// comeBack cuts the connection and returns the peer on a new one, like the official
// client.
func (p *peer) comeBack(server *socketio.Server) *peer {
	p.t.Helper()
	p.drain()
	p.Cut()
	synctest.Wait()
	return p.comeBackUncut(server)
}

func (p *peer) comeBackUncut(server *socketio.Server) *peer {
	p.t.Helper()
	back := dial(p.t, server)
	back.offset = p.offset
	back.connect(p.ticket())
	return back
}

func (p *peer) ticket() string {
	auth := map[string]string{"pid": p.pid}
	if p.offset != "" {
		auth["offset"] = p.offset
	}
	text, err := json.Marshal(auth)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(text)
}

// drain reads the messages that have arrived, and returns the events so far.
func (p *peer) drain() []string {
	p.t.Helper()
	synctest.Wait()
	for p.Waiting() > 0 {
		p.event(p.ReadText())
	}
	return p.events
}

// event processes an event.
func (p *peer) event(text string) {
	p.t.Helper()
	if !strings.HasPrefix(text, "2") {
		p.t.Fatalf("event expected, got %q", text)
	}
	var args []any
	if err := json.Unmarshal([]byte(text[strings.IndexByte(text, '['):]), &args); err != nil {
		p.t.Fatal(err)
	}
	if last, ok := args[len(args)-1].(string); ok && p.pid != "" && len(args) > 1 {
		p.offset = last
		args = args[:len(args)-1]
	}
	p.events = append(p.events, strings.TrimSuffix(fmt.Sprintln(args...), "\n"))
}

// wantEvents checks all events since the connection was made.
func (p *peer) wantEvents(want ...string) {
	p.t.Helper()
	if got := p.drain(); fmt.Sprint(got) != fmt.Sprint(want) {
		p.t.Errorf("events\n got %q\nwant %q", got, want)
	}
}

// timesOut expects that the peer receives nothing until Options.ConnectTimeout, 45 s, and is closed then.
func (p *peer) timesOut() {
	p.t.Helper()
	time.Sleep(44 * time.Second)
	synctest.Wait()
	if n := p.Waiting(); n != 0 {
		p.t.Errorf("%d messages", n)
	}
	time.Sleep(2 * time.Second)
	p.closed()
}

// closed waits for the end of the connection.
func (p *peer) closed() {
	p.t.Helper()
	for {
		if _, _, err := p.ReadMessage(); err != nil {
			closed, ok := errors.AsType[*transporttest.CloseError](err)
			if !ok && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) {
				p.t.Errorf("connection ended with %v, %v", closed, err)
			}
			return
		}
	}
}

// ask emits a request and returns the acknowledgement.
func (p *peer) ask(text string) string {
	p.t.Helper()
	p.WriteText("27" + text)
	return strings.TrimPrefix(p.ReadText(), "37")
}

const (
	said    socketio.Event[string]                  = "said"
	nothing socketio.Event[socketio.None]           = "nothing"
	join    socketio.Request[string, socketio.None] = "join"
	leave   socketio.Request[string, socketio.None] = "leave"
	mood    socketio.Data[string]                   = "mood"
)

// rooms lets clients join and leave.
func rooms(server *socketio.Server) {
	join.On(server, func(ctx context.Context, s *socketio.Socket, room string) (socketio.None, error) {
		return socketio.None{}, s.Join(ctx, socketio.Room(room))
	})
	leave.On(server, func(ctx context.Context, s *socketio.Socket, room string) (socketio.None, error) {
		return socketio.None{}, s.Leave(ctx, socketio.Room(room))
	})
}

// emit emits from the test's goroutine.
func emit(t *testing.T, to socketio.Target, text string) {
	t.Helper()
	if err := said.Emit(t.Context(), to, text); err != nil {
		t.Fatal(err)
	}
}

// only returns the one socket of the server.
func only(t *testing.T, server *socketio.Server) *socketio.Socket {
	t.Helper()
	var found *socketio.Socket
	for s := range server.Sockets() {
		if found != nil {
			t.Fatal("more than one socket")
		}
		found = s
	}
	if found == nil {
		t.Fatal("no socket")
	}
	return found
}
