// Command idioms has one of each idiom in docs/from-node.md; the same server in Node is integration/js/fromnode/idioms.mjs.
package main

import (
	"cmp"
	"context"
	"errors"
	"log"
	"net/http"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"syscall"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/migrations"
	"github.com/pgsocket/socketio/pgadapter"
	"github.com/pgsocket/socketio/transport"
)

// A Pair is two arguments: emit("add", 1, 2).
type Pair struct{ A, B int }

func (p *Pair) Args() []any { return []any{&p.A, &p.B} }

// A Line is two arguments: emit("say", "lobby", "hello").
type Line struct {
	To   socketio.Room
	Text string
}

func (l *Line) Args() []any { return []any{&l.To, &l.Text} }

// A Leaving is two arguments: emit("left", "ada", "transport close").
type Leaving struct {
	User   string
	Reason socketio.Reason
}

func (l *Leaving) Args() []any { return []any{&l.User, &l.Reason} }

const (
	Hello       socketio.Event[string]                         = "hello"
	Welcome     socketio.Event[string]                         = "welcome"
	Add         socketio.Request[Pair, int]                    = "add"
	Upload      socketio.Request[[]byte, int]                  = "upload"
	Question    socketio.Request[string, string]               = "question"
	AskMe       socketio.Event[socketio.None]                  = "ask me"
	AskOne      socketio.Event[socketio.SocketID]              = "ask one"
	AskAll      socketio.Event[socketio.None]                  = "ask all"
	Answered    socketio.Event[any]                            = "answered"
	Forbidden   socketio.Event[socketio.None]                  = "forbidden"
	Join        socketio.Request[socketio.Room, bool]          = "join"
	Leave       socketio.Request[socketio.Room, bool]          = "leave"
	Say         socketio.Event[Line]                           = "say"
	SayToOthers socketio.Event[Line]                           = "say to others"
	Private     socketio.Event[Line]                           = "private"
	Said        socketio.Event[string]                         = "said"
	News        socketio.Event[string]                         = "news"
	Tick        socketio.Event[int]                            = "tick"
	WantTick    socketio.Event[socketio.None]                  = "tick"
	Here        socketio.Event[int]                            = "here"
	WantHere    socketio.Event[socketio.None]                  = "here"
	Left        socketio.Event[Leaving]                        = "left"
	Who         socketio.Request[socketio.Room, []string]      = "who"
	Gather      socketio.Request[socketio.None, socketio.None] = "gather"
	Dismiss     socketio.Request[socketio.None, socketio.None] = "dismiss"
	Kick        socketio.Event[string]                         = "kick"
	Bye         socketio.Event[socketio.None]                  = "bye"
	Tenant      socketio.Event[string]                         = "tenant"

	WantReload socketio.Event[socketio.None]              = "reload"
	Reload     socketio.ServerEvent[string]               = "reload"
	Reloaded   socketio.Event[string]                     = "reloaded"
	WantCount  socketio.Request[socketio.None, []int]     = "count"
	Count      socketio.ServerRequest[socketio.None, int] = "count"

	User socketio.Data[string] = "user"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Getenv("DATABASE_URL")); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, dsn string) error {
	if err := migrations.Up(ctx, dsn, nil); err != nil {
		return err
	}
	db, err := pgadapter.Open(ctx, dsn, nil)
	if err != nil {
		return err
	}
	io := socketio.NewServer(options(db))
	connections(io)
	events(io)
	rooms(io)
	cluster(io)
	namespaces(io)

	mux := http.NewServeMux()
	mux.Handle("/live/", io)
	web := &http.Server{Addr: "127.0.0.1:" + cmp.Or(os.Getenv("PORT"), "3000"), Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- web.ListenAndServe() }() // ends with web.Shutdown
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 25*time.Second)
	defer cancel()
	return errors.Join(io.Shutdown(ctx), web.Shutdown(ctx), db.Close(ctx))
}

