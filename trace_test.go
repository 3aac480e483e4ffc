package socketio_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"weak"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// A traceRecorder is a Tracer whose spans are the paths from their roots.
type traceRecorder struct {
	node string
	text string // the contexts of records; default: the path
	log  *adapter.Memory

	mu    sync.Mutex
	ended []string
}

type spanKey struct{}

func (r *traceRecorder) StartSpan(ctx context.Context, s *socketio.TraceSpan) context.Context {
	parent, _ := ctx.Value(spanKey{}).(string)
	if s.TraceContext != "" {
		parent = s.TraceContext
	}
	path := strings.TrimPrefix(parent+" > ", " > ") + r.node + ":" + string(s.Kind) + " " + s.Event
	s.TraceContext = path
	if r.text != "" {
		s.TraceContext = r.text
	}
	return context.WithValue(ctx, spanKey{}, path)
}

func (r *traceRecorder) EndSpan(ctx context.Context, s *socketio.TraceSpan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	path, _ := ctx.Value(spanKey{}).(string)
	if s.Err != nil {
		path += " !" + s.Err.Error()
	}
	if s.End.Before(s.Start) {
		path += " ends before it starts"
	}
	if s.Kind == socketio.SpanDeliver {
		path += fmt.Sprintf(" to %d", s.Sockets)
	}
	if s.Unhandled {
		path += " unhandled"
	}
	if s.Replied {
		path += " replied"
	}
	r.ended = append(r.ended, path)
}

// take returns the spans that have ended, in order of their texts.
func (r *traceRecorder) take() []string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	ended := r.ended
	r.ended = nil
	slices.Sort(ended)
	return ended
}

func (r *traceRecorder) want(t *testing.T, want ...string) {
	t.Helper()
	if got := r.take(); !slices.Equal(got, want) {
		t.Errorf("spans of %s\n got %q\nwant %q", r.node, got, want)
	}
}

