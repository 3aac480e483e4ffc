package socketio_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
)

// TestShutdown_WaitingEvents_Handled: received events are handled while the client is
// connected, so that it receives its answers.
func TestShutdown_WaitingEvents_Handled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		io := newServer(nil)
		handled := 0
		which.On(io, func(ctx context.Context, _ *socketio.Socket, _ socketio.None) (int, error) {
			time.Sleep(time.Second)
			handled++
			return handled, ctx.Err()
		})
		p, other := connected(t, io), connected(t, io)
		for i := range 5 {
			p.WriteText(fmt.Sprintf(`2%d["which"]`, i))
		}
		synctest.Wait()
		if err := io.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		for i := range 5 {
			if got, want := p.ReadText(), fmt.Sprintf("3%d[%d]", i, i+1); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		p.closed()
		other.closed()
		if st := io.Stats(); handled != 5 || st.Parked != 2 {
			t.Errorf("%d events handled, %+v", handled, st)
		}
	})
}

// TestShutdown_RunningHandler_Finishes: an event that is being handled is answered, and its
// context ends only with the connection.
func TestShutdown_RunningHandler_Finishes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		io := newServer(nil)
		which.On(io, func(ctx context.Context, _ *socketio.Socket, _ socketio.None) (int, error) {
			time.Sleep(time.Second)
			return 1, ctx.Err()
		})
		p := connected(t, io)
		p.WriteText(`20["which"]`)
		synctest.Wait()
		if err := io.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if got, want := p.ReadText(), "30[1]"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

// TestShutdown_HandlerWaitsForTheEnd: the context of a handler that waits for its
// socket's end ends after half of the time, and the events behind it are handled.
func TestShutdown_HandlerWaitsForTheEnd(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		events int // behind the first
		left   time.Duration
		took   time.Duration
	}{
		"alone":            {0, 10 * time.Second, 5 * time.Second},
		"others behind it": {3, 10 * time.Second, 5 * time.Second},
		"without deadline": {3, 0, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				io := newServer(nil)
				handled := 0
				hold.On(io, func(ctx context.Context, _ *socketio.Socket, _ socketio.None) error {
					<-ctx.Done()
					handled++
					return nil
				})
				p := connected(t, io)
				for range 1 + c.events {
					p.WriteText(`2["hold"]`)
				}
				synctest.Wait()
				ctx := t.Context()
				if c.left > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, c.left)
					defer cancel()
				}
				began := time.Now()
				if err := io.Shutdown(ctx); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took != c.took || handled != 1+c.events {
					t.Errorf("%d events handled, in %v", handled, took)
				}
			})
		})
	}
}

// TestShutdown_EventsNotHandled_Error: the error contains the number of dropped events.
func TestShutdown_EventsNotHandled_Error(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		io := newServer(nil)
		handled := 0
		hold.On(io, func(context.Context, *socketio.Socket, socketio.None) error {
			time.Sleep(time.Minute)
			handled++
			return nil
		})
		p := connected(t, io)
		for range 5 {
			p.WriteText(`2["hold"]`)
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		err := io.Shutdown(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "3 events of clients were not handled") {
			t.Errorf("got %v", err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if handled != 2 { // the second was being handled when the time was over
			t.Errorf("%d events were handled", handled)
		}
	})
}

// TestShutdown_FullInbox: a connection that is not read does not delay it.
func TestShutdown_FullInbox(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		io := newServer(&socketio.Options{InboxEvents: 2})
		handled := 0
		hold.On(io, func(context.Context, *socketio.Socket, socketio.None) error {
			time.Sleep(time.Second)
			handled++
			return nil
		})
		p := connected(t, io)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 100 {
				p.WriteRaw(clientFrame(1, `42["hold"]`))
			}
		}()
		synctest.Wait()
		if err := io.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		<-done
		synctest.Wait()
		if handled < 3 {
			t.Errorf("%d events were handled", handled)
		}
	})
}
