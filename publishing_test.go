package socketio_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// A heldLog answers for events only when the test says so.
type heldLog struct {
	*adapter.Memory

	refuse error // for events, in place of a receipt

	mu     sync.Mutex
	events []heldEvent
}

type heldEvent struct {
	payload string
	outcome *adapter.Outcome
}

func newHeldLog() *heldLog { return &heldLog{Memory: adapter.NewMemory(nil)} }

func (l *heldLog) Publish(ctx context.Context, e *adapter.Envelope) (*adapter.Receipt, error) {
	if e.Kind != adapter.Event {
		return l.Memory.Publish(ctx, e)
	}
	if l.refuse != nil {
		return nil, l.refuse
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	o := adapter.NewOutcome()
	l.events = append(l.events, heldEvent{string(e.Payload), o})
	return o.Receipt(0), nil
}

// published returns the payloads without an answer.
func (l *heldLog) published() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for _, e := range l.events {
		all = append(all, e.payload)
	}
	return strings.Join(all, " ")
}

// answer answers for the oldest n events.
func (l *heldLog) answer(n int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events[:n] {
		e.outcome.Complete(err)
	}
	l.events = l.events[n:]
}

const post socketio.Request[string, string] = "post"

// publishes publishes what clients post, twice if it ends in 2, and replies with it.
func publishes(io *socketio.Server) {
	post.On(io, func(ctx context.Context, _ *socketio.Socket, text string) (string, error) {
		err := said.Publish(ctx, io, text)
		if strings.HasSuffix(text, "2") {
			err = errors.Join(err, said.Publish(ctx, io, text+"'"))
		}
		return text, err
	})
}

func TestPublish_AcknowledgementsWaitForTheLog(t *testing.T) {
	t.Parallel()
	log := newHeldLog()
	bubble(t, &socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: recovery.NewMemory(log.Memory)}}, func(t *testing.T, io *socketio.Server) {
		publishes(io)
		p := connected(t, io)
		for i := 1; i <= 3; i++ {
			p.WriteText(fmt.Sprintf(`2%d["post","%d"]`, i, i))
		}
		synctest.Wait()
		if got, want := log.published(), `["said","1"] ["said","2"] ["said","2'"] ["said","3"]`; got != want {
			t.Errorf("published %s, want %s", got, want)
		}
		for _, c := range []struct {
			appended int
			answers  []string
		}{{0, nil}, {1, []string{`31["1"]`}}, {1, nil}, {1, []string{`32["2"]`}}, {1, []string{`33["3"]`}}} {
			log.answer(c.appended, nil)
			synctest.Wait()
			if n := p.Waiting(); n != len(c.answers) {
				t.Fatalf("%d answers, want %d", n, len(c.answers))
			}
			for _, want := range c.answers {
				if got := p.ReadText(); got != want {
					t.Errorf("answer %s, want %s", got, want)
				}
			}
		}
	})
}

// TestPublish_Fails_IsAnError: the peer receives an error in place of the answer, which a handler may have given already,
// and one line is logged.
func TestPublish_Fails_IsAnError(t *testing.T) {
	t.Parallel()
	logged := &errorLines{}
	log := newHeldLog()
	bubble(t, &socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: recovery.NewMemory(log.Memory)}, Logger: slog.New(logged)}, func(t *testing.T, io *socketio.Server) {
		publishes(io)
		io.Handle("replies", func(ctx context.Context, m *socketio.Message) error {
			err := said.Publish(ctx, io, "r")
			return errors.Join(err, m.Reply("published"))
		})
		io.Handle("fails", func(ctx context.Context, _ *socketio.Message) error {
			return errors.Join(said.Publish(ctx, io, "f"), &socketio.Error{Code: "mine"})
		})
		p := connected(t, io)
		internal := `[{"error":{"code":"internal"}}]`
		for i, c := range []struct {
			event  string
			events int
			want   string
		}{
			{`["post","1"]`, 1, internal},
			{`["post","2"]`, 2, internal},
			{`["replies"]`, 1, internal},
			{`["fails"]`, 1, `[{"error":{"code":"mine"}}]`},
		} {
			p.WriteText("27" + c.event)
			synctest.Wait()
			log.answer(c.events, errors.New("disk full"))
			synctest.Wait()
			if p.Waiting() != 1 {
				t.Fatalf("%s: %d answers", c.event, p.Waiting())
			}
			if got := strings.TrimPrefix(p.ReadText(), "37"); got != c.want {
				t.Errorf("%s: answered with %s, want %s", c.event, got, c.want)
			}
			if n := logged.count("disk full"); n != i+1 {
				t.Errorf("%s: %d lines about the error, want %d", c.event, n, i+1)
			}
		}
		p.WriteText(`2["post","1"]`) // without a callback
		synctest.Wait()
		log.answer(1, errors.New("disk full"))
		synctest.Wait()
		if n := logged.count("disk full"); n != 5 || p.Waiting() != 0 {
			t.Errorf("%d lines, %d answers", n, p.Waiting())
		}
	})
}

