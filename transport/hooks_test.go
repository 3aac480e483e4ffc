package transport_test

import (
	"context"
	"net/http"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio/transport"
)

func misbehaviors() map[string]func() {
	return map[string]func(){"panic": func() { panic("hook") }, "goexit": runtime.Goexit}
}

// TestHeaders_PanicDuringAnUpgrade checks that the upgrade continues, and that the server
// can be shut down, which poll does.
func TestHeaders_PanicDuringAnUpgrade(t *testing.T) {
	t.Parallel()
	for name, act := range misbehaviors() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				failing := false
				p, r := poll(t, &transport.Options{HTTP: transport.HTTP{Headers: func(http.Header, *http.Request) {
					if failing {
						act()
					}
				}}})
				failing = true
				s, _ := p.websocket()
				s.text("2probe")
				s.want("3probe")
				s.text("5")
				s.text("4hello")
				if got := <-r.messages; got != "hello" {
					t.Fatalf("got %q", got)
				}
			})
		})
	}
}

// TestHeaders_Blocked_ShutdownEndsWithItsContext checks that a request that waits for user
// code does not block Shutdown.
func TestHeaders_Blocked_ShutdownEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		released := make(chan struct{})
		blocks := false
		server, _ := serve(t, &transport.Options{HTTP: transport.HTTP{Headers: func(http.Header, *http.Request) {
			if blocks {
				<-released
			}
		}}})
		p := newWeb(t, server).open()
		blocks = true
		done := make(chan struct{})
		go func() {
			defer close(done)
			p.websocket()
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		begun := time.Now()
		_ = server.Shutdown(ctx)
		if took := time.Since(begun); took > 3*time.Second {
			t.Errorf("shutdown took %v", took)
		}
		blocks = false
		close(released)
		<-done
	})
}

// TestReceiver_Goexit checks that the session ends as after a panic.
func TestReceiver_Goexit(t *testing.T) {
	t.Parallel()
	for name, act := range misbehaviors() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, r := join(t, nil)
				r.answer = func([]byte, bool) error { act(); return nil }
				c.WriteText("x")
				r.wantClosed(t, transport.ReasonForcedClose)
				p, q := poll(t, nil)
				q.answer = r.answer
				go p.post("4x")
				q.wantClosed(t, transport.ReasonForcedClose)
			})
		})
	}
}

// TestAllowRequest_Fails_RequestIsRefused checks that a panic is a refusal, whose text the
// client does not receive.
func TestAllowRequest_Fails_RequestIsRefused(t *testing.T) {
	t.Parallel()
	for name, act := range misbehaviors() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server, _ := serve(t, &transport.Options{AllowRequest: func(*http.Request) error { act(); return nil }})
				w := newWeb(t, server)
				w.want(w.do(t.Context(), http.MethodGet, pollURL, ""), 403, `{"code":4,"message":"Forbidden"}`)
			})
		})
	}
}
