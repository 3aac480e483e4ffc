package socketio_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/packet"
	"github.com/pgsocket/socketio/recovery"
	"github.com/pgsocket/socketio/transport"
	"github.com/pgsocket/socketio/transport/transporttest"
)

// A hook is a place for code of the application: how it gets there, and what makes
// the server run it.
type hook struct {
	name     string // of the places in the API
	options  func(o *socketio.Options, run func())
	register func(io *socketio.Server, run func())
	drive    func(r *rig)

	// waits means that deliveries of the node wait for the hook, so it must not block.
	waits bool
}

// A rig is a server with a hook that misbehaves, beside another node.
type rig struct {
	t    *testing.T
	io   *socketio.Server
	node *socketio.Server
	to   *socketio.Emitter // to the log of both
	calm *atomic.Bool      // the hook behaves
}

// dial connects a client to "/", or to another namespace, as far as it gets.
func (r *rig) dial(namespace string) *transporttest.Client {
	c := transporttest.Dial(r.t, r.io, "/socket.io/?EIO=4&transport=websocket")
	c.WriteText("0" + namespace)
	synctest.Wait()
	return c
}

// send connects a client and has it send messages.
func (r *rig) send(texts ...string) *transporttest.Client {
	c := r.dial("")
	for _, text := range texts {
		c.WriteText(text)
		synctest.Wait()
	}
	return c
}

const (
	hooked      socketio.Event[socketio.None]                      = "hooked"
	asked       socketio.Request[socketio.None, socketio.None]     = "asked"
	tricky      socketio.Request[trickyValue, trickyValue]         = "tricky"
	placed      socketio.Request[trickyPositional, int]            = "placed"
	notice      socketio.ServerEvent[string]                       = "notice"
	clusterCall socketio.ServerRequest[string, socketio.None]      = "cluster call"
	secret      socketio.ServerRequest[socketio.None, trickyValue] = "secret"
)

// A trickyValue runs code when it is encoded or decoded.
type trickyValue struct{ run func() }

func (v trickyValue) MarshalJSON() ([]byte, error) {
	if v.run != nil {
		v.run()
	}
	return []byte(`"value"`), nil
}

var onUnmarshal atomic.Pointer[func()]

func (v *trickyValue) UnmarshalJSON([]byte) error {
	if run := onUnmarshal.Load(); run != nil {
		(*run)()
	}
	return nil
}

// A trickyPositional runs code in Args.
type trickyPositional struct{ x int }

var onArgs atomic.Pointer[func()]

func (v *trickyPositional) Args() []any {
	if run := onArgs.Load(); run != nil {
		(*run)()
	}
	return []any{&v.x}
}

// A trickyError runs code in errors.As.
type trickyError struct{ run func() }

func (trickyError) Error() string   { return "tricky" }
func (e trickyError) Unwrap() error { e.run(); return nil }
func (e trickyError) LogValue() slog.Value {
	e.run()
	return slog.StringValue("tricky")
}

// A trickyHandler runs code for each line.
type trickyHandler struct{ enabled, handle func() }

func (h trickyHandler) Enabled(context.Context, slog.Level) bool { h.enabled(); return true }

func (h trickyHandler) Handle(context.Context, slog.Record) error { h.handle(); return nil }

func (h trickyHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h trickyHandler) WithGroup(string) slog.Handler      { return h }

// A trickyParser uses the format of the protocol, and runs code.
type trickyParser struct{ encode, open, decode func() }

type trickyDecoder struct {
	run func()
	d   packet.Decoder
}

func (p *trickyParser) Encode(q *packet.Packet) ([]packet.Message, error) {
	p.encode()
	messages := []packet.Message{{Data: q.AppendText(nil)}}
	for _, a := range q.Attachments {
		messages = append(messages, packet.Message{Data: a, Binary: true})
	}
	return messages, nil
}

func (p *trickyParser) NewDecoder(l packet.Limits) packet.MessageDecoder {
	p.open()
	return &trickyDecoder{p.decode, packet.NewDecoder(l)}
}

func (d *trickyDecoder) Decode(data []byte, binary bool) (*packet.Packet, error) {
	d.run()
	if binary {
		return d.d.Binary(data)
	}
	return d.d.Text(data)
}

func idle() {}

// A trickyTracer runs code for each span.
type trickyTracer struct{ start, end func() }