// errorLines are the log lines at level Error.
type errorLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *errorLines) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelError
}

func (l *errorLines) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := r.Message
	r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
	l.lines = append(l.lines, line)
	return nil
}

func (l *errorLines) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *errorLines) WithGroup(string) slog.Handler      { return l }

func (l *errorLines) count(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// TestPublish_NotInAHandler_WaitsForTheLog: with another context, and when the handler has returned, there is no
// acknowledgement that could wait.
func TestPublish_NotInAHandler_WaitsForTheLog(t *testing.T) {
	t.Parallel()
	log := newHeldLog()
	bubble(t, &socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: recovery.NewMemory(log.Memory)}}, func(t *testing.T, io *socketio.Server) {
		var wg sync.WaitGroup
		late := make(chan context.Context, 1)
		nothing.On(io, func(ctx context.Context, _ *socketio.Socket, _ socketio.None) error {
			late <- ctx
			return nil
		})
		p := connected(t, io)
		p.WriteText(`2["nothing"]`)
		synctest.Wait()
		results := make(chan error, 2)
		for _, ctx := range []context.Context{t.Context(), <-late} {
			wg.Go(func() { results <- said.Publish(ctx, io, "x") })
		}
		synctest.Wait()
		if len(results) != 0 {
			t.Error("Publish did not wait")
		}
		refused := errors.New("disk full")
		log.answer(2, refused)
		wg.Wait()
		for range 2 {
			if err := <-results; !errors.Is(err, refused) {
				t.Errorf("got %v, want %v", err, refused)
			}
		}
	})
}

// TestPublish_ReplyAfterTheHandler: a reply of a goroutine waits like one of the handler.
func TestPublish_ReplyAfterTheHandler(t *testing.T) {
	t.Parallel()
	log := newHeldLog()
	bubble(t, &socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: recovery.NewMemory(log.Memory)}}, func(t *testing.T, io *socketio.Server) {
		messages := make(chan *socketio.Message, 2)
		io.Handle("later", func(ctx context.Context, m *socketio.Message) error {
			messages <- m
			return said.Publish(ctx, io, "x")
		})
		p := connected(t, io)
		p.WriteText(`21["later"]`)
		p.WriteText(`22["later"]`)
		synctest.Wait()
		m := <-messages
		replied := make(chan error, 1)
		go func() { replied <- m.Reply("before") }()
		synctest.Wait()
		if p.Waiting() != 0 {
			t.Error("replied before the event was in the log")
		}
		log.answer(2, nil)
		if got := p.ReadText(); got != `31["before"]` {
			t.Error(got)
		}
		if err := <-replied; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		m = <-messages
		if err := m.Reply("after"); err != nil {
			t.Error(err)
		}
		if got := p.ReadText(); got != `32["after"]` {
			t.Error(got)
		}
		if err := m.Reply("again"); !errors.Is(err, socketio.ErrReplied) {
			t.Errorf("got %v", err)
		}
	})
}

// TestPublish_ClientLeaves_NothingWaits: OnDisconnect runs although the log does not answer, and the event stays published.
func TestPublish_ClientLeaves_NothingWaits(t *testing.T) {
	t.Parallel()
	log := newHeldLog()
	bubble(t, &socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: recovery.NewMemory(log.Memory)}}, func(t *testing.T, io *socketio.Server) {
		publishes(io)
		left := make(chan struct{})
		io.OnDisconnect(func(*socketio.Socket, socketio.Reason) { close(left) })
		p := connected(t, io)
		p.WriteText(`21["post","1"]`)
		synctest.Wait()
		p.Cut()
		<-left
		if got := log.published(); got != `["said","1"]` {
			t.Error(got)
		}
	})
}

