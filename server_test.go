package socketio_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
)

type move struct {
	piece string
	x, y  int
}

func (m *move) Args() []any { return []any{&m.piece, &m.x, &m.y} }

func TestRequest_Reply(t *testing.T) {
	t.Parallel()
	const (
		moved socketio.Request[move, int]                    = "move"
		fail  socketio.Request[socketio.None, int]           = "fail"
		deny  socketio.Request[socketio.None, int]           = "deny"
		crash socketio.Request[socketio.None, int]           = "crash"
		swap  socketio.Request[[]byte, []byte]               = "swap"
		done  socketio.Request[socketio.None, socketio.None] = "done"
		deep  socketio.Request[struct {
			A socketio.Binary
			X any
		}, any] = "deep"
	)
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		moved.On(io, func(_ context.Context, _ *socketio.Socket, m move) (int, error) { return m.x + m.y, nil })
		fail.On(io, func(context.Context, *socketio.Socket, socketio.None) (int, error) {
			return 0, errors.New("secret")
		})
		deny.On(io, func(context.Context, *socketio.Socket, socketio.None) (int, error) {
			return 0, fmt.Errorf("wrapped: %w", &socketio.Error{Code: "denied", Message: "no", Data: 7})
		})
		crash.On(io, func(context.Context, *socketio.Socket, socketio.None) (int, error) { panic("secret") })
		swap.On(io, func(_ context.Context, _ *socketio.Socket, b []byte) ([]byte, error) {
			slices.Reverse(b)
			return b, nil
		})
		done.On(io, func(context.Context, *socketio.Socket, socketio.None) (socketio.None, error) {
			return socketio.None{}, nil
		})
		deep.On(io, func(_ context.Context, _ *socketio.Socket, m struct {
			A socketio.Binary
			X any
		},
		) (any, error) {
			return map[string]any{"n": len(m.A), "back": append(m.A, 4)}, nil
		})
		p := connected(t, io)
		for _, row := range []struct{ ask, want string }{
			{`["move","king",3,4]`, `[7]`},
			{`["move","king","x",4]`, `"code":"bad_payload"`},
			{`["move","king"]`, `"code":"bad_payload"`},
			{`["fail"]`, `[{"error":{"code":"internal"}}]`},
			{`["crash"]`, `[{"error":{"code":"internal"}}]`},
			{`["deny"]`, `[{"error":{"code":"denied","message":"no","data":7}}]`},
			{`["done",1,2]`, `[]`},
		} {
			if got := p.ask(row.ask); !strings.Contains(got, row.want) || strings.Contains(got, "secret") {
				t.Errorf("%s answered with %s, want %s", row.ask, got, row.want)
			}
		}
		p.WriteText(`51-8["swap",{"_placeholder":true,"num":0}]`)
		p.WriteBinary([]byte{1, 2, 3})
		if got := p.ReadText(); got != `61-8[{"_placeholder":true,"num":0}]` {
			t.Errorf("binary answer: %s", got)
		}
		if got := p.ReadBinary(); !bytes.Equal(got, []byte{3, 2, 1}) {
			t.Errorf("binary answer: %v", got)
		}
		p.WriteText(`51-9["deep",{"x":{},"a":{"num":0,"_placeholder":true},"\"{":null}]`)
		p.WriteBinary([]byte{9})
		if got := p.ReadText(); got != `61-9[{"back":{"_placeholder":true,"num":0},"n":1}]` {
			t.Errorf("nested binary answer: %s", got)
		}
		if got := p.ReadBinary(); !bytes.Equal(got, []byte{9, 4}) {
			t.Errorf("nested binary answer: %v", got)
		}
	})
}

func TestHandle_OneSocket_InOrder(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		var got []string
		io.OnConnect(func(context.Context, *socketio.Socket) error {
			time.Sleep(time.Second)
			got = append(got, "connect")
			return nil
		})
		said.On(io, func(_ context.Context, _ *socketio.Socket, text string) error {
			time.Sleep(time.Second)
			got = append(got, text)
			return nil
		})
		io.OnDisconnect(func(_ *socketio.Socket, r socketio.Reason) { got = append(got, string(r)) })
		p := connected(t, io)
		for _, text := range []string{"a", "b", "c"} {
			p.WriteText(`2["said","` + text + `"]`)
		}
		p.WriteText("1")
		time.Sleep(time.Minute)
		synctest.Wait()
		if want := "[connect a b c client namespace disconnect]"; fmt.Sprint(got) != want {
			t.Errorf("got %v, want %s", got, want)
		}
	})
}