func options(db *pgadapter.DB) *socketio.Options {
	return &socketio.Options{
		Adapter:        db,
		PingInterval:   25 * time.Second,
		PingTimeout:    20 * time.Second,
		ConnectTimeout: 45 * time.Second,
		MaxPayload:     1e6,
		Origins:        []string{"https://app.example"},
		AllowRequest: func(r *http.Request) error {
			if r.Header.Get("X-Banned") != "" {
				return &socketio.Error{Message: "Forbidden"}
			}
			return nil
		},
		HTTP: transport.HTTP{
			Transports:        []string{transport.Polling, transport.WebSocket},
			UpgradeTimeout:    10 * time.Second,
			PerMessageDeflate: false,
			CompressFrom:      1024,
			Cookie:            &http.Cookie{Name: "io"},
			Headers:           func(h http.Header, _ *http.Request) { h.Set("X-Served-By", "chat") },
			OnConnectionError: func(err *transport.ConnectionError) { log.Print(err.Code, err.Message) },
		},
		Recovery: socketio.Recovery{
			Store:           db.Sessions(),
			Window:          2 * time.Minute,
			SkipMiddlewares: true,
		},
		CleanupEmptyChildNamespaces: true,
	}
}

func connections(io *socketio.Server) {
	io.Use(func(ctx context.Context, s *socketio.Socket) error {
		var auth struct{ User string }
		if err := s.Handshake().DecodeAuth(&auth); err != nil {
			return err
		}
		if auth.User == "mallory" {
			return &socketio.Error{Code: "unauthorized", Message: "unauthorized", Data: "log in"}
		}
		if err := User.Set(ctx, s, auth.User); err != nil {
			return err
		}
		return s.Join(ctx, socketio.Room("user:"+auth.User))
	})
	io.OnConnect(func(_ context.Context, s *socketio.Socket) error {
		log.Print(s.ID())
		return nil
	})
	io.OnDisconnect(func(s *socketio.Socket, reason socketio.Reason) {
		user, _ := User.Get(s)
		Left.EmitAsync(io, Leaving{user, reason})
	})
}

func events(io *socketio.Server) {
	io.OnAny(func(_ context.Context, m *socketio.Message) { log.Print(m.Event()) })
	io.OnAnyOutgoing(func(_ *socketio.Socket, e *socketio.OutgoingEvent) { log.Print(e.Event()) })
	io.Intercept(func(next socketio.Handler) socketio.Handler {
		return func(ctx context.Context, m *socketio.Message) error {
			if m.Event() == "forbidden" {
				return nil
			}
			return next(ctx, m)
		}
	})
	Forbidden.On(io, func(ctx context.Context, _ *socketio.Socket, none socketio.None) error {
		return Forbidden.Emit(ctx, io, none)
	})
	Hello.On(io, func(ctx context.Context, s *socketio.Socket, name string) error {
		return Welcome.Emit(ctx, s, name)
	})
	Add.On(io, func(_ context.Context, _ *socketio.Socket, p Pair) (int, error) {
		return p.A + p.B, nil
	})
	Upload.On(io, func(_ context.Context, _ *socketio.Socket, file []byte) (int, error) {
		return len(file), nil
	})
	AskMe.On(io, func(ctx context.Context, s *socketio.Socket, _ socketio.None) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		answer, err := Question.Call(ctx, s, "why?")
		if err != nil {
			return err
		}
		return Answered.Emit(ctx, s, answer)
	})
	AskOne.On(io, func(ctx context.Context, s *socketio.Socket, id socketio.SocketID) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		answer, err := Question.Call(ctx, io.RemoteSocket(id), "you?")
		if err != nil {
			return err
		}
		return Answered.Emit(ctx, s, answer)
	})
	AskAll.On(io, func(ctx context.Context, s *socketio.Socket, _ socketio.None) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		var answers []string
		for reply, err := range Question.CallAll(ctx, io, "who?") {
			if err != nil {
				return err
			}
			answers = append(answers, reply.Value)
		}
		slices.Sort(answers)
		return Answered.Emit(ctx, s, answers)
	})
}

