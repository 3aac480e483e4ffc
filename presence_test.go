package socketio_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
)

// recorder records the calls of OnConnect and OnDisconnect.
type recorder struct {
	mu     sync.Mutex
	calls  []string
	online map[socketio.SocketID]bool
}

func keepDiary(io *socketio.Server) *recorder {
	d := &recorder{online: make(map[socketio.SocketID]bool)}
	note := func(what string, id socketio.SocketID, online bool) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.calls = append(d.calls, what)
		d.online[id] = online
	}
	io.OnConnect(func(_ context.Context, s *socketio.Socket) error { note("connect", s.ID(), true); return nil })
	io.OnDisconnect(func(s *socketio.Socket, _ socketio.Reason) { note("disconnect", s.ID(), false) })
	return d
}

func (d *recorder) want(t *testing.T, id string, online bool, calls ...string) {
	t.Helper()
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if got := fmt.Sprint(d.calls); got != fmt.Sprint(calls) || d.online[socketio.SocketID(id)] != online {
		t.Errorf("calls %s, online %v", got, d.online[socketio.SocketID(id)])
	}
}

func TestOnConnect_HandlerOfTheFormerConnectionStillRuns_ComesAfterOnDisconnect(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]bool{"noticed": true, "not noticed": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, nil, func(t *testing.T, io *socketio.Server) {
				d := keepDiary(io)
				var handled []string
				nothing.On(io, func(context.Context, *socketio.Socket, socketio.None) error { time.Sleep(time.Second); return nil })
				said.On(io, func(_ context.Context, s *socketio.Socket, v string) error { handled = append(handled, v); return nil })
				p := connected(t, io)
				p.WriteText(`2["nothing"]`)
				synctest.Wait()
				var back *peer
				for range 5 { // the former ones are gone before their OnConnect
					if cut {
						p.Cut()
						synctest.Wait()
					}
					back = p.comeBackUncut(io)
				}
				emit(t, io, "meanwhile")
				back.wantEvents("said meanwhile")
				back.WriteText(`2["said","waits"]`)
				d.want(t, p.id, true, "connect")
				time.Sleep(2 * time.Second)
				d.want(t, p.id, true, "connect", "disconnect", "connect")
				if fmt.Sprint(handled) != "[waits]" {
					t.Errorf("handled %v", handled)
				}
				back.Cut()
				d.want(t, p.id, false, "connect", "disconnect", "connect", "disconnect")
			})
		})
	}
}

// The wait for a handler that does not end, though its context has, is bounded.
func TestOnConnect_HandlerOfTheFormerConnectionBlocks_RunsAfterTheLimit(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	opts := &socketio.Options{ConnectTimeout: 10 * time.Second, Logger: slog.New(slog.NewTextHandler(&out, nil))}
	bubble(t, opts, func(t *testing.T, io *socketio.Server) {
		d := keepDiary(io)
		stuck := make(chan struct{})
		nothing.On(io, func(context.Context, *socketio.Socket, socketio.None) error { <-stuck; return nil })
		p := connected(t, io)
		p.WriteText(`2["nothing"]`)
		synctest.Wait()
		back := p.comeBackUncut(io)
		time.Sleep(9 * time.Second)
		d.want(t, p.id, true, "connect")
		time.Sleep(2 * time.Second)
		d.want(t, p.id, true, "connect", "connect")
		back = back.comeBack(io) // in order again
		d.want(t, p.id, true, "connect", "connect", "disconnect", "connect")
		close(stuck)
		d.want(t, p.id, false, "connect", "connect", "disconnect", "connect", "disconnect")
		back.Cut()
		synctest.Wait()
	})
	if n := strings.Count(out.String(), "OnConnect runs before OnDisconnect"); n != 1 {
		t.Errorf("said %d times:\n%s", n, &out)
	}
}

func TestShutdown_OnConnectWaitsForTheFormerConnection_IsNotHeldUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		io := newServer(nil)
		d := keepDiary(io)
		nothing.On(io, func(ctx context.Context, _ *socketio.Socket, _ socketio.None) error {
			time.Sleep(time.Second)
			return nil
		})
		p := connected(t, io)
		p.WriteText(`2["nothing"]`)
		synctest.Wait()
		p.comeBackUncut(io)
		if err := io.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.want(t, p.id, false, "connect", "disconnect")
	})
}
