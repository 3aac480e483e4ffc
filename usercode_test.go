package socketio_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/packet"
	"github.com/pgsocket/socketio/recovery"
)

// A journal is a logger's output.
type journal struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.out.Write(p)
}

// count returns how many lines contain the text.
func (j *journal) count(text string) int { return strings.Count(j.text(), text) }

func (j *journal) text() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.out.String()
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

// unencodable are values of Error.Data that do not encode.
func unencodable() map[string]any {
	var many [11]socketio.Binary
	return map[string]any{"NaN": math.NaN(), "func": idle, "panic": trickyValue{func() { panic("MarshalJSON") }}, "binaries": many}
}

func TestErrorData_DoesNotEncode_ClientIsAnswered(t *testing.T) {
	t.Parallel()
	for name, data := range unencodable() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log journal
			bubble(t, &socketio.Options{Logger: log.logger()}, func(t *testing.T, io *socketio.Server) {
				fails := &socketio.Error{Code: "full", Message: "no seat", Data: data}
				join.On(io, func(context.Context, *socketio.Socket, string) (socketio.None, error) { return socketio.None{}, fails })
				io.Of("/picky").Use(func(context.Context, *socketio.Socket) error { return fails })
				p := connected(t, io)
				if got, want := p.ask(`["join","x"]`), `[{"error":{"code":"full","message":"no seat"}}]`; got != want {
					t.Errorf("acknowledgement %s, want %s", got, want)
				}
				synctest.Wait() // lines are written in a goroutine of their own
				if n := log.count("error reply not encoded"); n != 1 {
					t.Errorf("%d lines of the acknowledgement", n)
				}
				if name == "binaries" {
					return // outside packets they are text
				}
				p.WriteText("0/picky,")
				if got, want := p.ReadText(), `4/picky,{"message":"no seat","data":{"code":"full"}}`; got != want {
					t.Errorf("refusal %s, want %s", got, want)
				}
				synctest.Wait()
				if n := log.count("data of an error not encoded"); n != 1 {
					t.Errorf("%d lines of the refusal", n)
				}
			})
		})
	}
}

func TestServerRequest_ErrorDoesNotEncode_NodeIsAnswered(t *testing.T) {
	t.Parallel()
	twoNodes(t, func(t *testing.T, _ *second, a, b *socketio.Server) {
		clusterCall.On(b.Namespace, func(context.Context, string, string) (socketio.None, error) {
			return socketio.None{}, &socketio.Error{Code: "full", Data: math.NaN()}
		})
		begun := time.Now()
		n := 0
		for _, err := range clusterCall.Call(t.Context(), a.Namespace, "?") {
			n++
			if e, ok := errors.AsType[*socketio.Error](err); !ok || e.Code != "full" {
				t.Errorf("error %v", err)
			}
		}
		if n != 1 || time.Since(begun) > time.Second {
			t.Errorf("%d answers after %v", n, time.Since(begun))
		}
	})
}

// TestErrors_NilPointer: a nil *Error is not sent to a client.
func TestErrors_NilPointer(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		var none *socketio.Error
		join.On(io, func(context.Context, *socketio.Socket, string) (socketio.None, error) { return socketio.None{}, none })
		io.Of("/picky").Use(func(context.Context, *socketio.Socket) error { return none })
		p := connected(t, io)
		if got := p.ask(`["join","x"]`); got != `[{"error":{"code":"internal"}}]` {
			t.Errorf("acknowledgement %s", got)
		}
		p.WriteText("0/picky,")
		synctest.Wait()
		serves(t, io)
	})
}

// TestReply_ParserFails: an answer that the parser cannot express is an error.
func TestReply_ParserFails_ClientGetsAnError(t *testing.T) {
	t.Parallel()
	failed := false
	p := &trickyParser{open: idle, decode: idle, encode: func() {
		if failed {
			failed = false
			panic("Encode")
		}
	}}
	bubble(t, &socketio.Options{Parser: p}, func(t *testing.T, io *socketio.Server) {
		join.On(io, func(context.Context, *socketio.Socket, string) (socketio.None, error) {
			failed = true // once: the answer, but not the error
			return socketio.None{}, nil
		})
		if got := connected(t, io).ask(`["join","x"]`); got != `[{"error":{"code":"internal"}}]` {
			t.Errorf("acknowledgement %s", got)
		}
	})
}