func (r trickyTracer) StartSpan(ctx context.Context, s *socketio.TraceSpan) context.Context {
	if s.Kind != socketio.SpanEmit { // else one that emits would never end
		r.start()
	}
	s.TraceContext = "trace"
	return ctx
}

func (r trickyTracer) EndSpan(_ context.Context, s *socketio.TraceSpan) {
	if s.Kind != socketio.SpanEmit {
		r.end()
	}
}

// traced has a server make spans of its clients and of the log.
func traced(r *rig) {
	r.send(`2["hooked"]`)
	emitter := r.to.WithTracer(trickyTracer{start: idle, end: idle})
	_ = said.Emit(r.t.Context(), emitter, "x")
	_ = notice.Emit(r.t.Context(), emitter, "x")
	r.clusterCalls()
}

func hooks() []hook {
	answer := func(register func(run func()) (socketio.None, error)) func(*socketio.Server, func()) {
		return func(io *socketio.Server, run func()) {
			asked.On(io, func(context.Context, *socketio.Socket, socketio.None) (socketio.None, error) { return register(run) })
		}
	}
	ask := func(r *rig) { r.send(`27["asked"]`) }
	polling := func(r *rig) {
		go r.io.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/socket.io/?EIO=4&transport=polling", http.NoBody))
	}
	return []hook{
		{
			name: "socketio.Options.AllowRequest",
			options: func(o *socketio.Options, run func()) {
				o.AllowRequest = func(*http.Request) error { run(); return nil }
			},
			drive: polling,
		}, {
			name: "socketio.Options.ClientAddress",
			options: func(o *socketio.Options, run func()) {
				o.MaxConnectionsPerAddress = 100
				o.ClientAddress = func(*http.Request) string { run(); return "address" }
			},
			drive: polling,
		}, {
			name: "transport.HTTP.Headers",
			options: func(o *socketio.Options, run func()) {
				o.HTTP.Headers = func(http.Header, *http.Request) { run() }
			},
			drive: polling,
		}, {
			name: "transport.HTTP.InitialHeaders",
			options: func(o *socketio.Options, run func()) {
				o.HTTP.InitialHeaders = func(http.Header, *http.Request) { run() }
			},
			drive: polling,
		}, {
			name: "transport.HTTP.OnConnectionError",
			options: func(o *socketio.Options, run func()) {
				o.HTTP.OnConnectionError = func(*transport.ConnectionError) { run() }
			},
			drive: func(r *rig) {
				go r.io.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/socket.io/?EIO=3&transport=polling", http.NoBody))
			},
		}, {
			name:     "socketio.Options.ErrorReply",
			options:  func(o *socketio.Options, run func()) { o.ErrorReply = func(*socketio.Error) any { run(); return 1 } },
			register: answer(func(func()) (socketio.None, error) { return socketio.None{}, errors.New("no") }),
			drive:    ask,
		}, {
			name: "socketio.Options.Logger",
			options: func(o *socketio.Options, run func()) {
				o.Logger = slog.New(trickyHandler{enabled: idle, handle: run})
			},
			register: answer(func(func()) (socketio.None, error) { return socketio.None{}, errors.New("no") }),
			drive:    ask,
		}, {
			name: "socketio.Options.Logger",
			options: func(o *socketio.Options, run func()) {
				o.Logger = slog.New(trickyHandler{enabled: run, handle: idle})
			},
			register: answer(func(func()) (socketio.None, error) { return socketio.None{}, errors.New("no") }),
			drive:    ask,
		}, {
			name: "socketio.Options.Parser packet.Parser",
			options: func(o *socketio.Options, run func()) {
				o.Parser = &trickyParser{encode: run, open: idle, decode: idle}
			},
			waits: true,
			drive: func(r *rig) {
				r.dial("")
				r.calm.Store(true)
				r.dial("")
				r.calm.Store(false)
				_ = said.Emit(r.t.Context(), r.io, "x")
				_ = said.Emit(r.t.Context(), r.io.Local(), "x")
				ctx, cancel := context.WithTimeout(r.t.Context(), time.Second)
				defer cancel()
				for _, err := range age.CallAll(ctx, r.io, "x") {
					_ = err
				}
				_ = r.io.Except("x").Disconnect(r.t.Context())
			},
		}, {
			name: "socketio.Options.Parser packet.Parser",
			options: func(o *socketio.Options, run func()) {
				o.Parser = &trickyParser{encode: idle, open: run, decode: idle}
			},
			drive: polling,
		}, {
			name: "packet.MessageDecoder",
			options: func(o *socketio.Options, run func()) {
				o.Parser = &trickyParser{encode: idle, open: idle, decode: run}
			},
			drive: func(r *rig) { r.dial("") },
		}, {
			name:    "socketio.Options.Tracer socketio.Tracer",
			options: func(o *socketio.Options, run func()) { o.Tracer = trickyTracer{start: run, end: idle} },
			drive:   traced,
		}, {
			name:    "socketio.Options.Tracer socketio.Tracer",
			options: func(o *socketio.Options, run func()) { o.Tracer = trickyTracer{start: idle, end: run} },
			drive:   traced,
		}, {
			name: "socketio.Recovery.OnExpired",
			options: func(o *socketio.Options, run func()) {
				o.Recovery.OnExpired = func(*socketio.ExpiredSession) { run() }
			},
			drive: func(r *rig) {
				r.dial("").Cut()
				time.Sleep(time.Hour)
			},
		}, {
			name: "socketio.Recovery.OptOut",
			options: func(o *socketio.Options, run func()) {
				o.Recovery.OptOut = func(string, *socketio.Handshake) bool { run(); return false }
			},
			drive: func(r *rig) { r.dial("") },
		}, {
			name: "socketio.Recovery.Identity",
			options: func(o *socketio.Options, run func()) {
				o.Recovery.Identity = func(context.Context, *socketio.Handshake) (string, error) { run(); return "u", nil }
			},
			drive: func(r *rig) { r.dial("") },
		}, {
			name: "socketio.registry.Handle",
			register: func(io *socketio.Server, run func()) {
				io.Handle("hooked", func(context.Context, *socketio.Message) error { run(); return nil })
			},
			drive: func(r *rig) { r.send(`27["hooked"]`) },
		}, {
			name: "socketio.registry.Intercept",
			register: func(io *socketio.Server, run func()) {
				io.Intercept(func(next socketio.Handler) socketio.Handler {
					return func(ctx context.Context, m *socketio.Message) error { run(); return next(ctx, m) }
				})
			},
			drive: func(r *rig) { r.send(`27["hooked"]`) },
		}, {
			name: "socketio.registry.Use",
			register: func(io *socketio.Server, run func()) {
				io.Use(func(context.Context, *socketio.Socket) error { run(); return nil })
			},
			drive: func(r *rig) { r.dial("") },
		}, {
			name: "socketio.registry.OnConnect",
			register: func(io *socketio.Server, run func()) {
				io.OnConnect(func(context.Context, *socketio.Socket) error { run(); return nil })
			},
			drive: func(r *rig) { r.dial("") },
		}, {
			name: "socketio.registry.OnDisconnect",
			register: func(io *socketio.Server, run func()) {
				io.OnDisconnect(func(*socketio.Socket, socketio.Reason) { run() })
			},
			drive: func(r *rig) { r.dial("").Cut() },
		}, {
			name:     "socketio.registry.OnAny",
			register: func(io *socketio.Server, run func()) { io.OnAny(func(context.Context, *socketio.Message) { run() }) },
			drive:    func(r *rig) { r.send(`2["hooked"]`) },
		}, {
			name: "socketio.registry.OnAnyOutgoing",
			register: func(io *socketio.Server, run func()) {
				io.OnAnyOutgoing(func(*socketio.Socket, *socketio.OutgoingEvent) { run() })
			},
			drive: func(r *rig) {
				r.dial("")
				_ = said.Emit(r.t.Context(), r.io, "x")
			},
		}, {
			name:     "socketio.registry.OnRoom",
			register: func(io *socketio.Server, run func()) { io.OnRoom(func(socketio.RoomEvent) { run() }) },
			drive: func(r *rig) {
				r.dial("")
				for s := range r.io.Sockets() {
					_ = s.Join(r.t.Context(), "room")
				}
			},
		}, {
			name: "socketio.Server.OfFunc",
			register: func(io *socketio.Server, run func()) {
				io.OfFunc(func(context.Context, string, *socketio.Handshake) (bool, error) { run(); return true, nil })
			},
			drive: func(r *rig) { r.dial("/dynamic,") },
		}, {
			name: "socketio.Server.OnNamespace",
			register: func(io *socketio.Server, run func()) {
				io.OfFunc(func(context.Context, string, *socketio.Handshake) (bool, error) { return true, nil })
				io.OnNamespace(func(*socketio.Namespace) { run() })
			},
			drive: func(r *rig) { r.dial("/dynamic,") },
		}, {
			name: "socketio.Event.On socketio.Event",
			register: func(io *socketio.Server, run func()) {
				hooked.On(io, func(context.Context, *socketio.Socket, socketio.None) error { run(); return nil })
			},
			drive: func(r *rig) { r.send(`2["hooked"]`) },
		}, {
			name:     "socketio.Request.On socketio.Request",
			register: answer(func(run func()) (socketio.None, error) { run(); return socketio.None{}, nil }),
			drive:    ask,
		}, {
			name: "socketio.Message.Reply socketio.Request", // the value of an answer
			register: func(io *socketio.Server, run func()) {
				tricky.On(io, func(context.Context, *socketio.Socket, trickyValue) (trickyValue, error) {
					return trickyValue{run}, nil
				})
			},
			drive: func(r *rig) { r.send(`27["tricky",1]`) },
		}, {
			name: "socketio.Message.Decode socketio.OutgoingEvent.Decode", // the value of an event
			register: func(io *socketio.Server, run func()) {
				onUnmarshal.Store(&run)
				tricky.On(io, func(context.Context, *socketio.Socket, trickyValue) (trickyValue, error) { return trickyValue{}, nil })
			},
			drive: func(r *rig) { r.send(`27["tricky",1]`) },
		}, {
			name: "socketio.Positional",
			register: func(io *socketio.Server, run func()) {
				onArgs.Store(&run)
				placed.On(io, func(context.Context, *socketio.Socket, trickyPositional) (int, error) { return 1, nil })
			},
			drive: func(r *rig) { r.send(`27["placed",1]`) },
		}, {
			name: "socketio.Error.Data", // of a handler
			register: answer(func(run func()) (socketio.None, error) {
				return socketio.None{}, &socketio.Error{Code: "x", Data: trickyValue{run}}
			}),
			drive: ask,
		}, {
			name: "socketio.Error.Data", // of middleware
			register: func(io *socketio.Server, run func()) {
				io.Of("/picky").Use(func(context.Context, *socketio.Socket) error {
					return &socketio.Error{Code: "x", Data: trickyValue{run}}
				})
			},
			drive: func(r *rig) { r.dial("/picky,") },
		}, {
			name: "socketio.Error.Data", // of a server's request
			register: func(io *socketio.Server, run func()) {
				clusterCall.On(io.Namespace, func(context.Context, string, string) (socketio.None, error) {
					return socketio.None{}, &socketio.Error{Code: "x", Data: trickyValue{run}}
				})
			},
			drive: func(r *rig) { r.clusterCalls() },
		}, {
			name: "socketio.registry.Use", // the methods of its error
			register: func(io *socketio.Server, run func()) {
				io.Of("/picky").Use(func(context.Context, *socketio.Socket) error { return trickyError{run} })
			},
			drive: func(r *rig) { r.dial("/picky,") },
		}, {
			name:     "socketio.Request.On", // the methods of its error
			register: answer(func(run func()) (socketio.None, error) { return socketio.None{}, trickyError{run} }),
			drive:    ask,
		}, {
			name: "socketio.ServerEvent.On socketio.ServerEvent",
			register: func(io *socketio.Server, run func()) {
				notice.On(io.Namespace, func(context.Context, string, string) error { run(); return nil })
			},
			drive: func(r *rig) { _ = notice.Emit(r.t.Context(), r.to, "x") },
		}, {
			name: "socketio.ServerRequest.On socketio.ServerRequest",
			register: func(io *socketio.Server, run func()) {
				clusterCall.On(io.Namespace, func(context.Context, string, string) (socketio.None, error) { run(); return socketio.None{}, nil })
			},
			drive: func(r *rig) { r.clusterCalls() },
		}, {
			name: "socketio.ServerRequest", // the value of an answer
			register: func(io *socketio.Server, run func()) {
				secret.On(io.Namespace, func(context.Context, string, socketio.None) (trickyValue, error) { return trickyValue{run}, nil })
			},
			drive: func(r *rig) {
				ctx, cancel := context.WithTimeout(r.t.Context(), time.Second)
				defer cancel()
				for _, err := range secret.Call(ctx, r.node.Namespace, socketio.None{}) {
					_ = err
				}
			},
		},
	}
}

