package socketio_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/transport/transporttest"
)

// optOuts is a server whose clients opt out by query or by namespace.
func optOuts() *socketio.Options {
	return &socketio.Options{Recovery: socketio.Recovery{
		OptOut: func(namespace string, h *socketio.Handshake) bool {
			return namespace == "/plain" || h.Query().Get("recovery") == "off"
		},
	}}
}

func TestOptOut_ByClient_EventsWithoutOffset(t *testing.T) {
	t.Parallel()
	const said socketio.Event[string] = "said"
	bubble(t, optOuts(), func(t *testing.T, io *socketio.Server) {
		recovers := connected(t, io)
		plain := &peer{Client: transporttest.Dial(t, io, "/socket.io/?EIO=4&transport=websocket&recovery=off"), t: t}
		plain.WriteText("0")
		plain.connects()
		synctest.Wait()
		if recovers.pid == "" || plain.pid != "" {
			t.Errorf("private ids %q and %q", recovers.pid, plain.pid)
		}
		for name, to := range map[string]socketio.Target{"all": io, "local": io.Local(), "volatile": io.Volatile(), "room": io.To(socketio.Room(plain.id))} {
			synctest.Wait() // a volatile event is dropped where something waits
			if err := said.Emit(t.Context(), to, name); err != nil {
				t.Fatal(err)
			}
			if got, want := plain.ReadText(), fmt.Sprintf(`2["said",%q]`, name); got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
			if name == "room" {
				continue
			}
			if got, prefix := recovers.ReadText(), fmt.Sprintf(`2["said",%q,"`, name); !strings.HasPrefix(got, prefix) {
				t.Errorf("%s: the client that recovers got %s", name, got)
			}
		}
	})
}

func TestOptOut_ByNamespace(t *testing.T) {
	t.Parallel()
	const said socketio.Event[string] = "said"
	bubble(t, optOuts(), func(t *testing.T, io *socketio.Server) {
		of := io.Of("/plain")
		of.Use(func(ctx context.Context, s *socketio.Socket) error { return s.Join(ctx, "early") })
		p := connected(t, io)
		p.WriteText("0/plain,")
		if text := p.ReadText(); strings.Contains(text, "pid") || !strings.HasPrefix(text, "0/plain,") {
			t.Errorf("CONNECT answered with %s", text)
		}
		if err := said.Emit(t.Context(), of.To("early"), "x"); err != nil {
			t.Fatal(err)
		}
		if text := p.ReadText(); text != `2/plain,["said","x"]` {
			t.Errorf("got %s", text)
		}
		// Operations on it work as without a store.
		if err := of.To("early").Join(t.Context(), "late"); err != nil {
			t.Fatal(err)
		}
		for s := range of.Sockets() {
			if err := socketio.Data[int]("n").Set(t.Context(), s, 1); err != nil {
				t.Error(err)
			}
			if err := s.Leave(t.Context(), "early"); err != nil {
				t.Error(err)
			}
		}
		if err := said.Emit(t.Context(), of.To("late"), "y"); err != nil {
			t.Fatal(err)
		}
		if text := p.ReadText(); text != `2/plain,["said","y"]` {
			t.Errorf("got %s", text)
		}
	})
}

func TestOptOut_RecoveryIsNotAttempted(t *testing.T) {
	t.Parallel()
	const said socketio.Event[string] = "said"
	bubble(t, optOuts(), func(t *testing.T, io *socketio.Server) {
		var results []socketio.RecoveryResult
		io.OnConnect(func(_ context.Context, s *socketio.Socket) error {
			results = append(results, s.Recovery())
			return nil
		})
		p := connected(t, io)
		if err := said.Emit(t.Context(), io, "x"); err != nil {
			t.Fatal(err)
		}
		p.drain()
		p.Cut()
		synctest.Wait()
		if err := said.Emit(t.Context(), io, "missed"); err != nil {
			t.Fatal(err)
		}
		back := &peer{Client: transporttest.Dial(t, io, "/socket.io/?EIO=4&transport=websocket&recovery=off"), t: t}
		back.WriteText("0" + p.ticket())
		back.connects()
		synctest.Wait()
		if back.pid != "" || back.id == p.id {
			t.Errorf("it is %s with pid %q", back.id, back.pid)
		}
		if got := back.drain(); len(got) != 0 {
			t.Errorf("replayed %v", got)
		}
		if last := results[len(results)-1]; last != (socketio.RecoveryResult{}) {
			t.Errorf("got %+v", last)
		}
	})
}

func TestOptOut_Panics_ConnectionIsCut(t *testing.T) {
	t.Parallel()
	opts := &socketio.Options{Recovery: socketio.Recovery{OptOut: func(string, *socketio.Handshake) bool { panic("opt out") }}}
	bubble(t, opts, func(t *testing.T, io *socketio.Server) {
		p := dial(t, io)
		p.WriteText("0")
		if _, data, err := p.ReadMessage(); err == nil {
			t.Errorf("answered %s", data)
		}
		synctest.Wait()
		for range io.Sockets() {
			t.Error("it is connected")
		}
	})
}

func TestMissingArgument_OfAnEventAndAnAnswer(t *testing.T) {
	t.Parallel()
	const (
		number  socketio.Event[int]            = "number"
		pointer socketio.Event[*int]           = "pointer"
		count   socketio.Request[int, int]     = "count"
		ask     socketio.Request[string, *int] = "ask"
		want    socketio.Request[string, int]  = "want"
	)
	bubble(t, &socketio.Options{Recovery: socketio.Recovery{Disabled: true}}, func(t *testing.T, io *socketio.Server) {
		handled := make(chan string, 3)
		number.On(io, func(context.Context, *socketio.Socket, int) error { handled <- "number"; return nil })
		pointer.On(io, func(_ context.Context, _ *socketio.Socket, v *int) error {
			handled <- fmt.Sprint("pointer ", v)
			return nil
		})
		count.On(io, func(_ context.Context, _ *socketio.Socket, n int) (int, error) { return n, nil })
		p := connected(t, io)
		p.WriteText(`2["number"]`)
		p.WriteText(`2["pointer"]`)
		p.WriteText(`21["count"]`)
		if text := p.ReadText(); !strings.Contains(text, "bad_payload") || !strings.Contains(text, "missing argument") {
			t.Errorf("answered %s", text)
		}
		if got := <-handled; got != "pointer <nil>" || len(handled) > 0 {
			t.Errorf("handled %s", got)
		}
		answers := make(chan error, 2)
		for s := range io.Sockets() {
			go func() {
				v, err := ask.Call(t.Context(), s, "?")
				if err == nil && v != nil {
					err = fmt.Errorf("answered %d", *v)
				}
				answers <- err
			}()
			p.WriteText("3" + ackID(t, p.ReadText()) + "[]")
			if err := <-answers; err != nil {
				t.Error(err)
			}
			go func() {
				_, err := want.Call(t.Context(), s, "?")
				answers <- err
			}()
			p.WriteText("3" + ackID(t, p.ReadText()) + "[]")
			if err := <-answers; !errors.Is(err, socketio.ErrMissingArgument) {
				t.Error(err)
			}
		}
	})
}
