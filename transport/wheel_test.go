package transport_test

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio/transport"
)

// TestHeartbeat_IsExact checks that a PING is at most one millisecond late, even while other sessions begin and end.
func TestHeartbeat_IsExact(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, opened := serve(t, &transport.Options{PingInterval: 300 * time.Millisecond, PingTimeout: 200 * time.Millisecond})
		w := newWeb(t, server)
		r := rand.New(rand.NewPCG(1, 2))
		for range 100 {
			time.Sleep(time.Duration(r.IntN(2_000_000)) * time.Microsecond / 10)
			p := w.open()
			session := <-opened
			start := time.Now()
			p.want(p.get(), 200, "2")
			if late := time.Since(start) - 300*time.Millisecond; late < 0 || late > time.Millisecond {
				t.Fatalf("the ping came %v late", late)
			}
			<-session.closed
			if late := time.Since(start) - 500*time.Millisecond; late < 0 || late > 2*time.Millisecond {
				t.Fatalf("the session ended %v late", late)
			}
		}
	})
}

// TestPoll_AfterIntervalAndTimeout_IsRefused checks a client that did not answer the PING.
func TestPoll_AfterIntervalAndTimeout_IsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, _ := serve(t, &transport.Options{PingInterval: 300 * time.Millisecond, PingTimeout: 200 * time.Millisecond})
		p := newWeb(t, server).open()
		time.Sleep(502 * time.Millisecond)
		p.want(p.get(), 400, `{"code":1,"message":"Session ID unknown"}`)
	})
}

// TestHeartbeat_EarlierSession_IsOnTime checks that a session that is due earlier than the timer is on time.
func TestHeartbeat_EarlierSession_IsOnTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, opened := serve(t, &transport.Options{PingInterval: time.Hour, PingTimeout: time.Second})
		w := newWeb(t, server)
		start := time.Now()
		w.open()
		first := <-opened
		time.Sleep(10 * time.Minute)
		w.open()
		second := <-opened
		first.session.Abort(transport.ReasonForcedClose) // the timer expires without a session
		<-second.closed
		if since, want := time.Since(start), 70*time.Minute+time.Second; since < want || since > want+2*time.Millisecond {
			t.Errorf("after %v", since)
		}
		third := w.open() // with the wheel at rest
		third.want(third.get(), 200, "2")
	})
}
