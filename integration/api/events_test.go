package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pgsocket/socketio"
)

// echo answers events of any name with their arguments, decoded and encoded again.
func echo(io *socketio.Server, name string) {
	io.Handle(name, func(_ context.Context, m *socketio.Message) error {
		args := make([]json.RawMessage, len(m.Args()))
		into := make([]any, len(args))
		for i := range args {
			into[i] = &args[i]
		}
		if err := m.Decode(into...); err != nil {
			return err
		}
		for i := range args {
			into[i] = args[i]
		}
		return m.Reply(into...)
	})
}

// A move is a payload of several arguments.
type move struct {
	piece string
	x, y  int
	cargo []byte
}

func (m *move) Args() []any { return []any{&m.piece, &m.x, &m.y, &m.cargo} }

// words is a payload of any number of arguments.
type words []any

func (w words) Args() []any { return w }

func TestEvents_ArgumentsOfEveryKind(t *testing.T) {
	t.Parallel()
	begin := func() string {
		io := plain(socketio.Options{})
		echo(io, "echo")
		echo(io, "7")
		const moved socketio.Event[move] = "moved"
		moved.On(io, func(ctx context.Context, s *socketio.Socket, m move) error {
			m.x, m.y = m.y, m.x
			return moved.Emit(ctx, s, m)
		})
		const none socketio.Event[socketio.None] = "none"
		none.On(io, func(ctx context.Context, s *socketio.Socket, _ socketio.None) error {
			if err := none.Emit(ctx, s, socketio.None{}); err != nil {
				return err
			}
			if err := socketio.Event[words]("42").Emit(ctx, s, words{1, "two", nil}); err != nil {
				return err
			}
			return socketio.Event[string]("message").Emit(ctx, s, "sent")
		})
		socketio.Event[string]("message").On(io, func(ctx context.Context, s *socketio.Socket, v string) error {
			return socketio.Event[string]("message").Emit(ctx, s, v+" back")
		})
		return serve(t, io)
	}
	runScriptEveryTransport(t, begin, `
		const s = await connect();
		const all = received(s);
		say("values", await ask(s, "echo", 1, -0.5, 1e300, "two", "", null, true, [], {}, [[{ a: [null] }]]));
		const texts = ["√ 😀 \u2028 \\ \" \u0000", '{"_placeholder":true,"num":0}'];
		say("texts", JSON.stringify(await ask(s, "echo", ...texts)) === JSON.stringify(texts));
		say("undefined", await ask(s, "echo", undefined, { left: undefined, out: 1 }));
		say("nothing", await ask(s, "echo"));
		say("number", await ask(s, 7, "seven"));
		s.emit("moved", "rook", 1, 2, Buffer.from("gold"));
		s.emit("none");
		s.send("hello");
		s.emit("no handler");
		for (const e of await all.reach(5)) say("received", e);
	`, `
		values [1,-0.5,1e+300,"two","",null,true,[],{},[[{"a":[null]}]]]
		texts true
		undefined [null,{"out":1}]
		nothing []
		number ["seven"]
		received ["moved","rook",2,1,{"$bin":"gold"}]
		received ["none"]
		received ["42",1,"two",null]
		received ["message","sent"]
		received ["message","hello back"]
	`)
}

