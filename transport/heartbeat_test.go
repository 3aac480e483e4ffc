package transport_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio/transport"
	"github.com/pgsocket/socketio/transport/frame"
	"github.com/pgsocket/socketio/transport/transporttest"
)

func TestHeartbeat_LiveClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, r := join(t, nil)
		time.Sleep(24 * time.Second)
		if c.Pings() != 0 {
			t.Fatal("a ping before the end of the interval")
		}
		time.Sleep(time.Second + 2*time.Millisecond)
		if c.Pings() != 1 {
			t.Fatalf("%d pings after the interval", c.Pings())
		}
		time.Sleep(time.Hour)
		if n := c.Pings(); n < 135 || n > 146 {
			t.Fatalf("%d pings in an hour", n)
		}
		r.session.Close(transport.ReasonForcedClose)
	})
}

func TestHeartbeat_DeadClient(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]transport.Options{
		"default":          {PingInterval: 25 * time.Second, PingTimeout: 20 * time.Second},
		"small":            {PingInterval: 50 * time.Millisecond, PingTimeout: 20 * time.Millisecond},
		"timeout longer":   {PingInterval: 100 * time.Millisecond, PingTimeout: 30 * time.Second},
		"more than a turn": {PingInterval: time.Hour, PingTimeout: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, r := join(t, &o)
				start, due := time.Now(), o.PingInterval+o.PingTimeout
				c.SetPongs(false)
				<-r.closed
				late := time.Since(start) - due
				if late < 0 || late > 2*time.Millisecond { // one for the PING, one for the PONG
					t.Fatalf("closed %v late", late)
				}
				r.wantClosed(t, transport.ReasonPingTimeout)
				wantGone(t, c, 1005)
			})
		})
	}
}

// TestHeartbeat_TimeoutLongerThanInterval checks that the next PING is on time although a
// PONG does not notify the wheel.
func TestHeartbeat_TimeoutLongerThanInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, r := join(t, &transport.Options{PingInterval: 100 * time.Millisecond, PingTimeout: time.Minute})
		time.Sleep(10 * time.Second)
		if n := c.Pings(); n < 85 || n > 100 {
			t.Fatalf("%d pings in 10 s", n)
		}
		r.session.Close(transport.ReasonForcedClose)
	})
}

// TestHeartbeat_BusyPeer is rule (b) of engine.io 6.6.11.
func TestHeartbeat_BusyPeer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, r := join(t, nil)
		start := time.Now()
		c.SetPongs(false)
		time.Sleep(40 * time.Second) // the ping was at 25 s
		c.WriteText("busy")          // extends until 60 s
		time.Sleep(5 * time.Second)
		c.WriteText("busy") // does not
		<-r.closed
		if took := time.Since(start); took < 60*time.Second || took > 62*time.Second {
			t.Fatalf("closed after %v", took)
		}
		r.wantClosed(t, transport.ReasonPingTimeout)

		c, r = join(t, nil)
		start = time.Now()
		c.SetPongs(false)
		time.Sleep(40 * time.Second)
		c.WriteText("busy")
		time.Sleep(10 * time.Second)
		c.WritePacket(frame.Pong, "") // at 50 s: next ping at 75 s, end at 95 s
		<-r.closed
		if took := time.Since(start); took < 95*time.Second || took > 97*time.Second {
			t.Fatalf("closed after %v", took)
		}
	})
}

func TestHeartbeat_ClosedSessions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, opened := serve(t, &transport.Options{PingInterval: 2 * time.Second, PingTimeout: time.Second})
		var clients []*transporttest.Client
		for range 50 {
			clients = append(clients, transporttest.Dial(t, server, wsURL))
			time.Sleep(37 * time.Millisecond)
		}
		for i := range 50 {
			if r := <-opened; i%2 == 0 {
				r.session.Abort(transport.ReasonForcedClose)
			}
		}
		time.Sleep(21 * time.Second)
		for i, c := range clients {
			if n := c.Pings(); i%2 == 1 && (n < 9 || n > 12) || i%2 == 0 && n > 1 {
				t.Errorf("client %d got %d pings", i, n)
			}
		}
		if server.Len() != 25 {
			t.Errorf("%d sessions", server.Len())
		}
	})
}
