package socketio_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// slowpoke is a store whose writes become durable on demand.
type slowpoke struct {
	*recovery.Memory

	mu     sync.Mutex
	slow   bool
	writes []func()
	ended  []recovery.Release
}

func (p *slowpoke) later(o *adapter.Receipt) *adapter.Receipt {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.slow {
		return o
	}
	known := adapter.NewOutcome()
	p.writes = append(p.writes, func() { known.Complete(o.Wait(context.Background())) })
	return known.Receipt(0)
}

func (p *slowpoke) Open(s *recovery.Session) *adapter.Receipt { return p.later(p.Memory.Open(s)) }

func (p *slowpoke) Change(k recovery.Key, c recovery.Change) *adapter.Receipt {
	return p.later(p.Memory.Change(k, c))
}

func (p *slowpoke) End(k recovery.Key, e recovery.Release) *adapter.Receipt {
	p.mu.Lock()
	p.ended = append(p.ended, e)
	p.mu.Unlock()
	return p.later(p.Memory.End(k, e))
}

// slowDown makes writes wait, or completes the ones that wait.
func (p *slowpoke) slowDown(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slow = on
	for _, write := range p.writes {
		write()
	}
	p.writes = nil
}

// withSlowpoke runs test on a server whose store is a slowpoke.
func withSlowpoke(t *testing.T, test func(t *testing.T, io *socketio.Server, store *slowpoke)) {
	t.Helper()
	log := adapter.NewMemory(nil)
	store := &slowpoke{Memory: recovery.NewMemory(log)}
	bubble(t, &socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: store}}, func(t *testing.T, io *socketio.Server) {
		test(t, io, store)
		store.slowDown(false)
	})
}

// TestChange_Returns_WhenDurable: a change that was confirmed survives the death of the node.
func TestChange_Returns_WhenDurable(t *testing.T) {
	t.Parallel()
	changes := map[string]func(context.Context, *socketio.Socket) error{
		"Join":        func(ctx context.Context, s *socketio.Socket) error { return s.Join(ctx, "new") },
		"Leave":       func(ctx context.Context, s *socketio.Socket) error { return s.Leave(ctx, "old") },
		"Data.Set":    func(ctx context.Context, s *socketio.Socket) error { return mood.Set(ctx, s, "good") },
		"Data.Delete": func(ctx context.Context, s *socketio.Socket) error { return mood.Delete(ctx, s) },
		"Disconnect":  func(ctx context.Context, s *socketio.Socket) error { return s.Disconnect(ctx) },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			withSlowpoke(t, func(t *testing.T, io *socketio.Server, store *slowpoke) {
				connected(t, io)
				s := only(t, io)
				if err := s.Join(t.Context(), "old"); err != nil {
					t.Fatal(err)
				}
				if err := mood.Set(t.Context(), s, "bad"); err != nil {
					t.Fatal(err)
				}
				store.slowDown(true)
				returned := make(chan error, 1)
				go func() { returned <- change(t.Context(), s) }()
				time.Sleep(time.Second)
				if len(returned) != 0 {
					t.Error("it returned before it was durable")
				}
				store.slowDown(false)
				if err := <-returned; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestOpen_NotDurableInTime: its client is disconnected without an id, and the session is ended in case it was stored.
func TestOpen_NotDurableInTime(t *testing.T) {
	t.Parallel()
	withSlowpoke(t, func(t *testing.T, io *socketio.Server, store *slowpoke) {
		store.slowDown(true)
		p := dial(t, io)
		p.WriteText("0")
		p.timesOut()
		synctest.Wait()
		store.mu.Lock()
		defer store.mu.Unlock()
		if len(store.ended) != 1 || store.ended[0].Park {
			t.Errorf("ended as %+v, want once and for good", store.ended)
		}
	})
}

// TestDisconnect_BeforeConnected_SendsConnectError: by a CONNECT_ERROR, and nothing else.
func TestDisconnect_BeforeConnected_SendsConnectError(t *testing.T) {
	t.Parallel()
	const told = `4{"message":"disconnected","data":{"code":"disconnected"}}`
	t.Run("by middleware", func(t *testing.T) {
		t.Parallel()
		bubble(t, nil, func(t *testing.T, io *socketio.Server) {
			io.Use(func(ctx context.Context, s *socketio.Socket) error { return s.Disconnect(ctx) })
			p := dial(t, io)
			p.WriteText("0")
			if got := p.ReadText(); got != told {
				t.Errorf("answer %s", got)
			}
			synctest.Wait()
			if n := p.Waiting(); n != 0 {
				t.Errorf("%d messages more", n)
			}
		})
	})
	t.Run("while its session is written", func(t *testing.T) {
		t.Parallel()
		withSlowpoke(t, func(t *testing.T, io *socketio.Server, store *slowpoke) {
			asked := make(chan *socketio.Socket, 1)
			io.Use(func(_ context.Context, s *socketio.Socket) error {
				asked <- s
				return nil
			})
			store.slowDown(true)
			p := dial(t, io)
			p.WriteText("0")
			s := <-asked
			synctest.Wait()
			go func() { _ = s.Disconnect(t.Context()) }() // the result does not matter here
			synctest.Wait()
			store.slowDown(false)
			if got := p.ReadText(); got != told {
				t.Errorf("answer %s", got)
			}
			synctest.Wait()
			if n := p.Waiting(); n != 0 {
				t.Errorf("%d messages more", n)
			}
		})
	})
}

// TestDisconnect_ClientMayReconnectAtOnce: before the server has removed the former socket.
func TestDisconnect_ClientMayReconnectAtOnce(t *testing.T) {
	t.Parallel()
	no := func(context.Context, *socketio.Socket) error { return &socketio.Error{Message: "no"} }
	for name, answers := range map[string]int{"by middleware": 1, "by OnConnect": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			io := newServer(&socketio.Options{ConnectsPerSecond: -1})
			if answers == 1 {
				io.Use(no)
			} else {
				io.OnConnect(no)
			}
			p := dial(t, io)
			for i := range 5000 { // closed one in some thousands
				p.WriteText("0")
				for range answers {
					if _, _, err := p.ReadMessage(); err != nil {
						t.Fatalf("the connection was closed at the attempt %d: %v", i, err)
					}
				}
			}
			p.Cut()
			if err := io.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
