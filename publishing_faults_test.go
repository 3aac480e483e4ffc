package socketio_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

func heldOptions(log *heldLog) *socketio.Options {
	return &socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: recovery.NewMemory(log.Memory)}}
}

// TestPublish_ReplyAfterAFailedPublish: a late or second reply may not pass as a success after a publish has failed.
func TestPublish_ReplyAfterAFailedPublish(t *testing.T) {
	t.Parallel()
	for _, early := range []bool{false, true} {
		t.Run(fmt.Sprint("kept reply ", early), func(t *testing.T) {
			t.Parallel()
			log := newHeldLog()
			var message *socketio.Message
			var late error
			opts := heldOptions(log)
			opts.ErrorReply = func(e *socketio.Error) any {
				late = message.Reply("success") // as another goroutine could at this moment
				return map[string]any{"code": e.Code}
			}
			bubble(t, opts, func(t *testing.T, io *socketio.Server) {
				io.Handle("later", func(ctx context.Context, m *socketio.Message) error {
					message = m
					err := said.Publish(ctx, io, "x")
					if early {
						err = errors.Join(err, m.Reply("early"))
					}
					return err
				})
				p := connected(t, io)
				p.WriteText(`21["later"]`)
				synctest.Wait()
				log.answer(1, errors.New("disk full"))
				synctest.Wait()
				if got := p.ReadText(); strings.Contains(got, "success") || !errors.Is(late, socketio.ErrReplied) {
					t.Errorf("acknowledged with %s after a publish has failed; Reply returned %v", got, late)
				}
			})
		})
	}
}

// one handler that publishes for long takes no more memory than one that emits.
//
//nolint:paralleltest // it measures memory
func TestPublish_HandlerThatPublishesForLong(t *testing.T) {
	const bound = 1 << 20
	grown := map[bool]int64{}
	for _, publish := range []bool{false, true} {
		bubble(t, &socketio.Options{InboxBytes: bound}, func(t *testing.T, io *socketio.Server) {
			done, stop := make(chan struct{}), make(chan struct{})
			nobody := io.To("empty")
			nothing.On(io, func(ctx context.Context, _ *socketio.Socket, _ socketio.None) error {
				emit := said.Emit
				if publish {
					emit = said.Publish
				}
				for range 150_000 {
					if err := emit(ctx, nobody, ""); err != nil {
						return err
					}
				}
				close(done)
				<-stop
				return nil
			})
			p := connected(t, io)
			before := heap()
			p.WriteText(`2["nothing"]`)
			<-done
			time.Sleep(time.Hour) // the retention of the log
			synctest.Wait()
			_ = said.Emit(t.Context(), nobody, "")
			grown[publish] = heap() - before
			close(stop)
		})
	}
	t.Logf("Emit %d KiB, Publish %d KiB", grown[false]>>10, grown[true]>>10)
	if grown[true] > grown[false]+4*bound {
		t.Error("events that are in the log are kept until the handler returns")
	}
}

// TestPublish_EventWaitsForRoom_ShutdownEnds_IsDropped: an event that waits when Shutdown gives up is counted as dropped, and no handler begins after that.
func TestPublish_EventWaitsForRoom_ShutdownEnds_IsDropped(t *testing.T) {
	t.Parallel()
	log := newHeldLog()
	opts := heldOptions(log)
	opts.InboxBytes = 2000
	held := make(chan struct{})
	opts.ErrorReply = func(*socketio.Error) any { <-held; return "" }
	synctest.Test(t, func(t *testing.T) {
		held = make(chan struct{})
		io := newServer(opts)
		var handled atomic.Int32
		io.Handle("big", func(ctx context.Context, m *socketio.Message) error {
			handled.Add(1)
			return errors.Join(said.Publish(ctx, io, ""), m.Reply(strings.Repeat("x", 5000)))
		})
		p := connected(t, io)
		p.WriteText(`21["big"]`)
		p.WriteText(`22["big"]`)
		synctest.Wait()
		log.answer(1, errors.New("disk full"))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		t.Log(io.Shutdown(ctx))
		n := handled.Load()
		close(held)
		synctest.Wait()
		if handled.Load() != n {
			t.Error("a handler began after Shutdown had returned an error")
		}
		log.mu.Lock()
		log.events = nil
		log.mu.Unlock()
	})
}

// A deliveredLog is a heldLog whose WaitDelivered waits for what was published before.
type deliveredLog struct{ *heldLog }