func TestAudience_Targets(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		rooms(io)
		a, b, c := connected(t, io), connected(t, io), connected(t, io)
		a.ask(`["join","red"]`)
		a.ask(`["join","blue"]`)
		b.ask(`["join","blue"]`)
		var sa *socketio.Socket
		for s := range io.Sockets() {
			if string(s.ID()) == a.id {
				sa = s
			}
		}
		emit(t, io, "all")
		emit(t, io.To("red", "blue"), "red or blue")
		emit(t, io.To("blue").Except("red"), "blue not red")
		emit(t, io.Except("blue"), "not blue")
		emit(t, io.To(socketio.Room(c.id)), "c by id")
		emit(t, sa, "a alone")
		emit(t, sa.Others(), "not a")
		emit(t, sa.To("blue"), "blue not a")
		emit(t, io.To("nobody"), "nobody")
		emit(t, io.Of("/other"), "other namespace")
		emit(t, io.To("red").Local(), "local red")
		synctest.Wait() // until the connections can take it
		emit(t, io.Volatile(), "volatile")
		a.wantEvents("said all", "said red or blue", "said a alone", "said local red", "said volatile")
		b.wantEvents("said all", "said red or blue", "said blue not red", "said not a", "said blue not a", "said volatile")
		c.wantEvents("said all", "said not blue", "said c by id", "said not a", "said volatile")
		a.ask(`["leave","blue"]`)
		emit(t, io.To("blue"), "b only")
		a.wantEvents("said all", "said red or blue", "said a alone", "said local red", "said volatile")
	})
}

func TestEmit_OneGoroutine_InOrder(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		p := connected(t, io)
		var want []string
		for i := range 200 {
			text := fmt.Sprint(i)
			want = append(want, "said "+text)
			if i%2 == 0 {
				emit(t, io, text)
				continue
			}
			if r := said.EmitAsync(io, text); i%51 == 0 {
				if err := r.Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		p.wantEvents(want...)
	})
}

func TestRooms_InvalidNames(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		connected(t, io)
		s := only(t, io)
		for _, room := range []string{"", "a\x00b", "\xff", strings.Repeat("x", 256)} {
			if err := s.Join(t.Context(), "good", socketio.Room(room)); !errors.Is(err, socketio.ErrRoomName) {
				t.Errorf("Join(%q) = %v", room, err)
			}
		}
		if got := slices.Collect(s.Rooms()); len(got) != 1 {
			t.Errorf("a refused Join left rooms behind: %v", got)
		}
	})
}

func TestEmit_ReservedName(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		for _, name := range []string{"connect", "disconnect", "connect_error", "disconnecting", "newListener", ""} {
			if err := socketio.Event[int](name).Emit(t.Context(), io, 1); !errors.Is(err, socketio.ErrReserved) {
				t.Errorf("Emit(%q) = %v", name, err)
			}
		}
		for _, register := range []func(){
			func() { io.Handle("disconnect", nil) },
			func() { io.Handle("twice", nil); io.Handle("twice", nil) },
		} {
			func() {
				defer func() {
					if recover() == nil {
						t.Error("a programmer's mistake was not detected")
					}
				}()
				register()
			}()
		}
	})
}

func TestEmit_TooManyAttachments(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		many := make([]socketio.Binary, 11)
		if err := socketio.Event[[]socketio.Binary]("many").Emit(t.Context(), io, many); err == nil {
			t.Error("an official client closes its connection over 11 attachments; Emit sent them")
		}
	})
}

func TestCall_Client(t *testing.T) {
	t.Parallel()
	const (
		start socketio.Event[socketio.None]    = "start"
		add   socketio.Request[[]int, int]     = "add"
		late  socketio.Request[string, string] = "late"
	)
	bubble(t, &socketio.Options{AckTimeout: 3 * time.Second}, func(t *testing.T, io *socketio.Server) {
		type result struct {
			sum int
			err error
		}
		results := make(chan result, 3)
		start.On(io, func(ctx context.Context, s *socketio.Socket, _ socketio.None) error {
			sum, err := add.Call(ctx, s, []int{1, 2}) // from within a handler: the reader continues
			results <- result{sum, err}
			_, err = late.Call(ctx, s, "x")
			results <- result{0, err}
			_, err = late.Call(context.WithoutCancel(ctx), s, "y")
			results <- result{0, err}
			return nil
		})
		p := connected(t, io)
		p.WriteText(`2["start"]`)
		got := p.ReadText()
		id := ackID(t, got)
		if got != "2"+id+`["add",[1,2]]` {
			t.Errorf("call on the wire: %s", got)
		}
		p.WriteText(`399[1]`) // without a request
		p.WriteText("3" + id + `[3]`)
		if r := <-results; r.sum != 3 || r.err != nil {
			t.Errorf("call: %+v", r)
		}
		p.ReadText()
		began := time.Now()
		if r := <-results; !errors.Is(r.err, context.DeadlineExceeded) || time.Since(began) != 3*time.Second {
			t.Errorf("call without an answer: %v after %v", r.err, time.Since(began))
		}
		p.ReadText()
		p.Cut()
		r := <-results
		if gone, ok := errors.AsType[*socketio.DisconnectError](r.err); !ok || gone.Reason != socketio.ReasonTransportClose {
			t.Errorf("call to a client that left: %v", r.err)
		}
	})
}

