package main

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/pgadapter"
)

// A node is the server with what the tests observe.
type node struct {
	name            string
	started         time.Time
	server          *socketio.Server
	db              *pgadapter.DB
	serverEventSeen chan struct{} // closed by the first server-side event

	mu     sync.Mutex
	stats  Stats
	former []socketio.SocketID // that were connected to this node, newest last; see formerSocket
}

// Stats counts what has happened on a node since it started.
type Stats struct {
	Connected    int            `json:"connected"` // sockets, recovered ones included
	Recovered    int            `json:"recovered"`
	Replayed     int            `json:"replayed"`     // events replayed to recovered clients
	Refused      map[string]int `json:"refused"`      // reasons for which sessions were not recovered
	Disconnects  map[string]int `json:"disconnects"`  // reasons of disconnections
	Expired      []string       `json:"expired"`      // ids of sockets of expired sessions
	ServerEvents []string       `json:"serverEvents"` // server-side events
	Probes       int            `json:"probes"`       // acknowledged probes
	FarProbes    int            `json:"farProbes"`    // of these, sent to a socket of any node by its id
	WrongAcks    []string       `json:"wrongAcks"`    // acknowledgements of other probes
}

// A tick is the event that the tests count. Its pad makes it larger.
type tick struct {
	publisher, seq int
	pad            string
}

func (t *tick) Args() []any {
	if t.pad == "" {
		return []any{&t.publisher, &t.seq}
	}
	return []any{&t.publisher, &t.seq, &t.pad}
}

// A span is the time in which something took effect, in nanoseconds of the machine's clock.
type span struct {
	Start int64 `json:"start"`
	End   int64 `json:"end"`
}

type socketState struct {
	ID        string   `json:"id"`
	Node      string   `json:"node"`
	Recovered bool     `json:"recovered"`
	Replayed  int      `json:"replayed"`
	Reason    string   `json:"reason"`
	Rooms     []string `json:"rooms"`
}

type dataItem struct {
	Key   string          `json:"key"`
	Value json.RawMessage `json:"value"`
}

const (
	ticked  socketio.Event[tick]                               = "tick"
	posted  socketio.Event[json.RawMessage]                    = "post"
	joining socketio.Request[[]socketio.Room, span]            = "join"
	leaving socketio.Request[[]socketio.Room, span]            = "leave"
	setting socketio.Request[dataItem, socketio.None]          = "set"
	getting socketio.Request[string, json.RawMessage]          = "get"
	asking  socketio.Request[socketio.None, socketState]       = "whoami"
	failing socketio.Request[string, socketio.None]            = "fail"
	calling socketio.Request[json.RawMessage, json.RawMessage] = "call-me"
	answer  socketio.Request[json.RawMessage, json.RawMessage] = "question"
	kicking socketio.Event[socketio.None]                      = "kick-me"
	binary  socketio.Request[socketio.None, []byte]            = "bytes"
	pairing socketio.Request[socketio.None, pair]              = "pair"
	post    socketio.Request[json.RawMessage, socketio.None]   = "say"
	sending socketio.Request[parcel, socketio.None]            = "send"
	sent    socketio.Event[parcel]                             = "parcel"
)

// A pair is an answer of two arguments.
type pair struct {
	First  int
	Second []byte
}

func (p *pair) Args() []any { return []any{&p.First, &p.Second} }

// A parcel has binary data at several depths.
type parcel struct {
	Label string            `json:"label"`
	Data  socketio.Binary   `json:"data"`
	Parts []socketio.Binary `json:"parts"`
}

func (n *node) register() {
	for _, name := range []string{"/", "/chat", "/guarded"} {
		ns := n.server.Of(name)
		ns.OnConnect(n.connected)
		ns.OnDisconnect(n.disconnected)
		n.handle(ns)
	}
	n.serverSide()
	n.server.Use(func(_ context.Context, s *socketio.Socket) error { return authMiddleware(s, false) })
	n.server.Of("/guarded").Use(func(_ context.Context, s *socketio.Socket) error { return authMiddleware(s, true) })
}

// authMiddleware refuses a client that requests it, and in strict mode a client without the token.
func authMiddleware(s *socketio.Socket, strict bool) error {
	var auth struct{ Token, Refuse string }
	if err := s.Handshake().DecodeAuth(&auth); err != nil && strict {
		return &socketio.Error{Code: "bad_auth"}
	}
	if auth.Refuse != "" || strict && auth.Token != "letmein" {
		return &socketio.Error{Code: "refused", Message: "not today", Data: map[string]string{"why": auth.Refuse}}
	}
	return nil
}

