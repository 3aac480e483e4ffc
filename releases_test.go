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

// lateEnds is a store that ends sessions on demand.
type lateEnds struct {
	slowClaims

	mu    sync.Mutex
	ready chan struct{}
	ended int
}

func (l *lateEnds) End(k recovery.Key, e recovery.Release) *adapter.Receipt {
	out := adapter.NewOutcome()
	result := l.slowClaims.End(k, e)
	go func() {
		<-l.ready
		l.mu.Lock()
		l.ended++
		l.mu.Unlock()
		out.Complete(result.Wait(context.Background()))
	}()
	return out.Receipt(0)
}

// Shutdown waits until every session is durable: also those of clients that left before it,
// or were about to be connected.
func TestShutdown_SessionsOfClientsThatAreBeingConnected_AreDurable(t *testing.T) {
	t.Parallel()
	for name, connecting := range map[string]bool{"about to be connected": true, "gone before": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				log := adapter.NewMemory(nil)
				store := &lateEnds{slowClaims: slowClaims{Memory: recovery.NewMemory(log), slow: make(chan struct{})}, ready: make(chan struct{})}
				io := newServer(&socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: store}})
				p := connected(t, io)
				p.Cut()
				synctest.Wait()
				want := 1
				if connecting {
					close(store.ready)
					synctest.Wait()
					store.ready = make(chan struct{})
					back := dial(t, io)
					back.WriteText("0" + p.ticket())
					synctest.Wait() // being claimed
					want = 2
				}
				done := make(chan error, 1)
				go func() { done <- io.Shutdown(t.Context()) }()
				time.Sleep(time.Second)
				close(store.slow)
				synctest.Wait()
				select {
				case err := <-done:
					t.Errorf("Shutdown returned %v before the session was durable", err)
				default:
				}
				close(store.ready)
				if err := <-done; err != nil {
					t.Error(err)
				}
				if store.ended != want {
					t.Errorf("%d sessions ended, want %d", store.ended, want)
				}
			})
		})
	}
}