func TestMiddleware_Connection(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		admin := io.Of("admin")
		admin.Use(func(ctx context.Context, s *socketio.Socket) error {
			var auth struct{ Token string }
			if err := s.Handshake().DecodeAuth(&auth); err != nil {
				return err
			}
			switch auth.Token {
			case "good":
				if err := mood.Set(ctx, s, "calm"); err != nil {
					return err
				}
				return s.Join(ctx, "staff")
			default:
				return &socketio.Error{Code: "denied", Message: "not you", Data: []int{1}}
			}
		})
		p := dial(t, io)
		for _, row := range []struct{ send, want string }{
			{`0/admin,{"token":"bad"}`, `4/admin,{"message":"not you","data":[1]}`},
			{`0/admin`, `4/admin,{"message":"not you","data":[1]}`},
			{`0/admin,{"token":7}`, `4/admin,{"message":"auth: field \"Token\": expected a string, got a number","data":{"code":"bad_payload"}}`},
			{`0/none,`, `4/none,{"message":"Invalid namespace"}`},
		} {
			p.WriteText(row.send)
			if got := p.ReadText(); got != row.want {
				t.Errorf("%s answered with %s, want %s", row.send, got, row.want)
			}
		}
		p.WriteText(`0/admin,{"token":"good"}`)
		if got := p.ReadText(); !strings.HasPrefix(got, `0/admin,{"sid":`) {
			t.Fatalf("admitted with %s", got)
		}
		emit(t, admin.To("staff"), "hello")
		if got := p.ReadText(); !strings.HasPrefix(got, `2/admin,["said","hello"`) {
			t.Errorf("to a room joined in middleware: %s", got)
		}
		for s := range admin.Sockets() {
			if got, ok := mood.Get(s); got != "calm" || !ok {
				t.Errorf("data set in middleware: %q, %t", got, ok)
			}
		}
	})
}

func TestIntercept_Order(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		var got []string
		trace := func(name string) socketio.Interceptor {
			return func(next socketio.Handler) socketio.Handler {
				return func(ctx context.Context, m *socketio.Message) error {
					got = append(got, name+" "+m.Event())
					return next(ctx, m)
				}
			}
		}
		io.Intercept(trace("1"), trace("2"))
		io.Handle("late", func(_ context.Context, m *socketio.Message) error {
			var n int
			if err := m.Decode(&n); err != nil {
				return err
			}
			got = append(got, fmt.Sprint(n))
			if err := m.Reply(n, "x"); err != nil {
				return err
			}
			return m.Reply()
		})
		io.Intercept(trace("3"))
		p := connected(t, io)
		if answer := p.ask(`["late",5]`); answer != `[5,"x"]` {
			t.Errorf("answer %s", answer)
		}
		if want := "[1 late 2 late 3 late 5]"; fmt.Sprint(got) != want {
			t.Errorf("got %v, want %s", got, want)
		}
	})
}

func TestProtocol_Violation_ClosesTheConnection(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"event before CONNECT":       `2["said","x"]`,
		"CONNECT twice":              `0`,
		"foreign namespace":          `2/other,["said","x"]`,
		"CONNECT_ERROR from client":  `4{"message":"x"}`,
		"unknown type":               `9`,
		"invalid JSON":               `2["said",`,
		"not an array":               `2{"a":1}`,
		"empty array":                `2[]`,
		"reserved name":              `2["disconnect"]`,
		"too many attachments":       `511-["said"]`,
		"no attachments":             `50-["said"]`,
		"huge number of attachments": `599999999999-["said"]`,
		"text between attachments":   "51-[\"said\",{\"_placeholder\":true,\"num\":0}]",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, nil, func(t *testing.T, io *socketio.Server) {
				var reason socketio.Reason
				io.OnDisconnect(func(_ *socketio.Socket, r socketio.Reason) { reason = r })
				healthy := connected(t, io)
				p := dial(t, io)
				joined := !strings.Contains(name, "before")
				if joined {
					p.connect("")
				}
				p.WriteText(text)
				if strings.Contains(name, "between") {
					p.WriteText(`2["said","x"]`)
				}
				p.closed()
				synctest.Wait()
				if joined && reason != socketio.ReasonForcedClose {
					t.Errorf("reason %q", reason)
				}
				emit(t, io, "on")
				healthy.wantEvents("said on")
			})
		})
	}
}

