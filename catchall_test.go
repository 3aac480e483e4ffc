package socketio_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
)

func TestOnAny_EveryEvent(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		var told []string
		io.OnAny(func(_ context.Context, m *socketio.Message) {
			told = append(told, "any "+m.Event()+fmt.Sprintf("%s", m.Args()))
		})
		io.OnAny(func(_ context.Context, m *socketio.Message) {
			if m.Event() == "bad" {
				panic("a listener")
			}
		})
		io.Intercept(func(next socketio.Handler) socketio.Handler {
			return func(ctx context.Context, m *socketio.Message) error {
				told = append(told, "around "+m.Event())
				if m.Event() == "stop" {
					return &socketio.Error{Code: "stopped"}
				}
				return next(ctx, m)
			}
		})
		echo.On(io, func(_ context.Context, _ *socketio.Socket, v string) (string, error) {
			told = append(told, "handled")
			return v, nil
		})
		p := connected(t, io)
		p.WriteText(`2["nobody",1]`)
		p.WriteText(`2["bad"]`)
		if got := p.ask(`["echo","x"]`); got != `["x"]` {
			t.Errorf("answered %s", got)
		}
		if got := p.ask(`["stop"]`); got != `[{"error":{"code":"stopped"}}]` {
			t.Errorf("answered %s", got)
		}
		want := `any nobody[1] around nobody any bad[] around bad any echo["x"] around echo handled any stop[] around stop`
		if got := strings.Join(told, " "); got != want {
			t.Errorf("observed\n got %s\nwant %s", got, want)
		}
	})
}

func TestOnAnyOutgoing_EachSocket(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		rooms(io)
		var mu sync.Mutex
		told := make(map[socketio.SocketID][]string)
		io.OnAnyOutgoing(func(s *socketio.Socket, e *socketio.OutgoingEvent) {
			var text string
			if err := e.Decode(&text); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			told[s.ID()] = append(told[s.ID()], fmt.Sprint(e.Event(), " ", text, len(e.Args())))
		})
		a, b := connected(t, io), connected(t, io)
		a.ask(`["join","room"]`) // acknowledgements are not observed
		emit(t, io, "all")
		emit(t, io.To("room"), "room")
		synctest.Wait() // until the sockets can take a volatile event at once
		emit(t, io.Local().Volatile(), "here")
		synctest.Wait()
		for s := range io.Sockets() {
			if string(s.ID()) == b.id {
				go func() { _, _ = echo.Call(t.Context(), s, "asked") }() // ends with the reply
			}
		}
		for range 3 {
			b.ReadText()
		}
		b.WriteText(`30["x"]`)
		synctest.Wait()
		if got := fmt.Sprint(told[socketio.SocketID(a.id)]); got != "[said all1 said room1 said here1]" {
			t.Errorf("a: %s", got)
		}
		if got := fmt.Sprint(told[socketio.SocketID(b.id)]); got != "[said all1 said here1 echo asked1]" {
			t.Errorf("b: %s", got)
		}
	})
}

// TestOutgoingCatchAll_ChangesBinaryData: the decoded data is a copy, separate from the data that other sockets, or the
// same one, receive.
func TestOutgoingCatchAll_ChangesBinaryData_ClientsGetWhatWasEmitted(t *testing.T) {
	t.Parallel()
	const pixels socketio.Event[[]byte] = "pixels"
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		io.OnAnyOutgoing(func(_ *socketio.Socket, e *socketio.OutgoingEvent) {
			var data []byte
			if err := e.Decode(&data); err != nil {
				t.Error(err)
			}
			clear(data)
		})
		p := connected(t, io)
		q := connected(t, io)
		q.Cut()
		synctest.Wait()
		do(t, pixels.Emit(t.Context(), io, []byte{1, 2}))
		synctest.Wait()
		back := q.comeBackUncut(io)
		for _, p := range []*peer{p, back} {
			p.ReadText()
			if got := p.ReadBinary(); !bytes.Equal(got, []byte{1, 2}) {
				t.Errorf("got %v", got)
			}
		}
	})
}