// twoTraced runs a test with two nodes that share a log, each with a tracer.
func twoTraced(t *testing.T, test func(t *testing.T, a, b *socketio.Server, ofA, ofB *traceRecorder)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		memory := adapter.NewMemory(nil)
		log, store := &second{Memory: memory}, &unbound{recovery.NewMemory(memory)}
		ofA, ofB := &traceRecorder{node: "a", log: memory}, &traceRecorder{node: "b"}
		a := newServer(&socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: store}, Tracer: ofA})
		b := newServer(&socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: store}, Tracer: ofB})
		test(t, a, b, ofA, ofB)
		for _, s := range []*socketio.Server{a, b} {
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestTracer_EventOfClient_SpansReachOtherNodes(t *testing.T) {
	t.Parallel()
	twoTraced(t, func(t *testing.T, a, b *socketio.Server, ofA, ofB *traceRecorder) {
		socketio.Event[string]("post").On(a, func(ctx context.Context, s *socketio.Socket, text string) error {
			return said.Emit(ctx, s.Others(), text)
		})
		join.On(a, func(ctx context.Context, s *socketio.Socket, room string) (socketio.None, error) {
			return socketio.None{}, s.Others().Join(ctx, socketio.Room(room))
		})
		sender, receiver := connected(t, a), connected(t, b)
		ofA.want(t, "a:connect ")
		ofB.want(t, "b:connect ")
		sender.WriteText(`2["post","hello"]`)
		ofA.want(t, "a:handle post", "a:handle post > a:emit said")
		ofB.want(t, "a:handle post > a:emit said > b:deliver said to 1")
		if text := receiver.ReadText(); strings.Contains(text, "handle") || !strings.HasPrefix(text, `2["said","hello",`) {
			t.Errorf("the client receives %s", text)
		}
		sender.ask(`["join","r"]`)
		ofA.want(t, "a:handle join > a:join ", "a:handle join replied")
		sender.WriteText(`2["made up"]`)
		ofA.want(t, "a:handle made up unhandled")
		ofB.want(t)
	})
}

func TestTracer_RequestsBetweenNodes(t *testing.T) {
	t.Parallel()
	twoTraced(t, func(t *testing.T, a, b *socketio.Server, ofA, ofB *traceRecorder) {
		notice.On(b.Namespace, func(ctx context.Context, _, _ string) error { return said.Emit(ctx, b, "x") })
		clusterCall.On(b.Namespace, func(context.Context, string, string) (socketio.None, error) {
			return socketio.None{}, socketio.ErrShutdown
		})
		if err := notice.Emit(t.Context(), a, "x"); err != nil {
			t.Error(err)
		}
		ofA.want(t, "a:emit notice")
		ofB.want(t, "a:emit notice > b:respond notice", "a:emit notice > b:respond notice > b:emit said")
		for _, err := range clusterCall.Call(t.Context(), a.Namespace, "x") {
			_ = err
		}
		ofA.want(t, "a:call cluster call")
		ofB.want(t, "a:call cluster call > b:respond cluster call !cluster call: server is shutting down")
		p := connected(t, b)
		ofB.take()
		for _, err := range socketio.Request[string, int]("age").CallAll(t.Context(), a, "x") { // it does not answer
			_ = err
		}
		_ = p
		ofA.want(t, "a:call age !context deadline exceeded", "a:call age > a:respond age")
		got := ofB.take()
		if len(got) != 1 || !strings.HasPrefix(got[0], "a:call age > b:respond age !") {
			t.Errorf("spans of b %q", got)
		}
		result := startCallOne(t.Context(), remote(a, p))
		p.Cut()
		<-result
		ofA.want(t, "a:call age !socket disconnected: transport close", "a:call age > a:respond age")
		ofB.want(t, "a:call age > b:respond age")
	})
}

// carried returns the contexts that the records of the kind carry.
func (r *traceRecorder) carried(t *testing.T, kind adapter.Kind) (contexts []string) {
	t.Helper()
	_, head := r.log.Extent()
	for batch, err := range r.log.Read(t.Context(), 0, head) {
		if err != nil {
			t.Fatal(err)
		}
		for i := range batch {
			if batch[i].Kind == kind {
				contexts = append(contexts, batch[i].TraceContext)
			}
		}
	}
	return contexts
}

func TestTracer_Records_CarryContext(t *testing.T) {
	t.Parallel()
	twoTraced(t, func(t *testing.T, a, b *socketio.Server, ofA, _ *traceRecorder) {
		clusterCall.On(b.Namespace, func(context.Context, string, string) (socketio.None, error) { return socketio.None{}, nil })
		for _, err := range clusterCall.Call(t.Context(), a.Namespace, "x") {
			if err != nil {
				t.Error(err)
			}
		}
		for _, err := range socketio.Request[string, int]("age").CallAll(t.Context(), a, "x") { // each node says which sockets it asked
			t.Error(err)
		}
		if got := ofA.carried(t, adapter.Answer); !slices.Equal(got, []string{"a:call cluster call", "a:call age", "a:call age"}) {
			t.Errorf("answers carry %q", got)
		}
		emit(t, a, "x")
		for _, ofA.text = range []string{strings.Repeat("x", adapter.MaxTraceContext+1), "\xff", "\x00"} {
			emit(t, a, "x")
		}
		if got := ofA.carried(t, adapter.Event); !slices.Equal(got, []string{"a:emit said", "", "", ""}) {
			t.Errorf("events carry %q", got)
		}
	})
}

func TestTracer_Refusals_AreErrors(t *testing.T) {
	t.Parallel()
	tracer := &traceRecorder{node: "a"}
	bubble(t, &socketio.Options{Tracer: tracer}, func(t *testing.T, io *socketio.Server) {
		io.Of("/picky").Use(func(context.Context, *socketio.Socket) error { return &socketio.Error{Code: "no"} })
		p := connected(t, io)
		p.WriteText("0/picky,")
		synctest.Wait()
		tracer.want(t, "a:connect ", "a:connect  !no")
	})
}

// TestTracer_CallerPanics: a span ends with the loop over its answers, however that ends.
func TestTracer_CallerPanics(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(){"panic": func() { panic("caller") }, "Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tracer := &traceRecorder{node: "a"}
			bubble(t, &socketio.Options{Tracer: tracer}, func(t *testing.T, io *socketio.Server) {
				p := connected(t, io)
				go p.answers("[1]") // ends with the connection
				for what, loop := range map[string]func(){
					"fetch ": func() {
						for _, err := range io.Except().Fetch(t.Context()) {
							_ = err
							leave()
						}
					},
					"call age": func() {
						for _, err := range socketio.Request[string, int]("age").CallAll(t.Context(), io.Local(), "years") {
							_ = err
							leave()
						}
					},
				} {
					tracer.take()
					done := make(chan struct{})
					go func() {
						defer close(done)
						defer func() { _ = recover() }()
						loop()
					}()
					<-done
					if got := tracer.take(); !slices.Contains(got, "a:"+what+" !the loop over the answers did not return") {
						t.Errorf("spans %q", got)
					}
				}
			})
		})
	}
}