// clusterCalls calls the server from the other node.
func (r *rig) clusterCalls() {
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Second)
	defer cancel()
	for _, err := range clusterCall.Call(ctx, r.node.Namespace, "x") {
		if _, silent := errors.AsType[*socketio.NodeError](err); silent && ctx.Err() == nil {
			r.t.Error("the node did not answer")
		}
	}
}

// A behavior is what a hook does when it is called, and how the server is shut down.
type behavior struct{ run, end func(io *socketio.Server) }

// misbehave checks that a node whose hook misbehaves serves others, and ends.
func misbehave(t *testing.T, h hook, behave func(t *testing.T) behavior) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := behave(t)
		var io *socketio.Server
		var calls atomic.Int64
		var calm atomic.Bool
		calm.Store(true) // while the server is made
		act := func() {
			if !calm.Load() {
				calls.Add(1)
				b.run(io)
			}
		}
		defer onUnmarshal.Store(nil)
		defer onArgs.Store(nil)
		memory := adapter.NewMemory(nil)
		log := &second{Memory: memory}
		opts := socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: recovery.NewMemory(memory)}}
		if h.options != nil {
			h.options(&opts, act)
		}
		io = newServer(&opts)
		node := newServer(&socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: &unbound{recovery.NewMemory(memory)}}})
		if h.register != nil {
			h.register(io, act)
		}
		calm.Store(false)
		r := &rig{t, io, node, socketio.NewEmitter(log), &calm}
		h.drive(r)
		synctest.Wait()
		if calls.Load() == 0 {
			t.Error("the hook was not called")
		}
		calm.Store(true)
		serves(t, io)
		b.end(io)
		if err := node.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// serves checks that the server serves a new client.