func TestHandler_EndsItsGoroutine(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		var mu sync.Mutex
		var ran []string
		note := func(what string) {
			mu.Lock()
			defer mu.Unlock()
			ran = append(ran, what)
		}
		for i := range 2 {
			io.OnAny(func(_ context.Context, m *socketio.Message) { note(fmt.Sprint("any", i)); runtime.Goexit() })
			io.OnAnyOutgoing(func(*socketio.Socket, *socketio.OutgoingEvent) { note(fmt.Sprint("out", i)); runtime.Goexit() })
			io.OnDisconnect(func(*socketio.Socket, socketio.Reason) { note(fmt.Sprint("bye", i)); runtime.Goexit() })
		}
		join.On(io, func(context.Context, *socketio.Socket, string) (socketio.None, error) {
			note("join")
			runtime.Goexit()
			return socketio.None{}, nil
		})
		p := connected(t, io)
		for range 2 {
			if got := p.ask(`["join","x"]`); got != `[{"error":{"code":"internal"}}]` {
				t.Errorf("acknowledgement %s", got)
			}
		}
		emit(t, io, "x")
		synctest.Wait()
		p.Cut()
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if got := fmt.Sprint(ran); got != "[any0 any1 join any0 any1 join out0 out1 bye0 bye1]" {
			t.Errorf("ran %s", got)
		}
	})
}

func TestOnNamespace_Panics_NamespaceIsClosed(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		broken := true
		said.On(io.OfPattern(regexp.MustCompile(`^/tenant-`)), func(context.Context, *socketio.Socket, string) error { return nil })
		io.OnNamespace(func(n *socketio.Namespace) {
			join.On(n, func(context.Context, *socketio.Socket, string) (socketio.None, error) { return socketio.None{}, nil })
			if broken {
				panic("no database")
			}
			n.Use(func(context.Context, *socketio.Socket) error { return &socketio.Error{Code: "forbidden"} })
		})
		for range 2 {
			p := dial(t, io)
			p.WriteText("0/tenant-1,")
			if got := p.ReadText(); got != `4/tenant-1,{"message":"Namespace not available","data":{"code":"internal"}}` {
				t.Errorf("an attempt got %s", got)
			}
		}
		if io.Known() != 1 {
			t.Errorf("%d namespaces are kept", io.Known())
		}
		io.Of("/kept")
		broken = false
		p := dial(t, io)
		p.WriteText("0/tenant-1,")
		if got := p.ReadText(); got != `4/tenant-1,{"message":"forbidden","data":{"code":"forbidden"}}` {
			t.Errorf("the next attempt got %s", got)
		}
		q := dial(t, io)
		q.WriteText("0/kept,")
		if got := q.ReadText(); got != `4/kept,{"message":"Namespace not available","data":{"code":"internal"}}` {
			t.Errorf("an attempt at what was closed got %s", got)
		}
	})
}

// TestOnNamespace_PanicsForSeveralAtOnce: two clients ask for one namespace and are both refused, because
// a function of OnNamespace fails. No namespace is left that counts as one of clients.
func TestOnNamespace_PanicsForSeveralAtOnce_NothingIsLeft(t *testing.T) {
	t.Parallel()
	bubble(t, &socketio.Options{MaxDynamicNamespaces: 1}, func(t *testing.T, io *socketio.Server) {
		turn, broken := make(chan struct{}), true
		io.OfFunc(func(context.Context, string, *socketio.Handshake) (bool, error) { <-turn; return true, nil })
		io.OnNamespace(func(*socketio.Namespace) {
			if broken {
				panic("no database")
			}
		})
		p, q := dial(t, io), dial(t, io)
		p.WriteText("0/x,")
		q.WriteText("0/x,")
		for range 2 { // one after the other
			synctest.Wait()
			turn <- struct{}{}
		}
		for _, p := range []*peer{p, q} {
			if got := p.ReadText(); got != `4/x,{"message":"Namespace not available","data":{"code":"internal"}}` {
				t.Errorf("an attempt got %s", got)
			}
		}
		synctest.Wait()
		broken = false
		close(turn)
		r := dial(t, io)
		r.WriteText("0/y,")
		if got := r.ReadText(); !strings.HasPrefix(got, "0/y,") {
			t.Errorf("the next namespace: %s", got)
		}
	})
}

