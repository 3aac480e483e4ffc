package socketio_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// blockingStore is a store that opens sessions on demand, and counts the ones that
// wait.
type blockingStore struct {
	*recovery.Memory

	open    chan struct{} // closed when all may enter
	refuses atomic.Bool
	waiting atomic.Int64
}

func (d *blockingStore) Open(s *recovery.Session) *adapter.Receipt {
	d.waiting.Add(1)
	made, known := d.Memory.Open(s), adapter.NewOutcome()
	go func() {
		<-d.open
		if d.refuses.Load() {
			known.Complete(errors.New("no"))
			return
		}
		known.Complete(made.Wait(context.Background()))
	}()
	return known.Receipt(0)
}

func TestAdmission_ConnectionStorm_IsLimited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := adapter.NewMemory(nil)
		store := &blockingStore{Memory: recovery.NewMemory(log), open: make(chan struct{})}
		io := newServer(&socketio.Options{ConnectsAtOnce: 2, Adapter: log, Recovery: socketio.Recovery{Store: store}})
		var clients []*peer
		for range 10 {
			p := dial(t, io)
			p.WriteText("0")
			synctest.Wait() // so that they wait in this order
			clients = append(clients, p)
		}
		if n := store.waiting.Load(); n != 2 {
			t.Errorf("%d sessions are being opened at a time", n)
		}
		clients[9].Cut() // one that disconnects while it waits acquires no permit
		synctest.Wait()
		close(store.open)
		for _, p := range clients[:9] {
			p.connects()
		}
		synctest.Wait()
		if n := store.waiting.Load(); n != 9 {
			t.Errorf("%d sessions were opened, want 9", n)
		}
		store.refuses.Store(true)
		for range 3 { // a failure returns the permit
			p := dial(t, io)
			p.WriteText("0")
			p.closed()
		}
		store.refuses.Store(false)
		connected(t, io)
		emit(t, io, "to all")
		for _, p := range clients[:9] {
			p.wantEvents("said to all")
		}
		if err := io.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestAdmission_SlowClient_HoldsNoPermit(t *testing.T) {
	t.Parallel()
	atOnce := func(t *testing.T, io *socketio.Server) {
		t.Helper()
		began := time.Now()
		connected(t, io)
		if took := time.Since(began); took > time.Second {
			t.Errorf("the next one is connected after %v", took)
		}
	}
	t.Run("middleware", func(t *testing.T) {
		t.Parallel()
		bubble(t, &socketio.Options{ConnectsAtOnce: 1}, func(t *testing.T, io *socketio.Server) {
			answer := make(chan struct{})
			var asked atomic.Int64
			io.Use(func(ctx context.Context, _ *socketio.Socket) error {
				if asked.Add(1) > 1 {
					return nil
				}
				select {
				case <-answer:
				case <-ctx.Done():
				}
				return nil
			})
			slow := dial(t, io)
			slow.WriteText("0")
			synctest.Wait()
			atOnce(t, io)
			close(answer)
			slow.connects()
		})
	})
	t.Run("connect handler", func(t *testing.T) {
		t.Parallel()
		bubble(t, &socketio.Options{ConnectsAtOnce: 1}, func(t *testing.T, io *socketio.Server) {
			var greeted atomic.Int64
			io.OnConnect(func(ctx context.Context, _ *socketio.Socket) error {
				if greeted.Add(1) == 1 {
					<-ctx.Done()
				}
				return nil
			})
			connected(t, io)
			atOnce(t, io)
		})
	})
	t.Run("slow reader", func(t *testing.T) {
		t.Parallel()
		opts := &socketio.Options{ConnectsAtOnce: 1, QueueMessages: 64, WriteTimeout: time.Hour}
		bubble(t, opts, func(t *testing.T, io *socketio.Server) {
			p := connected(t, io)
			p.Cut()
			var want []string
			for i := range 1000 {
				emit(t, io, fmt.Sprint(i))
				want = append(want, fmt.Sprint("said ", i))
			}
			back := dial(t, io)
			back.Pause()
			back.WriteText("0" + p.ticket())
			synctest.Wait()
			atOnce(t, io)
			back.Resume()
			back.connects()
			synctest.Wait()
			back.wantEvents(want...)
		})
	})
}