func TestConnectTimeout_NoNamespace(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		began := time.Now()
		p, stays := dial(t, io), connected(t, io)
		p.closed()
		if after := time.Since(began); after != 45*time.Second {
			t.Errorf("closed after %v", after)
		}
		emit(t, io, "still here")
		stays.wantEvents("said still here")
	})
}

func TestDisconnect_AfterEarlierEmits(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		var reason socketio.Reason
		io.OnDisconnect(func(s *socketio.Socket, r socketio.Reason) {
			if reason != "" {
				return // the second socket, at the end of the test
			}
			reason = r
			if got := slices.Collect(s.Rooms()); len(got) != 2 {
				t.Errorf("rooms at the end: %v", got)
			}
		})
		p := connected(t, io)
		s := only(t, io)
		if err := s.Join(t.Context(), "room"); err != nil {
			t.Fatal(err)
		}
		emit(t, s, "bye")
		if err := s.Disconnect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := p.ReadText(); !strings.HasPrefix(got, `2["said","bye"`) {
			t.Errorf("before the end: %s", got)
		}
		if got := p.ReadText(); got != "1" {
			t.Errorf("at the end: %s", got)
		}
		synctest.Wait()
		if reason != socketio.ReasonServerDisconnect {
			t.Errorf("reason %q", reason)
		}
		gone, ok := errors.AsType[*socketio.DisconnectError](context.Cause(s.Context()))
		if !ok || gone.Reason != socketio.ReasonServerDisconnect {
			t.Errorf("cause %v", context.Cause(s.Context()))
		}
		if err := s.Join(t.Context(), "late"); err == nil {
			t.Error("a socket that is gone joined a room")
		}
		p.connect("") // the connection stays, and another socket may be had on it
	})
}

func TestShutdown_WaitsForHandlers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		io := newServer(nil)
		var ended bool
		said.On(io, func(ctx context.Context, _ *socketio.Socket, _ string) error {
			<-ctx.Done()
			time.Sleep(10 * time.Second)
			ended = true
			return nil
		})
		p := connected(t, io)
		p.WriteText(`2["said","x"]`)
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := io.Shutdown(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown with a handler running: %v", err)
		}
		if err := io.Shutdown(t.Context()); err != nil || !ended {
			t.Errorf("Shutdown: %v, handler ended: %t", err, ended)
		}
	})
}

func TestOptions_Invalid(t *testing.T) {
	t.Parallel()
	log := adapter.NewMemory(nil)
	for want, o := range map[string]*socketio.Options{
		"":                {Recovery: socketio.Recovery{Disabled: true}},
		"PingInterval":    {PingInterval: -1},
		"Recovery.Window": {Recovery: socketio.Recovery{Window: -time.Second}},
		"Recovery.Store":  {Adapter: log},
	} {
		err := o.Validate()
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("two servers on one log in memory")
		}
	}()
	for range 2 {
		socketio.NewServer(&socketio.Options{Adapter: log, Recovery: socketio.Recovery{Disabled: true}})
	}
}

func TestPanic_IsLoggedOnce(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	bubble(t, &socketio.Options{Logger: slog.New(slog.NewTextHandler(&out, nil))}, func(t *testing.T, io *socketio.Server) {
		nothing.On(io, func(context.Context, *socketio.Socket, socketio.None) error { panic("boom") })
		said.On(io, func(context.Context, *socketio.Socket, string) error { return nil })
		p := connected(t, io)
		p.WriteText(`2["nothing"]`)
		emit(t, io, "still served")
		p.wantEvents("said still served")
	})
	if n := strings.Count(out.String(), "panic: boom"); n != 1 {
		t.Errorf("panic logged %d times:\n%s", n, &out)
	}
}

func TestOnConnect_Error(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{"decided": &socketio.Error{Code: "full"}, "failed": errors.New("no database")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, nil, func(t *testing.T, io *socketio.Server) {
				io.OnConnect(func(context.Context, *socketio.Socket) error { return err })
				p := dial(t, io)
				p.WriteText("0")
				if name == "failed" {
					p.closed() // and may return
					return
				}
				p.ReadText() // CONNECT
				if got := p.ReadText(); got != "1" {
					t.Errorf("got %q", got)
				}
			})
		})
	}
}