// TestData_GetKeepsWhatWasSetMeanwhile decodes a value while it is replaced, and while
// it is deleted.
func TestData_GetKeepsWhatWasSetMeanwhile(t *testing.T) {
	t.Parallel()
	const text = socketio.Data[json.RawMessage]("x")
	const slow = socketio.Data[slowValue]("x")
	for _, deleted := range []bool{false, true} {
		bubble(t, nil, func(t *testing.T, io *socketio.Server) {
			connected(t, io)
			s := only(t, io)
			do(t, text.Set(t.Context(), s, json.RawMessage(`1`)))
			b := &barrier{in: make(chan struct{}), out: make(chan struct{})}
			do(t, slow.Set(t.Context(), s, slowValue{}))
			do(t, text.Set(t.Context(), s, json.RawMessage(`1`)))
			decoding.Store("barrier", b)
			go slow.Get(s)
			<-b.in
			decoding.Delete("barrier")
			if deleted {
				do(t, text.Delete(t.Context(), s))
			} else {
				do(t, text.Set(t.Context(), s, json.RawMessage(`2`)))
			}
			close(b.out)
			synctest.Wait()
			if v, ok := text.Get(s); ok == deleted || !deleted && string(v) != "2" {
				t.Errorf("deleted %t: Get returns %s, %t", deleted, v, ok)
			}
		})
	}
}

type slowValue struct{ X int }

type barrier struct{ in, out chan struct{} }

var decoding sync.Map // "barrier": *barrier

func (s *slowValue) UnmarshalJSON([]byte) error {
	if g, ok := decoding.Load("barrier"); ok {
		close(g.(*barrier).in)
		<-g.(*barrier).out
	}
	return nil
}

// A refusing store refuses changes on demand.
type refusing struct {
	*recovery.Memory

	refuse func() *adapter.Receipt
}

func (r *refusing) Change(k recovery.Key, c recovery.Change) *adapter.Receipt {
	if r.refuse != nil {
		return r.refuse()
	}
	return r.Memory.Change(k, c)
}

func TestData_SetFails_FormerValueIsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := adapter.NewMemory(nil)
		store := &refusing{Memory: recovery.NewMemory(log)}
		io := newServer(&socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: store}})
		connected(t, io)
		s := only(t, io)
		do(t, mood.Set(t.Context(), s, "calm"))

		refused := errors.New("refused")
		store.refuse = func() *adapter.Receipt { return adapter.Completed(refused) }
		if err := mood.Set(t.Context(), s, "angry"); !errors.Is(err, refused) {
			t.Error(err)
		}
		if err := mood.Delete(t.Context(), s); !errors.Is(err, refused) {
			t.Error(err)
		}
		wantMood(t, s, "calm")

		// Two at once: the first fails after the second has replaced it.
		var outcomes []*adapter.Outcome
		store.refuse = func() *adapter.Receipt {
			outcomes = append(outcomes, adapter.NewOutcome())
			return outcomes[len(outcomes)-1].Receipt(0)
		}
		for _, v := range []string{"first", "second"} {
			go func() { _ = mood.Set(t.Context(), s, v) }()
			synctest.Wait()
		}
		wantMood(t, s, "second")
		outcomes[0].Complete(refused)
		synctest.Wait()
		wantMood(t, s, "second")
		outcomes[1].Complete(refused)
		synctest.Wait()
		wantMood(t, s, "calm")

		store.refuse = nil
		do(t, s.Disconnect(t.Context()))
		if err := mood.Set(t.Context(), s, "late"); err == nil {
			t.Error("Set of a socket that is gone returns nil")
		}
		wantMood(t, s, "calm")
		do(t, io.Shutdown(t.Context()))
	})
}

func wantMood(t *testing.T, s *socketio.Socket, want string) {
	t.Helper()
	if got, ok := mood.Get(s); !ok || got != want {
		t.Errorf("Get returns %q, %t; want %q", got, ok, want)
	}
}

