package socketio_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
)

// TestRates_Burst_SlowedDown: packets beyond a rate are delayed, and none is lost.
func TestRates_Burst_SlowedDown(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]*socketio.Options{
		"events": {EventsPerSecond: 100},
		"bytes":  {BytesPerSecond: 100 * len(`2["number",100]`)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, opts, func(t *testing.T, io *socketio.Server) {
				next := 0
				number.On(io, func(_ context.Context, _ *socketio.Socket, i int) error {
					if i != 100+next {
						t.Errorf("event %d, want %d", i, 100+next)
					}
					next++
					return nil
				})
				p := connected(t, io)
				time.Sleep(time.Minute)
				began := time.Now()
				for i := range 800 {
					p.WriteText(fmt.Sprintf(`2["number",%d]`, 100+i))
				}
				synctest.Wait()
				if took := time.Since(began); next != 800 || took < 6900*time.Millisecond || took > 7100*time.Millisecond {
					t.Errorf("%d events in %v, want 800 in 7s", next, took)
				}
			})
		})
	}
}

// TestRates_Sustained_Disconnects: with a reason, after ThrottleTimeout.
func TestRates_Sustained_Disconnects(t *testing.T) {
	t.Parallel()
	bubble(t, &socketio.Options{EventsPerSecond: 100, ThrottleTimeout: 10 * time.Second}, func(t *testing.T, io *socketio.Server) {
		var reason socketio.Reason
		var gone atomic.Bool
		handled := 0
		io.OnDisconnect(func(_ *socketio.Socket, r socketio.Reason) { reason = r; gone.Store(true) })
		number.On(io, func(context.Context, *socketio.Socket, int) error { handled++; return nil })
		p := connected(t, io)
		began := time.Now()
		for !gone.Load() && time.Since(began) < time.Minute {
			p.WriteRaw(clientFrame(1, `42["number",1]`))
		}
		p.closed()
		synctest.Wait()
		if took := time.Since(began); reason != socketio.ReasonRateLimit || took < 9*time.Second || took > 12*time.Second {
			t.Errorf("%q after %v", reason, took)
		}
		if handled < 1000 || handled > 1200 {
			t.Errorf("%d events were handled", handled)
		}
	})
}

// TestRates_WithinThem_Stays: a client that is slowed down now and then stays connected.
func TestRates_WithinThem_Stays(t *testing.T) {
	t.Parallel()
	bubble(t, &socketio.Options{EventsPerSecond: 100, ThrottleTimeout: 10 * time.Second}, func(t *testing.T, io *socketio.Server) {
		handled := 0
		number.On(io, func(context.Context, *socketio.Socket, int) error { handled++; return nil })
		p := connected(t, io)
		for range 100 {
			for range 150 { // at once, twice a second more than may be
				p.WriteText(`2["number",1]`)
			}
			time.Sleep(2 * time.Second)
		}
		synctest.Wait()
		if handled != 15_000 || io.Connections() != 1 {
			t.Errorf("%d events, %d connections", handled, io.Connections())
		}
	})
}

// TestRates_MessageBeyondThem: one message that would be paused for too long is refused
// at once.
func TestRates_MessageBeyondThem(t *testing.T) {
	t.Parallel()
	bubble(t, &socketio.Options{BytesPerSecond: 1000}, func(t *testing.T, io *socketio.Server) {
		var reason socketio.Reason
		io.OnDisconnect(func(_ *socketio.Socket, r socketio.Reason) { reason = r })
		p := connected(t, io)
		p.WriteText(`2["x","` + strings.Repeat("x", 100_000) + `"]`)
		p.closed()
		synctest.Wait()
		if reason != socketio.ReasonRateLimit {
			t.Errorf("%q", reason)
		}
	})
}

// TestConnectsPerSecond: a client that repeats CONNECT is slowed down before each costs
// a middleware and a session, and disconnected if it continues. One with many namespaces
// connects to them at once.
func TestConnectsPerSecond(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		asked := 0
		io.Use(func(context.Context, *socketio.Socket) error { asked++; return &socketio.Error{Message: "no"} })
		p := dial(t, io)
		began := time.Now()
		for time.Since(began) < 3*time.Second {
			p.WriteText("0")
			p.ReadText()
		}
		if asked < 250 || asked > 270 { // 200 at once, and 20 a second
			t.Errorf("%d CONNECTs in three seconds", asked)
		}
		for time.Since(began) < 2*time.Minute && io.Connections() > 0 {
			p.WriteRaw(clientFrame(1, "40"))
		}
		if took := time.Since(began); took > 62*time.Second {
			t.Errorf("still connected after %v", took)
		}
	})
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		p, began := dial(t, io), time.Now()
		for i := range 150 {
			io.Of(fmt.Sprint(i))
			p.WriteText(fmt.Sprintf("0/%d,", i))
			p.ReadText()
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("150 namespaces took %v", took)
		}
	})
}

// TestRates_Negative: no rate applies.
func TestRates_Negative(t *testing.T) {
	t.Parallel()
	opts := &socketio.Options{EventsPerSecond: -1, BytesPerSecond: -1, ConnectsPerSecond: -1}
	bubble(t, opts, func(t *testing.T, io *socketio.Server) {
		p, began := connected(t, io), time.Now()
		for range 55_000 {
			p.WriteText(`2["nobody"]`)
		}
		synctest.Wait()
		if took := time.Since(began); took > 0 {
			t.Errorf("slowed down by %v", took)
		}
	})
}

// TestRates_NoMessages: frames and packets that are not messages count as packets, on either transport, and the rates
// apply to them.
func TestRates_NoMessages(t *testing.T) {
	t.Parallel()
	opts := func() *socketio.Options { return &socketio.Options{EventsPerSecond: 100} }
	check := func(t *testing.T, began time.Time) {
		t.Helper()
		if took := time.Since(began); took < 6900*time.Millisecond || took > 7100*time.Millisecond {
			t.Errorf("800 at once took %v, want 7s", took)
		}
	}
	for name, frame := range map[string][]byte{
		"ping": clientFrame(9, "x"), "pong": clientFrame(10, "x"), "NOOP": clientFrame(1, "6"), "PONG": clientFrame(1, "3"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, opts(), func(t *testing.T, io *socketio.Server) {
				p := connected(t, io)
				time.Sleep(20 * time.Second)
				began := time.Now()
				for range 800 {
					p.WriteRaw(frame)
				}
				synctest.Wait()
				check(t, began)
			})
		})
	}
	t.Run("polling", func(t *testing.T) {
		t.Parallel()
		bubble(t, opts(), func(t *testing.T, io *socketio.Server) {
			do := func(method, query, body string) *httptest.ResponseRecorder {
				w := httptest.NewRecorder()
				io.ServeHTTP(w, httptest.NewRequest(method, "/socket.io/?EIO=4&transport=polling"+query, strings.NewReader(body)))
				return w
			}
			_, sid, _ := strings.Cut(do(http.MethodGet, "", "").Body.String(), `"sid":"`)
			began := time.Now()
			if w := do(http.MethodPost, "&sid="+sid[:20], strings.Repeat("6\x1e", 799)+"6"); w.Code != http.StatusOK {
				t.Errorf("status %d", w.Code)
			}
			check(t, began)
		})
	})
}