func TestEvents_BinaryAtAnyDepth(t *testing.T) {
	t.Parallel()
	type nested struct {
		Parts []socketio.Binary `json:"parts"`
		Deep  map[string]nested `json:"deep,omitempty"`
	}
	io := plain(socketio.Options{})
	echo(io, "echo")
	const files socketio.Request[nested, nested] = "files"
	files.On(io, func(_ context.Context, _ *socketio.Socket, v nested) (nested, error) { return v, nil })
	const much socketio.Request[int, socketio.None] = "much"
	refused := make(chan error, 1)
	much.On(io, func(ctx context.Context, s *socketio.Socket, n int) (socketio.None, error) {
		var many nested
		for range n {
			many.Parts = append(many.Parts, socketio.Binary("x"))
		}
		err := socketio.Event[nested]("many").Emit(ctx, s, many)
		if n > 10 {
			refused <- err
			err = nil
		}
		return socketio.None{}, err
	})
	runScript(t, serve(t, io), `
		const s = await connect();
		const all = received(s);
		const bin = (text) => Buffer.from(text);
		say("mixed", await ask(s, "echo", bin("a"), 1, { x: [bin(""), { y: bin("b") }] }, new Uint8Array([99]), new Uint8Array([100]).buffer));
		say("typed", await ask(s, "files", { parts: [bin("1"), bin("2")], deep: { under: { parts: [bin("3")] } } }));
		const large = Buffer.alloc(900000, "z");
		say("large", (await ask(s, "echo", large))[0].equals(large));
		const ten = Array.from({ length: 10 }, () => bin("."));
		say("ten", (await ask(s, "echo", ten))[0].length);
		await ask(s, "much", 10);
		await ask(s, "much", 11);
		say("received", all.length, all[0][1].parts.length);
		s.emit("echo", [...ten, bin("one more")]);
		say("eleven", (await next(s, "disconnect"))[0]);
	`, `
		mixed [{"$bin":"a"},1,{"x":[{"$bin":""},{"y":{"$bin":"b"}}]},{"$bin":"c"},{"$bin":"d"}]
		typed [{"parts":[{"$bin":"1"},{"$bin":"2"}],"deep":{"under":{"parts":[{"$bin":"3"}]}}}]
		large true
		ten 10
		received 1 10
		eleven "transport close"
	`)
	if err := <-refused; err == nil || !strings.Contains(err.Error(), "at most 10") {
		t.Errorf("eleven attachments: %v", err)
	}
}

func TestAcknowledgements_BothDirections(t *testing.T) {
	t.Parallel()
	io := plain(socketio.Options{})
	const divide socketio.Request[[2]int, int] = "divide"
	divide.On(io, func(_ context.Context, _ *socketio.Socket, q [2]int) (int, error) {
		switch {
		case q[1] == 0:
			return 0, &socketio.Error{Code: "division", Message: "by zero", Data: q}
		case q[1] < 0:
			return 0, errors.New("a detail that stays on the server")
		}
		return q[0] / q[1], nil
	})
	const twice socketio.Request[string, string] = "twice"
	const meet socketio.Request[socketio.None, []string] = "meet"
	meet.On(io, func(ctx context.Context, s *socketio.Socket, _ socketio.None) ([]string, error) {
		one, err := twice.Call(ctx, s, "me")
		answers := []string{one}
		for r, err := range twice.CallAll(ctx, io, "all") {
			answers = append(answers, r.Value, fmt.Sprint(err))
		}
		slices.Sort(answers)
		return answers, err
	})
	tries := 0
	socketio.Request[string, socketio.None]("insist").On(io, func(context.Context, *socketio.Socket, string) (socketio.None, error) {
		tries++
		if tries < 3 {
			return socketio.None{}, errSilent
		}
		return socketio.None{}, nil
	})
	io.Intercept(func(next socketio.Handler) socketio.Handler {
		return func(ctx context.Context, m *socketio.Message) error {
			if err := next(ctx, m); !errors.Is(err, errSilent) {
				return err
			}
			return nil // no acknowledgement: the client retries
		}
	})
	runScript(t, serve(t, io), `
		const a = await connect(), b = await connect();
		const twice = (v, reply) => reply(v + v);
		a.on("twice", twice);
		b.on("twice", twice);
		say("promise", await a.emitWithAck("divide", [7, 2]));
		say("error", await a.emitWithAck("divide", [7, 0]));
		say("internal", await a.emitWithAck("divide", [7, -1]));
		say("payload", Object.keys(await a.emitWithAck("divide", "seven")).join(), (await a.emitWithAck("divide", "seven")).error.code);
		say("asked", await a.emitWithAck("meet"));
		say("no answer", await a.timeout(50).emitWithAck("no such event").catch((e) => e.message));
		const c = await connect("/", { retries: 5, ackTimeout: 50 });
		say("at last", await c.emitWithAck("insist", "please").then(() => "answered", (e) => e.message));
	`, `
		promise 3
		error {"error":{"code":"division","message":"by zero","data":[7,0]}}
		internal {"error":{"code":"internal"}}
		payload "error" "bad_payload"
		asked ["<nil>","<nil>","allall","allall","meme"]
		no answer "operation has timed out"
		at last "answered"
	`)
	if tries != 3 {
		t.Errorf("the client tried %d times", tries)
	}
}

var errSilent = errors.New("say nothing")