func TestEmit_FromGate(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		io.Use(func(ctx context.Context, s *socketio.Socket) error {
			_, envelope := said.Envelope(s, "x")
			for i, err := range []error{
				said.Emit(ctx, s, "x"), said.Emit(ctx, s.Volatile(), "x"), said.EmitAsync(s, "x").Wait(ctx), envelope,
			} {
				if !errors.Is(err, socketio.ErrNotConnected) {
					t.Errorf("%d: error %v", i, err)
				}
			}
			for _, err := range age.CallAll(ctx, s, "x") {
				if !errors.Is(err, socketio.ErrNotConnected) {
					t.Errorf("CallAll: error %v", err)
				}
			}
			return said.Emit(ctx, s.Others(), "a new one")
		})
		p := connected(t, io)
		connected(t, io)
		emit(t, only2(io, p), "now")
		p.wantEvents("said a new one", "said now")
	})
}

// only2 returns the socket of a peer.
func only2(io *socketio.Server, p *peer) *socketio.Socket {
	s, _ := io.Socket(socketio.SocketID(p.id))
	return s
}

func TestOnAnyOutgoing_CallAll(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		var told []string
		io.OnAnyOutgoing(func(_ *socketio.Socket, e *socketio.OutgoingEvent) {
			told = append(told, fmt.Sprintf("%s %s", e.Event(), e.Args()))
		})
		p := connected(t, io)
		go p.answers(`[7]`)
		wantReplies(t, replies(t.Context(), io), p.id+" is 7")
		synctest.Wait()
		if got := fmt.Sprint(told); got != `[age ["years"]]` {
			t.Errorf("observed %s", got)
		}
	})
}

// A narrow log refuses answers above 1000 bytes.
type narrow struct{ *second }

func (n narrow) Publish(ctx context.Context, e *adapter.Envelope) (*adapter.Receipt, error) {
	if e.Kind == adapter.Answer && e.Size() > 1000 {
		return nil, adapter.ErrTooLarge
	}
	return n.second.Publish(ctx, e)
}

func TestCallAll_AnswerTooLarge_IsThatSocketsError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		memory := adapter.NewMemory(nil)
		log := narrow{&second{Memory: memory}}
		opts := &socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: &unbound{recovery.NewMemory(memory)}}}
		a, b := newServer(opts), newServer(opts)
		p, q := connected(t, b), connected(t, b)
		go p.answers(`["` + strings.Repeat("x", 2000) + `"]`)
		go q.answers("[2]")
		want := "internal: answer not published: envelope too large for the log"
		wantReplies(t, replies(t.Context(), a), fmt.Sprintf("%s: %s", p.id, want), q.id+" is 2")

		clusterCall.On(b.Namespace, func(context.Context, string, string) (socketio.None, error) {
			return socketio.None{}, &socketio.Error{Code: "full", Message: strings.Repeat("x", 2000)}
		})
		for _, err := range clusterCall.Call(t.Context(), a.Namespace, "?") {
			if err == nil || err.Error() != want {
				t.Errorf("answer of the node: %v", err)
			}
		}
		do(t, a.Shutdown(t.Context()))
		do(t, b.Shutdown(t.Context()))
	})
}

// TestFetch_SocketTooLarge has a socket with more data than one record of the log may have.
func TestFetch_SocketTooLarge_OthersAreFound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		memory := adapter.NewMemory(nil)
		log := &limited{&second{Memory: memory}}
		opts := &socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: &unbound{recovery.NewMemory(memory)}}}
		a, b := newServer(opts), newServer(opts)
		large := connected(t, b)
		do(t, mood.Set(t.Context(), only(t, b), strings.Repeat("x", 300<<10)))
		small := connected(t, b)
		var got []string
		for s, err := range a.Except("nobody").Fetch(t.Context()) {
			got = append(got, fmt.Sprint(s.ID(), " ", err != nil))
		}
		if want := fmt.Sprint([]string{large.id + " true", small.id + " false"}); fmt.Sprint(got) != want {
			t.Errorf("found %s, want %s", got, want)
		}
		do(t, a.Shutdown(t.Context()))
		do(t, b.Shutdown(t.Context()))
	})
}

// A garbled parser returns an auth object that is not JSON, for clients whose object asks for it.
type garbled struct{ *trickyParser }

func (g garbled) NewDecoder(l packet.Limits) packet.MessageDecoder {
	return garbledDecoder{g.trickyParser.NewDecoder(l)}
}

type garbledDecoder struct{ packet.MessageDecoder }

func (g garbledDecoder) Decode(data []byte, binary bool) (*packet.Packet, error) {
	p, err := g.MessageDecoder.Decode(data, binary)
	if p != nil && p.Type == packet.Connect && bytes.Contains(p.Data, []byte("garble")) {
		p.Data = []byte("{garble")
	}
	return p, err
}