func (l deliveredLog) WaitDelivered(ctx context.Context) error {
	for l.published() != "" {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return l.heldLog.WaitDelivered(ctx)
}

type slowTracer struct{ *traceRecorder }

func (slowTracer) EndSpan(context.Context, *socketio.TraceSpan) { time.Sleep(5 * time.Millisecond) }

// TestPublish_NextHandlerDisconnects_AcknowledgementFirst: the server disconnects the socket in the handler of the next event.
func TestPublish_NextHandlerDisconnects_AcknowledgementFirst(t *testing.T) {
	t.Parallel()
	log := newHeldLog()
	opts := heldOptions(log)
	opts.Adapter = deliveredLog{log}
	opts.Tracer = slowTracer{&traceRecorder{node: "a"}}
	bubble(t, opts, func(t *testing.T, io *socketio.Server) {
		publishes(io)
		io.Handle("kick", func(ctx context.Context, m *socketio.Message) error {
			return m.Socket().Disconnect(ctx)
		})
		p := connected(t, io)
		p.WriteText(`21["post","1"]`)
		p.WriteText(`22["post","3"]`)
		p.WriteText(`2["kick"]`)
		time.Sleep(time.Second)
		if p.Waiting() > 0 {
			t.Error("before the log has answered: ", p.ReadText())
		}
		log.answer(2, nil)
		var got []string
		time.Sleep(time.Second)
		synctest.Wait()
		for p.Waiting() > 0 {
			got = append(got, p.ReadText())
		}
		if want := `[31["1"] 32["3"] 1]`; fmt.Sprint(got) != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

// TestPublish_BurstOfAcknowledgements: the answers to a client that reads all the time, after a pause of the log.
func TestPublish_BurstOfAcknowledgements(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ events, size int }{"many": {6000, 1}, "large": {230, 32 << 10}} {
		for _, publish := range []bool{true, false} {
			t.Run(fmt.Sprint(name, " publish ", publish), func(t *testing.T) {
				t.Parallel()
				log := newHeldLog()
				bubble(t, heldOptions(log), func(t *testing.T, io *socketio.Server) {
					post.On(io, func(ctx context.Context, _ *socketio.Socket, _ string) (string, error) {
						if publish {
							if err := said.Publish(ctx, io, ""); err != nil {
								return "", err
							}
						}
						return strings.Repeat("x", c.size), nil
					})
					var why atomic.Value
					io.OnDisconnect(func(_ *socketio.Socket, r socketio.Reason) { why.Store(r) })
					p := connected(t, io)
					for range c.events {
						p.WriteText(`27["post","1"]`)
					}
					synctest.Wait()
					log.answer(strings.Count(log.published(), "said"), nil)
					synctest.Wait()
					if io.Connections() != 1 || p.Waiting() != c.events {
						t.Errorf("disconnected: %v, %d answers", why.Load(), p.Waiting())
					}
				})
			})
		}
	}
}

// TestPublish_Endings: ways in which handlers end.
func TestPublish_Endings(t *testing.T) {
	t.Parallel()
	internal := `[{"error":{"code":"internal"}}]`
	for name, c := range map[string]struct {
		h    func(io *socketio.Server, ctx context.Context, m *socketio.Message) error
		ok   string
		fail string
	}{
		"panic": {func(io *socketio.Server, ctx context.Context, m *socketio.Message) error {
			_ = said.Publish(ctx, io, "x")
			panic("boom")
		}, internal, internal},
		"goexit": {func(io *socketio.Server, ctx context.Context, m *socketio.Message) error {
			_ = said.Publish(ctx, io, "x")
			runtime.Goexit()
			return nil
		}, internal, internal},
		"goexit replied": {func(io *socketio.Server, ctx context.Context, m *socketio.Message) error {
			_ = said.Publish(ctx, io, "x")
			_ = m.Reply("r")
			runtime.Goexit()
			return nil
		}, `["r"]`, internal},
		"reply then publish": {func(io *socketio.Server, ctx context.Context, m *socketio.Message) error {
			_ = m.Reply("r")
			return said.Publish(ctx, io, "x")
		}, `["r"]`, `["r"]`},
		"twice": {func(io *socketio.Server, ctx context.Context, m *socketio.Message) error {
			_ = said.Publish(ctx, io, "x")
			_ = m.Reply("r")
			if err := m.Reply("s"); !errors.Is(err, socketio.ErrReplied) {
				return err
			}
			return nil
		}, `["r"]`, internal},
		"derived": {func(io *socketio.Server, ctx context.Context, m *socketio.Message) error {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			_ = said.Publish(ctx, io, "x")
			cancel()
			return m.Reply("r")
		}, `["r"]`, internal},
		"unencodable": {func(io *socketio.Server, ctx context.Context, m *socketio.Message) error {
			_ = said.Publish(ctx, io, "x")
			return m.Reply(func() {})
		}, internal, internal},
	} {
		for _, catchAll := range []string{"", "goexit", "panic", "publishes"} {
			t.Run(name+" "+catchAll, func(t *testing.T) {
				t.Parallel()
				log := newHeldLog()
				bubble(t, heldOptions(log), func(t *testing.T, io *socketio.Server) {
					events := 1
					io.OnAny(func(ctx context.Context, _ *socketio.Message) {
						switch catchAll {
						case "goexit":
							runtime.Goexit()
						case "panic":
							panic("any")
						case "publishes":
							_ = said.Publish(ctx, io, "any")
						}
					})
					if catchAll == "publishes" {
						events = 2
					}
					io.Handle("e", func(ctx context.Context, m *socketio.Message) error { return c.h(io, ctx, m) })
					left := false
					io.OnDisconnect(func(*socketio.Socket, socketio.Reason) { left = true })
					p := connected(t, io)
					for _, fail := range []error{nil, errors.New("disk full")} {
						p.WriteText(`27["e"]`)
						synctest.Wait()
						early := p.Waiting()
						if early != 0 && (name != "reply then publish" || catchAll == "publishes") {
							t.Error("early answer")
						}
						log.answer(events, fail)
						want := c.ok
						if fail != nil {
							want = c.fail
							if catchAll == "publishes" {
								want = internal
							}
						}
						if got := p.ReadText(); got != "37"+want {
							t.Errorf("%v: got %s, want %s", fail, got, want)
						}
						synctest.Wait()
						if p.Waiting() != 0 {
							t.Errorf("another answer: %s", p.ReadText())
						}
					}
					p.WriteText(`27["e"]`)
					synctest.Wait()
					p.Cut()
					synctest.Wait()
					if !left {
						t.Error("OnDisconnect has not run")
					}
				})
			})
		}
	}
}

// TestPublish_LogNeverAnswers: a log that never answers.
func TestPublish_LogNeverAnswers(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*peer, *socketio.Server, *socketio.Socket){
		"close frame": func(p *peer, _ *socketio.Server, _ *socketio.Socket) { p.WriteRaw([]byte(closeFrame)) },
		"cut":         func(p *peer, _ *socketio.Server, _ *socketio.Socket) { p.Cut() },
		"disconnect":  func(p *peer, _ *socketio.Server, _ *socketio.Socket) { p.WriteText("1") },
		"Disconnect":  func(_ *peer, _ *socketio.Server, s *socketio.Socket) { _ = s.Disconnect(context.Background()) },
		"all": func(_ *peer, io *socketio.Server, s *socketio.Socket) {
			_ = io.Local().Disconnect(context.Background())
		},
		"CloseConn": func(_ *peer, _ *socketio.Server, s *socketio.Socket) { _ = s.CloseConnection(context.Background()) },
		"Shutdown":  func(_ *peer, io *socketio.Server, _ *socketio.Socket) { _ = io.Shutdown(context.Background()) },
		"takeover":  nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := newHeldLog()
			opts := heldOptions(log)
			if name != "disconnect" && name != "close frame" { // which are not read while the backlog is full
				opts.InboxBytes = 3000
			}
			bubble(t, opts, func(t *testing.T, io *socketio.Server) {
				publishes(io)
				var order []string
				io.OnDisconnect(func(_ *socketio.Socket, r socketio.Reason) { order = append(order, string(r)) })
				p := connected(t, io)
				s := only(t, io)
				for range 2 { // the second waits for room
					p.WriteText(`27["post","` + strings.Repeat("x", 2000) + `"]`)
				}
				synctest.Wait()
				began := time.Now()
				if end == nil {
					p.comeBackUncut(io)
				} else {
					end(p, io, s)
				}
				synctest.Wait()
				time.Sleep(map[bool]time.Duration{false: time.Second, true: time.Minute}[name == "cut"]) // which a connection that is not read does not notice
				synctest.Wait()
				if len(order) != 1 {
					t.Errorf("OnDisconnect: %v", order)
				}
				t.Log(time.Since(began), order, len(log.published()))
				for p.Waiting() > 0 {
					t.Logf("%.60s", p.ReadText())
				}
			})
		})
	}
}

type evilError struct{}

func (evilError) Error() string { runtime.Goexit(); return "" }
func (evilError) Unwrap() error { panic("evil") }

// TestPublish_EvilUserCode: errors, loggers and tracers that panic or end their goroutine.
func TestPublish_EvilUserCode(t *testing.T) {
	t.Parallel()
	log := newHeldLog()
	opts := heldOptions(log)
	opts.ErrorReply = func(*socketio.Error) any { runtime.Goexit(); return nil }
	bubble(t, opts, func(t *testing.T, io *socketio.Server) {
		io.Handle("e", func(ctx context.Context, m *socketio.Message) error {
			_ = said.Publish(ctx, io, "x")
			return evilError{}
		})
		publishes(io)
		p := connected(t, io)
		for _, fail := range []error{nil, errors.New("x")} {
			p.WriteText(`21["e"]`)
			p.WriteText(`22["post","1"]`)
			synctest.Wait()
			log.answer(2, fail)
			t.Log(p.ReadText(), p.ReadText())
		}
	})
}

var _ = adapter.ErrQueueFull