func rooms(io *socketio.Server) {
	Join.On(io, func(ctx context.Context, s *socketio.Socket, room socketio.Room) (bool, error) {
		err := s.Join(ctx, room)
		return s.In(room), err
	})
	Leave.On(io, func(ctx context.Context, s *socketio.Socket, room socketio.Room) (bool, error) {
		err := s.Leave(ctx, room)
		return s.In(room), err
	})
	Say.On(io, func(ctx context.Context, _ *socketio.Socket, l Line) error {
		return Said.Emit(ctx, io.To(l.To).Except("muted"), l.Text)
	})
	SayToOthers.On(io, func(ctx context.Context, s *socketio.Socket, l Line) error {
		return Said.Emit(ctx, s.To(l.To), l.Text)
	})
	News.On(io, func(ctx context.Context, s *socketio.Socket, text string) error {
		return News.Emit(ctx, s.Others(), text)
	})
	Private.On(io, func(ctx context.Context, _ *socketio.Socket, l Line) error {
		return Said.Emit(ctx, io.To(l.To), l.Text) // the id of a socket is a room
	})
	WantTick.On(io, func(ctx context.Context, _ *socketio.Socket, _ socketio.None) error {
		return Tick.Emit(ctx, io.Volatile(), 1)
	})
	WantHere.On(io, func(ctx context.Context, _ *socketio.Socket, _ socketio.None) error {
		return Here.Emit(ctx, io.Local(), 1)
	})
}

func cluster(io *socketio.Server) {
	Who.On(io, func(ctx context.Context, _ *socketio.Socket, room socketio.Room) ([]string, error) {
		users := []string{} // nil would be null
		for s, err := range io.To(room).Fetch(ctx) {
			if err != nil {
				return nil, err
			}
			user, _ := User.From(s)
			users = append(users, user)
		}
		slices.Sort(users)
		return users, nil
	})
	Gather.On(io, func(ctx context.Context, _ *socketio.Socket, none socketio.None) (socketio.None, error) {
		return none, io.To("team").Join(ctx, "meeting")
	})
	Dismiss.On(io, func(ctx context.Context, _ *socketio.Socket, none socketio.None) (socketio.None, error) {
		return none, io.To("meeting").Leave(ctx, "meeting")
	})
	WantReload.On(io, func(ctx context.Context, _ *socketio.Socket, _ socketio.None) error {
		return Reload.Emit(ctx, io, "prices")
	})
	Reload.On(io.Namespace, func(ctx context.Context, _, what string) error {
		return Reloaded.Emit(ctx, io.Local(), what)
	})
	WantCount.On(io, func(ctx context.Context, _ *socketio.Socket, none socketio.None) ([]int, error) {
		counts := []int{}
		for reply, err := range Count.Call(ctx, io.Namespace, none) {
			if err != nil {
				return nil, err
			}
			counts = append(counts, reply.Value)
		}
		return counts, nil
	})
	Count.On(io.Namespace, func(context.Context, string, socketio.None) (int, error) {
		return io.Connections(), nil
	})
	Kick.On(io, func(ctx context.Context, _ *socketio.Socket, user string) error {
		return io.To(socketio.Room("user:" + user)).Disconnect(ctx)
	})
	Bye.On(io, func(ctx context.Context, s *socketio.Socket, _ socketio.None) error {
		return s.Disconnect(ctx)
	})
}

func namespaces(io *socketio.Server) {
	io.Of("/admin").Use(func(_ context.Context, s *socketio.Socket) error {
		if s.Handshake().Query().Get("key") != "secret" {
			return &socketio.Error{Message: "forbidden"}
		}
		return nil
	})
	io.OfPattern(regexp.MustCompile(`^/tenant-\d+$`)).OnConnect(func(ctx context.Context, s *socketio.Socket) error {
		return Tenant.Emit(ctx, s, s.Namespace().Name())
	})
	io.OnNamespace(func(n *socketio.Namespace) { log.Print(n.Name()) })
	io.OnRoom(func(e socketio.RoomEvent) { log.Print(e.Change, e.Room) })
}