// A cancellingTracer returns contexts that are cancelled, with a value.
type cancellingTracer struct{ spanKey }

func (c cancellingTracer) StartSpan(ctx context.Context, _ *socketio.TraceSpan) context.Context {
	ctx, cancel := context.WithCancel(context.WithValue(ctx, c.spanKey, "traced"))
	cancel()
	return ctx
}

func (cancellingTracer) EndSpan(context.Context, *socketio.TraceSpan) {}

// TestTracer_CancelledContext: work lasts as long as it would without a Tracer.
func TestTracer_CancelledContext(t *testing.T) {
	t.Parallel()
	bubble(t, &socketio.Options{Tracer: cancellingTracer{}}, func(t *testing.T, io *socketio.Server) {
		io.OnConnect(func(ctx context.Context, s *socketio.Socket) error { return said.Emit(ctx, s, "welcome") })
		var value any
		socketio.Request[string, bool]("post").On(io, func(ctx context.Context, s *socketio.Socket, text string) (bool, error) {
			value = ctx.Value(spanKey{})
			return true, said.Emit(ctx, s, text)
		})
		p := connected(t, io)
		if got := p.ReadText(); !strings.Contains(got, "welcome") {
			t.Errorf("OnConnect sends %s", got)
		}
		if got := p.ask(`["post","x"]`); !strings.HasPrefix(got, `2["said","x",`) || value != "traced" {
			t.Errorf("the handler sends %s, the value of its context is %v", got, value)
		}
		if got := p.ReadText(); got != "37[true]" {
			t.Errorf("answer %s", got)
		}
	})
}

// TestTracer_Blocked_KeepsNoPayloads: what waits for a tracer that blocks does not contain the events.
func TestTracer_Blocked_KeepsNoPayloads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		memory := adapter.NewMemory(&adapter.MemoryOptions{MaxBytes: 1})
		release := make(chan struct{})
		io := newServer(&socketio.Options{Adapter: memory, Recovery: socketio.Recovery{Disabled: true}, Tracer: blockedDeliveries{release}})
		p := connected(t, io)
		send := func(text string) weak.Pointer[byte] {
			payload := []byte(`["said","` + text + `"]`)
			if _, err := memory.Publish(t.Context(), &adapter.Envelope{Namespace: "/", Payload: payload, TraceContext: "x"}); err != nil {
				t.Fatal(err)
			}
			p.ReadText()
			return weak.Make(&payload[0])
		}
		send("first") // the tracer blocks in its span
		large := send(strings.Repeat("x", 1<<16))
		send("last") // nothing else keeps the one before
		synctest.Wait()
		runtime.GC()
		if large.Value() != nil {
			t.Error("the payload is kept")
		}
		close(release)
		if err := io.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// blockedDeliveries is a Tracer that blocks in the spans of deliveries.
type blockedDeliveries struct{ release chan struct{} }

func (b blockedDeliveries) StartSpan(ctx context.Context, s *socketio.TraceSpan) context.Context {
	if s.Kind == socketio.SpanDeliver {
		<-b.release
	}
	return ctx
}

func (blockedDeliveries) EndSpan(context.Context, *socketio.TraceSpan) {}

func TestTracer_EventNames(t *testing.T) {
	t.Parallel()
	tracer := &traceRecorder{node: "a"}
	bubble(t, &socketio.Options{Tracer: tracer}, func(t *testing.T, io *socketio.Server) {
		for _, name := range []string{"é", `quoted "\" \`, "line\nbreak", "[x"} {
			if err := socketio.Event[string](name).Emit(t.Context(), io, `"x`); err != nil {
				t.Error(err)
			}
			tracer.want(t, "a:emit "+name)
		}
	})
}