func serves(t *testing.T, io *socketio.Server) {
	t.Helper()
	socketio.Request[socketio.None, string]("alive").On(io, func(context.Context, *socketio.Socket, socketio.None) (string, error) {
		return "yes", nil
	})
	p := dial(t, io)
	p.WriteText("0")
	synctest.Wait()
	p.connects()
	emit(t, io.To(socketio.Room(p.id)), "there")
	synctest.Wait()
	if text := p.ReadText(); len(text) < 16 || text[:16] != `2["said","there"` {
		t.Errorf("event %q", text)
	}
	if got := p.ask(`["alive"]`); got != `["yes"]` {
		t.Errorf("answer %q", got)
	}
}

func ends(t *testing.T) func(io *socketio.Server) {
	t.Helper()
	return func(io *socketio.Server) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := io.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	}
}

// TestHooks checks for every hook that a panic, runtime.Goexit, and calls of the
// server from it do not affect others.
func TestHooks(t *testing.T) { //nolint:paralleltest // the hooks of values are global
	for mode, run := range map[string]func(*socketio.Server){ //nolint:paralleltest // see above
		"panic":  func(*socketio.Server) { panic("hook") },
		"goexit": func(*socketio.Server) { runtime.Goexit() },
		"calls": func(io *socketio.Server) {
			_ = io.Stats()
			for s := range io.Sockets() {
				_ = s.Rooms()
				_ = s.Transport()
			}
			for range io.Rooms() {
			}
			_ = io.Connections()
			_ = io.Of("/").Name()
			_, _ = io.Nodes(context.Background())
			_ = said.Emit(context.Background(), io.To("nobody"), "x")
			_ = said.Emit(context.Background(), io.Local().To("nobody"), "x")
			_ = said.EmitAsync(io.To("nobody"), "x")
		},
	} {
		for i, h := range hooks() {
			t.Run(fmt.Sprintf("%s/%d %s", mode, i, h.name), func(t *testing.T) {
				misbehave(t, h, func(t *testing.T) behavior { return behavior{run, ends(t)} })
			})
		}
	}
}

// TestHooks_Blocked checks for every hook that one that never returns delays neither
// other sockets nor Shutdown beyond its context.
func TestHooks_Blocked(t *testing.T) { //nolint:paralleltest // the hooks of values are global
	for i, h := range hooks() { //nolint:paralleltest // see above
		if h.waits {
			continue
		}
		t.Run(fmt.Sprintf("%d %s", i, h.name), func(t *testing.T) {
			misbehave(t, h, func(t *testing.T) behavior {
				released := make(chan struct{})
				return behavior{func(*socketio.Server) { <-released }, func(io *socketio.Server) {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					begun := time.Now()
					_ = io.Shutdown(ctx)
					if took := time.Since(begun); took > time.Minute+2*time.Second {
						t.Errorf("shutdown took %v", took)
					}
					close(released)
				}}
			})
		})
	}
}