func TestAudience_Emit(t *testing.T) {
	t.Parallel()
	begin := func() string {
		io := plain(socketio.Options{})
		const (
			said  socketio.Event[string]                         = "said"
			enter socketio.Request[socketio.Room, []string]      = "enter"
			leave socketio.Request[socketio.Room, []string]      = "leave"
			run   socketio.Request[socketio.None, socketio.None] = "run"
		)
		rooms := func(s *socketio.Socket) []string {
			var names []string
			for r := range s.Rooms() {
				if r != socketio.Room(s.ID()) {
					names = append(names, string(r))
				}
			}
			slices.Sort(names)
			return names
		}
		enter.On(io, func(ctx context.Context, s *socketio.Socket, r socketio.Room) ([]string, error) {
			err := s.Join(ctx, r)
			return rooms(s), err
		})
		leave.On(io, func(ctx context.Context, s *socketio.Socket, r socketio.Room) ([]string, error) {
			err := s.Leave(ctx, r)
			return rooms(s), err
		})
		run.On(io, func(ctx context.Context, s *socketio.Socket, _ socketio.None) (socketio.None, error) {
			both := io.To("red", "blue")
			for name, to := range map[string]socketio.Target{
				"all": io, "both": both, "red": io.To("red"), "in red too": io.To("red").To("red"),
				"but red": io.Except("red"), "blue but red": io.To("blue").Except("red"),
				"local": io.Local(), "local red": both.Local().Except("blue"), "nobody": io.To("green"),
				"me": s, "others": s.Others(), "others in blue": s.To("blue"), "others but red": s.Others().Except("red"),
				"by id": io.To(socketio.Room(s.ID())),
			} {
				if err := said.Emit(ctx, to, name); err != nil {
					return socketio.None{}, fmt.Errorf("%s: %w", name, err)
				}
			}
			for name, event := range map[string]socketio.Event[string]{"reserved": "connect", "too": "disconnecting"} {
				if err := event.Emit(ctx, io, name); !errors.Is(err, socketio.ErrReserved) {
					return socketio.None{}, fmt.Errorf("%s: %w", name, err)
				}
			}
			return socketio.None{}, said.Emit(ctx, io, "end")
		})
		socketio.Request[socketio.None, socketio.None]("try").On(io, func(ctx context.Context, s *socketio.Socket, _ socketio.None) (socketio.None, error) {
			return socketio.None{}, errors.Join(said.Emit(ctx, s.Volatile(), "volatile me"), said.Emit(ctx, io.To("blue").Volatile(), "volatile blue"))
		})
		return serve(t, io)
	}
	runScriptEveryTransport(t, begin, `
		const me = await connect(), red = await connect(), blue = await connect(), purple = await connect();
		const names = { me, red, blue, purple };
		say("rooms", await ask(red, "enter", "red"), await ask(blue, "enter", "blue"), await ask(purple, "enter", "red"));
		say("rooms", await ask(purple, "enter", "blue"), await ask(me, "enter", "blue"), await ask(me, "leave", "blue"));
		const ends = Object.entries(names).map(([name, s]) => new Promise((resolve) => {
			const all = [];
			s.on("said", (v) => (v === "end" ? resolve([name, all.sort()]) : all.push(v)));
		}));
		await ask(me, "run");
		for (const [name, all] of await Promise.all(ends)) say(name, all);

		// A volatile event may be dropped, so it is emitted until it arrives.
		const wanted = new Set(["volatile me", "volatile blue"]);
		for (const s of [me, blue]) s.on("said", (v) => wanted.delete(v));
		while (wanted.size > 0) await ask(me, "try");
	`, `
		rooms [["red"]] [["blue"]] [["red"]]
		rooms [["blue","red"]] [["blue"]] [null]
		me ["all","but red","by id","local","me"]
		red ["all","both","in red too","local","local red","others","red"]
		blue ["all","blue but red","both","but red","local","others","others but red","others in blue"]
		purple ["all","both","in red too","local","others","others in blue","red"]
	`)
}