func (n *node) handle(ns *socketio.Namespace) {
	joining.On(ns, func(ctx context.Context, s *socketio.Socket, rooms []socketio.Room) (span, error) {
		return n.timed(func() error { return s.Join(ctx, rooms...) })
	})
	leaving.On(ns, func(ctx context.Context, s *socketio.Socket, rooms []socketio.Room) (span, error) {
		return n.timed(func() error { return s.Leave(ctx, rooms...) })
	})
	handlePresence(ns)
	setting.On(ns, func(ctx context.Context, s *socketio.Socket, d dataItem) (socketio.None, error) {
		return socketio.None{}, socketio.Data[json.RawMessage](d.Key).Set(ctx, s, d.Value)
	})
	getting.On(ns, func(_ context.Context, s *socketio.Socket, key string) (json.RawMessage, error) {
		if v, ok := socketio.Data[json.RawMessage](key).Get(s); ok {
			return v, nil
		}
		return json.RawMessage("null"), nil
	})
	asking.On(ns, func(_ context.Context, s *socketio.Socket, _ socketio.None) (socketState, error) {
		return n.describe(s), nil
	})
	failing.On(ns, func(_ context.Context, _ *socketio.Socket, how string) (socketio.None, error) {
		switch how {
		case "panic":
			panic("a handler that panics") //nolint:forbidigo // what the test wants to see survived
		case "plain":
			return socketio.None{}, errors.New("a detail that stays on the server")
		}
		return socketio.None{}, &socketio.Error{Code: "teapot", Message: how, Data: []int{4, 1, 8}}
	})
	calling.On(ns, func(ctx context.Context, s *socketio.Socket, q json.RawMessage) (json.RawMessage, error) {
		return answer.Call(ctx, s, q)
	})
	binary.On(ns, func(context.Context, *socketio.Socket, socketio.None) ([]byte, error) {
		return []byte{0, 1, 2, 0xff}, nil
	})
	pairing.On(ns, func(context.Context, *socketio.Socket, socketio.None) (pair, error) {
		return pair{First: 7, Second: []byte("seven")}, nil
	})
	post.On(ns, func(ctx context.Context, s *socketio.Socket, v json.RawMessage) (socketio.None, error) {
		return socketio.None{}, posted.Emit(ctx, s.Namespace(), v)
	})
	sending.On(ns, func(ctx context.Context, s *socketio.Socket, p parcel) (socketio.None, error) {
		return socketio.None{}, sent.Emit(ctx, s.Namespace(), p)
	})
	kicking.On(ns, func(_ context.Context, s *socketio.Socket, _ socketio.None) error {
		return s.Disconnect(context.WithoutCancel(s.Context()))
	})
	ns.Handle("echo", func(_ context.Context, m *socketio.Message) error {
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

func (n *node) timed(f func() error) (span, error) {
	t := span{Start: n.clock()}
	err := f()
	t.End = n.clock()
	return t, err
}

func (n *node) describe(s *socketio.Socket) socketState {
	r := s.Recovery()
	w := socketState{ID: string(s.ID()), Node: n.name, Recovered: r.Recovered, Replayed: r.Replayed}
	if r.Reason != nil {
		w.Reason = r.Reason.Error()
	}
	for room := range s.Rooms() {
		w.Rooms = append(w.Rooms, string(room))
	}
	slices.Sort(w.Rooms)
	return w
}

func (n *node) connected(_ context.Context, s *socketio.Socket) error {
	r := s.Recovery()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stats.Connected++
	n.stats.Replayed += r.Replayed
	if r.Recovered {
		n.stats.Recovered++
	}
	if r.Reason != nil {
		count(&n.stats.Refused, r.Reason.Error())
	}
	return nil
}

func (n *node) disconnected(_ *socketio.Socket, reason socketio.Reason) {
	n.mu.Lock()
	defer n.mu.Unlock()
	count(&n.stats.Disconnects, string(reason))
}

func (n *node) expired(e *socketio.ExpiredSession) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stats.Expired = append(n.stats.Expired, string(e.ID))
}

func count(m *map[string]int, key string) {
	if *m == nil {
		*m = make(map[string]int)
	}
	(*m)[key]++
}