// TestFetch_SocketCannotBeDescribed: such a socket is yielded with an error.
func TestFetch_SocketCannotBeDescribed_OthersAreFound(t *testing.T) {
	t.Parallel()
	bubble(t, &socketio.Options{Parser: garbled{&trickyParser{encode: idle, open: idle, decode: idle}}}, func(t *testing.T, io *socketio.Server) {
		odd := dial(t, io)
		odd.connect(`{"garble":true}`)
		even := connected(t, io)
		got := make(map[string]bool)
		for s, err := range io.All().Fetch(t.Context()) {
			if s == nil {
				t.Fatal(err)
			}
			got[string(s.ID())] = err == nil
		}
		if len(got) != 2 || got[odd.id] || !got[even.id] {
			t.Errorf("found %v, want %s and an error for %s", got, even.id, odd.id)
		}
	})
}

// A limited log refuses records above 256 KiB.
type limited struct{ *second }

func (n *limited) Publish(ctx context.Context, e *adapter.Envelope) (*adapter.Receipt, error) {
	if e.Size() > 256<<10 {
		return nil, adapter.ErrTooLarge
	}
	return n.second.Publish(ctx, e)
}

func TestOnExpired_AfterShutdown_IsNotCalled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		expired := 0
		io := newServer(&socketio.Options{Recovery: socketio.Recovery{OnExpired: func(*socketio.ExpiredSession) { expired++ }}})
		connected(t, io)
		do(t, io.Shutdown(t.Context()))
		time.Sleep(time.Hour)
		synctest.Wait()
		if expired != 0 {
			t.Error("OnExpired ran after Shutdown had returned nil")
		}
	})
}

// TestLog_ClientsMistakes: a client cannot fill the log with any packets.
func TestLog_ClientsMistakes(t *testing.T) {
	t.Parallel()
	var log journal
	bubble(t, &socketio.Options{Logger: log.logger()}, func(t *testing.T, io *socketio.Server) {
		said.On(io, func(context.Context, *socketio.Socket, string) error { return errors.New("no database") })
		p := connected(t, io)
		for range 1000 {
			p.WriteText(`2["said",{}]`)
			p.WriteText(`2["unknown"]`)
			synctest.Wait()
		}
		if n := log.count("\n"); n != 0 {
			t.Errorf("%d lines for mistakes of the client", n)
		}
		if s := io.Stats(); s.BadPayloads != 1000 || s.Unhandled != 1000 {
			t.Errorf("counted %d and %d", s.BadPayloads, s.Unhandled)
		}
		for range 1000 {
			p.WriteText(`2["said","x"]`)
			synctest.Wait()
		}
		time.Sleep(time.Second)
		p.WriteText(`2["said","x"]`)
		synctest.Wait()
		if n := log.count("event handler failed"); n != 11 || log.count("suppressed=990") != 1 {
			t.Errorf("%d lines for 1,001 failures", n)
		}
		if n := io.Stats().LogDropped; n != 990 {
			t.Errorf("%d lines dropped", n)
		}
	})
}

// TestIntercept_Registers: interceptors are user code, and may register more.
func TestIntercept_Registers(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		var once sync.Once
		io.Intercept(func(next socketio.Handler) socketio.Handler {
			once.Do(func() {
				join.On(io, func(context.Context, *socketio.Socket, string) (socketio.None, error) { return socketio.None{}, nil })
			})
			return next
		})
		if got := connected(t, io).ask(`["join","x"]`); got != `[]` {
			t.Errorf("acknowledgement %s", got)
		}
	})
}