func TestAudience_Operations(t *testing.T) {
	t.Parallel()
	begin := func() string {
		io := plain(socketio.Options{})
		const seat socketio.Data[string] = "seat"
		io.OnConnect(func(ctx context.Context, s *socketio.Socket) error {
			return seat.Set(ctx, s, s.Handshake().Query().Get("seat"))
		})
		const do socketio.Request[string, []string] = "do"
		do.On(io, func(ctx context.Context, s *socketio.Socket, what string) ([]string, error) {
			var err error
			switch what {
			case "join":
				err = io.Except(socketio.Room(s.ID())).Join(ctx, "guests", "all")
			case "leave":
				err = io.To("guests").Leave(ctx, "all")
			case "disconnect":
				err = socketio.Event[string]("last words").Emit(ctx, io.To("guests"), "good-bye")
				if err == nil {
					err = io.To("guests").Disconnect(ctx)
				}
			}
			if err != nil {
				return nil, err
			}
			var found []string
			for remote, err := range io.All().Fetch(ctx) {
				if err != nil {
					return nil, err
				}
				name, _ := seat.From(remote)
				rooms := slices.DeleteFunc(slices.Collect(remote.Rooms()), func(r socketio.Room) bool { return r == socketio.Room(remote.ID()) })
				slices.Sort(rooms)
				found = append(found, fmt.Sprint(name, " ", remote.Handshake().Query().Get("seat"), " ", rooms))
			}
			slices.Sort(found)
			return found, nil
		})
		return serve(t, io)
	}
	runScriptEveryTransport(t, begin, `
		const host = await connect("/", { query: { seat: "host" } });
		const a = await connect("/", { query: { seat: "a" } }), b = await connect("/", { query: { seat: "b" } });
		const all = received(a);
		say("join", await ask(host, "do", "join"));
		say("leave", await ask(host, "do", "leave"));
		const gone = Promise.all([next(a, "disconnect"), next(b, "disconnect")]);
		say("disconnect", await ask(host, "do", "disconnect"));
		say("gone", (await gone).map(([reason]) => reason), all);
	`, `
		join [["a a [all guests]","b b [all guests]","host host []"]]
		leave [["a a [guests]","b b [guests]","host host []"]]
		disconnect [["host host []"]]
		gone ["io server disconnect","io server disconnect"] [["last words","good-bye"]]
	`)
}

func TestEvents_CatchAllListeners(t *testing.T) {
	t.Parallel()
	io := plain(socketio.Options{})
	echo(io, "echo")
	var mu sync.Mutex
	noted := make(map[string]int)
	note := func(text string) {
		mu.Lock()
		defer mu.Unlock()
		noted[text]++
	}
	io.OnAny(func(_ context.Context, m *socketio.Message) { note(fmt.Sprintf("in %s %s", m.Event(), m.Args())) })
	io.OnAnyOutgoing(func(_ *socketio.Socket, e *socketio.OutgoingEvent) {
		note(fmt.Sprintf("out %s %s", e.Event(), e.Args()))
	})
	io.OnRoom(func(e socketio.RoomEvent) { note(fmt.Sprint(e.Change, " ", e.Room)) })
	io.Intercept(func(next socketio.Handler) socketio.Handler {
		return func(ctx context.Context, m *socketio.Message) error {
			note("around " + m.Event())
			if m.Event() == "secret" {
				return &socketio.Error{Code: "forbidden"}
			}
			return next(ctx, m)
		}
	})
	socketio.Request[socketio.None, socketio.None]("all").On(io, func(ctx context.Context, s *socketio.Socket, _ socketio.None) (socketio.None, error) {
		if err := s.Join(ctx, "room"); err != nil {
			return socketio.None{}, err
		}
		if err := s.Leave(ctx, "room"); err != nil {
			return socketio.None{}, err
		}
		return socketio.None{}, socketio.Event[string]("news").Emit(ctx, io, "fit to print")
	})
	runScript(t, serve(t, io), `
		const a = await connect(), b = await connect();
		const both = Promise.all([next(a, "news"), next(b, "news")]);
		await ask(a, "echo", 1);
		await ask(a, "all");
		await both;
		say("secret", await ask(a, "secret"));
		a.emit("unheard of");
		await ask(a, "echo", 2);
		await ask(b, "echo", 2); // the events for b are behind this answer
	`, `secret [{"error":{"code":"forbidden"}}]`)
	shutdown(t, io) // afterwards no handler runs
	want := map[string]int{
		"in echo [1]": 1, "in echo [2]": 2, "in all []": 1, "in secret []": 1, "in unheard of []": 1,
		"around echo": 3, "around all": 1, "around secret": 1, "around unheard of": 1,
		`out news ["fit to print"]`: 2,
		"create-room room":          1, "join-room room": 1, "leave-room room": 1, "delete-room room": 1,
	}
	if !maps.Equal(noted, want) {
		t.Errorf("noted\n%v\nwant\n%v", noted, want)
	}
}
