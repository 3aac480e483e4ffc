package transport_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/pgsocket/socketio/transport"
	"github.com/pgsocket/socketio/transport/frame"
	"github.com/pgsocket/socketio/transport/transporttest"
)

// TestPause_WebSocket checks that no message is read while reading is paused, and none is lost.
func TestPause_WebSocket(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, r := join(t, nil)
		r.session.Pause()
		r.session.Pause()
		go func() {
			for i := range 100 {
				c.WriteText(fmt.Sprint(i))
			}
		}()
		synctest.Wait()
		before := len(r.messages) // the reader was already waiting for one
		r.session.Resume()
		synctest.Wait()
		if got := len(r.messages); got != before || got > 1 {
			t.Fatalf("%d messages read while reading is paused, %d before", got, before)
		}
		r.session.Resume()
		for i := range 100 {
			if got := <-r.messages; got != fmt.Sprint(i) {
				t.Fatalf("got %q, want %d", got, i)
			}
		}
	})
}

// TestPause_Post checks that a POST is answered when its messages were processed.
func TestPause_Post(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, r := poll(t, nil)
		r.answer = func(data []byte, _ bool) error {
			r.session.Pause()
			r.messages <- string(data)
			return nil
		}
		answered := make(chan reply, 1)
		go func() { answered <- p.post("4a\x1e4b\x1e4c") }()
		for i, want := range []string{"a", "b", "c"} {
			synctest.Wait()
			if len(r.messages) != 1 || len(answered) != 0 {
				t.Fatalf("message %d: %d read, %d answers", i, len(r.messages), len(answered))
			}
			if got := <-r.messages; got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
			r.session.Resume()
		}
		p.want(<-answered, 200, "ok")
	})
}

// TestPause_Heartbeat checks that a session with an unread PONG stays open and sends PINGs,
// and ends if no PONG arrives after reading resumes.
func TestPause_Heartbeat(t *testing.T) {
	t.Parallel()
	for name, lives := range map[string]bool{"answers": true, "is dead": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				opts := &transport.Options{PingInterval: 10 * time.Second, PingTimeout: 5 * time.Second, WriteTimeout: time.Hour}
				c, r := join(t, opts)
				c.SetPongs(false)
				r.answer = func([]byte, bool) error { r.session.Pause(); return nil }
				c.WriteText("last")
				time.Sleep(10 * time.Minute)
				if pings := c.Pings(); ended(r) || pings < 50 || pings > 60 {
					t.Fatalf("after ten minutes without reading: ended %t, %d pings", ended(r), pings)
				}
				if lives {
					c.SetPongs(true)
					go c.WritePacket(frame.Pong, "")
				}
				r.session.Resume()
				resumed := time.Now()
				if !lives {
					r.wantClosed(t, transport.ReasonPingTimeout)
					if took := time.Since(resumed); took > 15*time.Second {
						t.Fatalf("noticed after %v", took)
					}
					return
				}
				time.Sleep(10 * time.Minute)
				if ended(r) {
					t.Fatal(r.reason)
				}
			})
		})
	}
}

// TestPause_Repeated checks that only the time while reading is not paused counts, even
// with many pauses.
func TestPause_Repeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, r := join(t, &transport.Options{PingInterval: 10 * time.Second, PingTimeout: 5 * time.Second, WriteTimeout: time.Hour})
		c.SetPongs(false)
		r.answer = func([]byte, bool) error {
			r.session.Pause()
			time.AfterFunc(time.Second, r.session.Resume)
			return nil
		}
		for range 100 {
			c.WriteText("one event a second")
		}
		if ended(r) {
			t.Fatal("the session ended while the PONG may be unread: ", r.reason)
		}
		r.wantClosed(t, transport.ReasonPingTimeout) // there is no PONG
	})
}

// TestPause_End checks that every ending of the session releases the reader.
func TestPause_End(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*transport.Session){
		"close": func(s *transport.Session) { s.Close(transport.ReasonForcedClose) },
		"abort": func(s *transport.Session) { s.Abort(transport.ReasonForcedClose) },
	} {
		for _, kind := range []string{transport.WebSocket, transport.Polling} {
			t.Run(name+" "+kind, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					server, opened := serve(t, nil)
					var send func()
					if kind == transport.WebSocket {
						c := transporttest.Dial(t, server, wsURL)
						send = func() { c.WriteText("a"); go c.WriteRaw(masked(ws.OpText, true, "4b")) }
					} else {
						p := newWeb(t, server).open()
						send = func() { go p.post("4a\x1e4b") }
					}
					r := <-opened
					r.answer = func([]byte, bool) error { r.session.Pause(); return nil }
					send()
					synctest.Wait()
					end(r.session)
					r.wantClosed(t, transport.ReasonForcedClose)
				})
			})
		}
	}
}

// TestPause_Shutdown checks the same for Shutdown, which serve calls.
func TestPause_Shutdown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, r := join(t, nil)
		r.answer = func([]byte, bool) error { r.session.Pause(); return nil }
		c.WriteText("a")
		go c.WriteRaw(masked(ws.OpText, true, "4"+strings.Repeat("b", 100_000)))
		synctest.Wait()
	})
}

// TestPause_PeerGone checks that a lost connection is detected by a PING that cannot be
// written.
func TestPause_PeerGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, r := join(t, nil)
		r.answer = func([]byte, bool) error { r.session.Pause(); return nil }
		c.WriteText("a")
		synctest.Wait()
		c.Cut()
		r.wantClosed(t, transport.ReasonTransportClose)
	})
}

func ended(r *recorder) bool {
	select {
	case <-r.closed:
		return true
	default:
		return false
	}
}

// TestPause_Post_LongerThanTheHeartbeat checks that the connection of a POST that is
// answered late can be used again.
func TestPause_Post_LongerThanTheHeartbeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, r := poll(t, nil)
		r.answer = func(data []byte, _ bool) error {
			if string(data) == "pause" {
				r.session.Pause()
				time.AfterFunc(5*time.Minute, r.session.Resume)
			}
			return nil
		}
		p.want(p.post("4pause"), 200, "ok")
		p.want(p.get(), 200, "2")
		p.want(p.post("3"), 200, "ok")
		time.AfterFunc(time.Second, func() { _ = r.session.Send(transport.Text([]byte("a"))) })
		p.want(p.get(), 200, "4a")
	})
}

// TestPause_PeerReset checks the same over TCP.
func TestPause_PeerReset(t *testing.T) {
	t.Parallel()
	server, opened := serve(t, &transport.Options{PingInterval: 20 * time.Millisecond, PingTimeout: time.Hour})
	ts := httptest.NewServer(server)
	defer ts.Close()
	c := dialTCP(t, ts.Listener.Addr().String(), "")
	c.readText(t)
	r := <-opened
	paused := make(chan struct{})
	r.answer = func([]byte, bool) error { r.session.Pause(); close(paused); return nil }
	if _, err := c.Write(append(masked(ws.OpText, true, "4a"), masked(ws.OpText, true, "4b")...)); err != nil {
		t.Fatal(err)
	}
	<-paused
	_ = c.Close() // with PINGs that it has not read: a reset
	r.wantClosed(t, transport.ReasonTransportClose)
}