// TestPublish_AnswersBeforeTheEnd: the answers come before the close frame, whether the client or the server closes the
// connection, and OnDisconnect after them.
func TestPublish_AnswersBeforeTheEnd(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*peer, *socketio.Server){
		"close frame": func(p *peer, _ *socketio.Server) { p.WriteRaw([]byte(closeFrame)) },
		"Shutdown":    func(_ *peer, io *socketio.Server) { go func() { _ = io.Shutdown(context.Background()) }() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := newHeldLog()
			bubble(t, &socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: recovery.NewMemory(log.Memory)}}, func(t *testing.T, io *socketio.Server) {
				publishes(io)
				left := false
				io.OnDisconnect(func(*socketio.Socket, socketio.Reason) { left = true })
				p := connected(t, io)
				p.WriteText(`21["post","1"]`)
				p.WriteText(`22["post","3"]`)
				synctest.Wait()
				end(p, io)
				time.Sleep(time.Millisecond)
				synctest.Wait()
				if p.Waiting() != 0 || left {
					t.Fatal("ended before the answers")
				}
				log.answer(2, nil)
				for _, want := range []string{`31["1"]`, `32["3"]`} {
					if got := p.ReadText(); got != want {
						t.Errorf("got %s, want %s", got, want)
					}
				}
				p.closed()
				synctest.Wait()
				if !left {
					t.Error("OnDisconnect has not run")
				}
			})
		})
	}
}

func TestPublish_Refused_IsTheErrorOfTheCall(t *testing.T) {
	t.Parallel()
	log := newHeldLog()
	log.refuse = adapter.ErrQueueFull
	bubble(t, &socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: recovery.NewMemory(log.Memory)}}, func(t *testing.T, io *socketio.Server) {
		post.On(io, func(ctx context.Context, _ *socketio.Socket, _ string) (string, error) {
			return fmt.Sprint(said.Publish(ctx, io, "x")), nil
		})
		p := connected(t, io)
		if got := p.ask(`["post","1"]`); !strings.Contains(got, adapter.ErrQueueFull.Error()) {
			t.Error(got)
		}
	})
}

func TestPublish_IsOneTrace(t *testing.T) {
	t.Parallel()
	log := newHeldLog()
	tracer := &traceRecorder{node: "a"}
	bubble(t, &socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: recovery.NewMemory(log.Memory)}, Tracer: tracer}, func(t *testing.T, io *socketio.Server) {
		publishes(io)
		p := connected(t, io)
		p.WriteText(`21["post","1"]`)
		synctest.Wait()
		log.answer(1, nil)
		p.ReadText()
		synctest.Wait()
		got := strings.Join(tracer.ended, "\n")
		if want := "a:connect \na:handle post > a:emit said\na:handle post replied"; got != want {
			t.Errorf("spans\n%s\nwant\n%s", got, want)
		}
	})
}

// TestPublish_HeapBound: events whose publishes wait for the log count for InboxBytes, with their replies.
//
//nolint:paralleltest // it measures memory
func TestPublish_HeapBound(t *testing.T) {
	const bound = 4 << 20
	for name, size := range map[string]int{"small replies": 1, "large replies": 32 << 10} {
		t.Run(name, func(t *testing.T) {
			log := newHeldLog()
			opts := &socketio.Options{
				Adapter: log, Recovery: socketio.Recovery{Store: recovery.NewMemory(log.Memory)}, InboxBytes: bound, InboxEvents: 1 << 30,
			}
			bubble(t, opts, func(t *testing.T, io *socketio.Server) {
				post.On(io, func(ctx context.Context, _ *socketio.Socket, _ string) (string, error) {
					return strings.Repeat("x", size), said.Publish(ctx, io, "")
				})
				p := connected(t, io)
				before := heap()
				var stopped atomic.Bool
				var sent atomic.Int64
				go func() {
					for !stopped.Load() && io.Connections() == 1 {
						p.WriteRaw(clientFrame(1, `427["post",""]`))
						sent.Add(1)
					}
				}()
				synctest.Wait() // until the server reads no more
				grown := heap() - before
				t.Logf("%d events: %d KiB", sent.Load(), grown>>10)
				if most := int64(2 * bound); grown > most || grown < bound/8 { // the log of the test keeps events as well
					t.Errorf("the heap has grown by %d KiB, want %d at most", grown>>10, most>>10)
				}
				stopped.Store(true)
				p.Cut()
			})
		})
	}
}

// TestEvent_Acknowledged: a client may wait for the acknowledgement of an event; with its option retries it does.
func TestEvent_Acknowledged(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		said.On(io, func(_ context.Context, _ *socketio.Socket, text string) error {
			if text == "" {
				return &socketio.Error{Code: "empty"}
			}
			return nil
		})
		p := connected(t, io)
		for event, want := range map[string]string{`["said","x"]`: `[]`, `["said",""]`: `[{"error":{"code":"empty"}}]`} {
			if got := p.ask(event); got != want {
				t.Errorf("%s: acknowledged with %s, want %s", event, got, want)
			}
		}
		p.WriteText(`2["said","x"]`)
		synctest.Wait()
		if n := p.Waiting(); n != 0 {
			t.Errorf("%d answers to a client that waits for none", n)
		}
	})
}