// TestParser_OrderOfEvents: events that a parser encodes keep their order.
func TestParser_OrderOfEvents(t *testing.T) {
	t.Parallel()
	p := &trickyParser{encode: runtime.Gosched, open: idle, decode: idle}
	io := newServer(&socketio.Options{Parser: p})
	var _ packet.Parser = p
	c := dial(t, io)
	c.WriteText("0")
	c.connects()
	const writers, each = 8, 100
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				_ = said.Emit(t.Context(), io.To(socketio.Room(c.id)), fmt.Sprint(w, " ", i))
			}
		})
	}
	wg.Wait()
	next, last := make(map[int]int), adapter.Position(0)
	for range writers * each {
		var args []string
		text := c.ReadText()
		if err := json.Unmarshal([]byte(text[1:]), &args); err != nil {
			t.Fatal(err)
		}
		var w, i int
		if _, err := fmt.Sscan(args[1], &w, &i); err != nil || i != next[w] {
			t.Fatalf("writer %d: event %d, want %d", w, i, next[w])
		}
		next[w]++
		at, err := adapter.ParseOffset(args[2])
		if err != nil || at.Position <= last {
			t.Fatalf("position %d after %d, %v", at.Position, last, err)
		}
		last = at.Position
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c.Cut()
	do(t, io.Shutdown(ctx))
}

// TestConnecting_GoroutineEnds: the client gets an answer at once, however its CONNECT ends.
func TestConnecting_GoroutineEnds_ClientIsTold(t *testing.T) {
	t.Parallel()
	end := func() { runtime.Goexit() }
	for name, register := range map[string]func(io *socketio.Server){
		"middleware": func(io *socketio.Server) {
			io.Of("/n").Use(func(context.Context, *socketio.Socket) error { end(); return nil })
		},
		"connect": func(io *socketio.Server) {
			io.Of("/n").OnConnect(func(context.Context, *socketio.Socket) error { end(); return nil })
		},
		"function": func(io *socketio.Server) {
			io.OfFunc(func(context.Context, string, *socketio.Handshake) (bool, error) { end(); return true, nil })
		},
		"namespace": func(io *socketio.Server) {
			io.OfPattern(regexp.MustCompile("^/n$"))
			io.OnNamespace(func(*socketio.Namespace) { end() })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, nil, func(t *testing.T, io *socketio.Server) {
				register(io)
				p := dial(t, io)
				begun := time.Now()
				p.WriteText("0/n,")
				for {
					_, data, err := p.ReadMessage()
					if err != nil || strings.HasPrefix(string(data), "4/n,") {
						break
					}
				}
				if took := time.Since(begun); took > time.Second {
					t.Errorf("answered after %v", took)
				}
			})
		})
	}
}

// TestLogger_CallsTheServer: the server logs while it holds locks, and the handler of
// the logger may emit.
func TestLogger_CallsTheServer(t *testing.T) {
	t.Parallel()
	var io *socketio.Server
	lines := 0
	log := trickyHandler{enabled: idle, handle: func() {
		lines++
		if io != nil {
			_ = io.Stats()
			_ = said.Emit(context.Background(), io.To("administrators"), "a line")
		}
	}}
	bubble(t, &socketio.Options{Logger: slog.New(log), InboxEvents: 1}, func(t *testing.T, server *socketio.Server) {
		io = server
		released := make(chan struct{})
		io.OnAnyOutgoing(func(*socketio.Socket, *socketio.OutgoingEvent) { <-released })
		connected(t, io)
		lines = 0
		for i := range 5 {
			emit(t, io, fmt.Sprint(i))
		}
		close(released)
		synctest.Wait()
		if lines == 0 {
			t.Error("nothing was logged")
		}
	})
}

// TestLog_ClientsNames: names and values that a client chooses are truncated in lines and answers.
func TestLog_ClientsNames(t *testing.T) {
	t.Parallel()
	var log journal
	opts := &socketio.Options{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	bubble(t, opts, func(t *testing.T, io *socketio.Server) {
		io.OnAny(func(context.Context, *socketio.Message) { panic("boom") })
		number.On(io, func(context.Context, *socketio.Socket, int) error { return nil })
		p := connected(t, io)
		p.WriteText(`2["` + strings.Repeat("ä", 100_000) + `"]`)
		p.WriteText(`21["number",` + strings.Repeat("1", 200_000) + `]`)
		if got := p.ReadText(); len(got) > 1000 || !strings.HasPrefix(got, `31[{"error":{"code":"bad_payload"`) {
			t.Errorf("answer of %d bytes, %.100q", len(got), got)
		}
		synctest.Wait()
		if log.count("ää") == 0 || log.count("catch-all failed") != 2 || log.count("do not fit") != 1 {
			t.Errorf("%.1000s", log.text())
		}
		for line := range strings.Lines(log.text()) {
			if len(line) > 8<<10 {
				t.Errorf("line of %d bytes: %.200q", len(line), line)
			}
		}
	})
}