// TestOnAnyOutgoing_SlowFunction_DelaysNoClient: calls beyond the bound are skipped and
// logged; the client receives all events.
func TestOnAnyOutgoing_SlowFunction_DelaysNoClient(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	opts := &socketio.Options{InboxEvents: 3, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	bubble(t, opts, func(t *testing.T, io *socketio.Server) {
		released := make(chan struct{})
		told := 0
		io.OnAnyOutgoing(func(*socketio.Socket, *socketio.OutgoingEvent) {
			<-released
			told++
		})
		p := connected(t, io)
		for i := range 10 {
			emit(t, io, fmt.Sprint(i))
			synctest.Wait()
		}
		if got := p.drain(); len(got) != 10 {
			t.Errorf("the client got %q", got)
		}
		close(released)
		synctest.Wait()
		if told != 4 { // one call was running, three waited
			t.Errorf("observed %d", told)
		}
		if n := strings.Count(log.String(), "outgoing event not observed"); n != 6 {
			t.Errorf("logged %d times", n)
		}
	})
}

func TestEvent_NumericName(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		socketio.Request[string, string]("42").On(io, func(_ context.Context, _ *socketio.Socket, v string) (string, error) {
			return v + "!", nil
		})
		p := connected(t, io)
		for _, text := range []string{`[42,"x"]`, `["42","x"]`} {
			if got := p.ask(text); got != `["x!"]` {
				t.Errorf("%s answered with %s", text, got)
			}
		}
	})
}

func TestOnRoom_Events(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		rooms(io)
		var told []string
		io.OnRoom(func(e socketio.RoomEvent) {
			for s := range io.Sockets() { // user code may call any method
				_ = s.Rooms()
			}
			told = append(told, fmt.Sprint(e.Change, " ", e.Room, " ", e.Socket))
		})
		a, b := connected(t, io), connected(t, io)
		a.ask(`["join","r"]`)
		b.ask(`["join","r"]`)
		b.ask(`["join","r"]`) // once is enough
		a.ask(`["leave","r"]`)
		b.Cut()
		synctest.Wait()
		want := fmt.Sprintf("create-room r |join-room r %s|join-room r %s|leave-room r %s|leave-room r %s|delete-room r ",
			a.id, b.id, a.id, b.id)
		if got := strings.Join(told, "|"); got != want {
			t.Errorf("observed\n got %s\nwant %s", got, want)
		}
	})
}

func TestCloseConnection_EndsAllNamespaces(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		var mu sync.Mutex
		var reasons []string
		for _, name := range []string{"/", "/other"} {
			io.Of(name).OnDisconnect(func(s *socketio.Socket, r socketio.Reason) {
				mu.Lock()
				defer mu.Unlock()
				reasons = append(reasons, s.Namespace().Name()+" "+string(r))
			})
		}
		p := connected(t, io)
		p.enter("/other", "")
		synctest.Wait()
		if io.Connections() != 1 {
			t.Errorf("%d connections", io.Connections())
		}
		if err := only(t, io).CloseConnection(t.Context()); err != nil {
			t.Error(err)
		}
		for _, want := range []string{"1", "1/other,"} {
			if got := p.ReadText(); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		p.closed()
		synctest.Wait()
		if got := fmt.Sprint(reasons); got != "[/ server namespace disconnect /other server namespace disconnect]" &&
			got != "[/other server namespace disconnect / server namespace disconnect]" {
			t.Error(got)
		}
		if io.Connections() != 0 {
			t.Errorf("%d connections", io.Connections())
		}
	})
}

func TestOnRoom_BlockedFunction_CountsWhatItMissed(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	opts := &socketio.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}
	bubble(t, opts, func(t *testing.T, io *socketio.Server) {
		told := 0
		hear := make(chan struct{})
		io.OnRoom(func(socketio.RoomEvent) {
			<-hear
			told++
		})
		connected(t, io)
		s := only(t, io)
		if err := s.Join(t.Context(), "first"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // one or two calls are running, and the rest waits
		var rooms []socketio.Room
		for i := range 100 {
			rooms = append(rooms, socketio.Room(fmt.Sprint("room ", i)))
		}
		const rounds = 200
		for range rounds {
			if err := errors.Join(s.Join(t.Context(), rooms...), s.Leave(t.Context(), rooms...)); err != nil {
				t.Fatal(err)
			}
		}
		close(hear)
		synctest.Wait()
		const changes, kept = 2 + rounds*4*100, 1 << 16
		if told < kept || told > kept+2 {
			t.Errorf("%d changes observed, %d are kept after the first", told, kept)
		}
		if want := fmt.Sprint("missed=", changes-told); !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q: %.300s", want, log.String())
		}
	})
}
