package socketio_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
)

// TestMaxConnections_ClientLeavesEventsBehind: a client cannot have more events waiting for
// slow handlers than its connections allow, by connecting again.
func TestMaxConnections_ClientLeavesEventsBehind(t *testing.T) {
	t.Parallel()
	bubble(t, &socketio.Options{MaxConnections: 2}, func(t *testing.T, io *socketio.Server) {
		released := make(chan struct{})
		var handled atomic.Int64
		nothing.On(io, func(context.Context, *socketio.Socket, socketio.None) error {
			<-released
			handled.Add(1)
			return nil
		})
		for range 2 {
			p := connected(t, io)
			for range 3 {
				p.WriteText(`2["nothing"]`)
			}
			synctest.Wait()
			p.Cut()
			synctest.Wait()
		}
		if st := io.Stats(); st.Connections != 0 {
			t.Errorf("%d connections", st.Connections)
		}
		if code := askFor(t, io); code != http.StatusServiceUnavailable {
			t.Errorf("status %d", code)
		}
		close(released)
		synctest.Wait()
		if code := askFor(t, io); code != http.StatusOK || handled.Load() != 6 {
			t.Errorf("status %d after %d events", code, handled.Load())
		}
	})
}

// TestMaxConnections_ShutdownWithEventsLeftBehind: the wait for them ends.
func TestMaxConnections_ShutdownWithEventsLeftBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		io := newServer(nil)
		released := make(chan struct{})
		nothing.On(io, func(context.Context, *socketio.Socket, socketio.None) error { <-released; return nil })
		p := connected(t, io)
		p.WriteText(`2["nothing"]`)
		p.WriteText(`2["nothing"]`)
		synctest.Wait()
		p.Cut()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := io.Shutdown(ctx); err == nil {
			t.Error("no error")
		}
		close(released)
	})
}

// TestMaxConnections_ClientLeavesUserCodeBehind: a client cannot have more functions of the application running either.
func TestMaxConnections_ClientLeavesUserCodeBehind(t *testing.T) {
	t.Parallel()
	for name, register := range map[string]func(io *socketio.Server, work func()){
		"middleware": func(io *socketio.Server, work func()) {
			io.Use(func(context.Context, *socketio.Socket) error { work(); return nil })
		},
		"OnConnect": func(io *socketio.Server, work func()) {
			io.OnConnect(func(context.Context, *socketio.Socket) error { work(); return nil })
		},
		"OnDisconnect": func(io *socketio.Server, work func()) {
			io.OnDisconnect(func(*socketio.Socket, socketio.Reason) { work() })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, &socketio.Options{MaxConnections: 2}, func(t *testing.T, io *socketio.Server) {
				released := make(chan struct{})
				register(io, func() { <-released })
				for range 2 {
					p := dial(t, io)
					p.WriteText("0")
					synctest.Wait()
					p.Cut()
					synctest.Wait()
				}
				if code := askFor(t, io); code != http.StatusServiceUnavailable {
					t.Errorf("status %d while they run", code)
				}
				close(released)
				synctest.Wait()
				if code := askFor(t, io); code != http.StatusOK {
					t.Errorf("status %d when they have ended", code)
				}
			})
		})
	}
}

// askFor returns the status of a request for a session.
func askFor(t *testing.T, io *socketio.Server) int {
	t.Helper()
	w := httptest.NewRecorder()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	io.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/socket.io/?EIO=4&transport=polling", nil))
	return w.Code
}
