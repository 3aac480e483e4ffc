package transport_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/pgsocket/socketio/transport"
	"github.com/pgsocket/socketio/transport/transporttest"
)

func TestSend_MessagesStayTogether(t *testing.T) {
	t.Parallel()
	c, r := join(t, nil)

	const senders, each = 8, 50
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			for n := range each {
				tag := fmt.Sprintf("%d/%d", i, n)
				err := r.session.Send(transport.Text([]byte(tag)), transport.Binary([]byte(tag)), transport.Binary([]byte(tag)))
				if err != nil {
					t.Error(err)
				}
			}
		})
	}

	var last [senders]int
	for range senders * each {
		tag := c.ReadText()
		if a, b := string(c.ReadBinary()), string(c.ReadBinary()); a != tag || b != tag {
			t.Fatalf("%q is followed by %q and %q", tag, a, b)
		}
		var i, n int
		_, _ = fmt.Sscanf(tag, "%d/%d", &i, &n)
		if n != last[i] {
			t.Fatalf("sender %d: %d instead of %d", i, n, last[i])
		}
		last[i]++
	}
	wg.Wait()
}

func TestSend_Sizes(t *testing.T) {
	t.Parallel()
	c, r := join(t, nil)

	for _, n := range []int{0, 1, 124, 125, 126, 65534, 65535, 65536, 300_000} {
		data := strings.Repeat("x", n)
		text, binary := transport.Text([]byte(data)), transport.Binary([]byte(data))
		if text.Len() <= n || text.Len() > n+11 || binary.Len() < n+2 {
			t.Fatalf("%d bytes: Len %d and %d", n, text.Len(), binary.Len())
		}
		if err := r.session.Send(text, binary); err != nil {
			t.Fatal(err)
		}
		if c.ReadText() != data || string(c.ReadBinary()) != data {
			t.Fatalf("a message of %d bytes was received changed", n)
		}
	}
}

// stick pauses the client and sends one message, whose write still succeeds.
func stick(c *transporttest.Client, r *recorder) {
	synctest.Wait()
	c.Pause()
	_ = r.session.Send(transport.Text([]byte("swallowed")))
	synctest.Wait()
}

func TestSend_SlowConsumer(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]transport.Options{
		"messages": {QueueMessages: 100},
		"bytes":    {QueueBytes: 100 * 12},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server, opened := serve(t, &o)
				slow := transporttest.Dial(t, server, wsURL)
				stuck := <-opened
				quick := transporttest.Dial(t, server, wsURL)
				fine := <-opened
				slow.Pause()
				synctest.Wait()

				var err error
				sent := 0
				for ; err == nil && sent < 1000; sent++ {
					m := transport.Text([]byte("123456789"))
					err = stuck.session.Send(m)
					if err := fine.session.Send(m); err != nil {
						t.Fatal(err)
					}
					quick.ReadText()
				}

				if !errors.Is(err, transport.ErrQueueFull) || sent < 100 || sent > 105 {
					t.Fatalf("after %d messages: %v", sent, err)
				}
				stuck.wantClosed(t, transport.ReasonSlowConsumer)
				if err := stuck.session.Send(transport.Text(nil)); !errors.Is(err, transport.ErrClosed) {
					t.Fatalf("got %v", err)
				}
				slow.Resume()
				wantGone(t, slow, 0)
			})
		})
	}
}

func TestSend_GroupIsAtomic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, r := join(t, &transport.Options{QueueMessages: 4})
		synctest.Wait()
		c.Pause()
		m := transport.Text([]byte("x"))
		if err := r.session.Send(m, m, m, m, m, m); err != nil { // more than the limit, but the queue is empty
			t.Fatal(err)
		}
		if err := r.session.Send(m, m); !errors.Is(err, transport.ErrQueueFull) {
			t.Fatalf("got %v", err)
		}
		r.wantClosed(t, transport.ReasonSlowConsumer)
	})
}

func TestSend_WriteTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, r := join(t, nil)
		stick(c, r)
		start := time.Now()
		_ = r.session.Send(transport.Text([]byte("x")))
		r.wantClosed(t, transport.ReasonTransportError)
		if took := time.Since(start); took != 15*time.Second {
			t.Fatalf("took %v", took)
		}
	})
}

func TestTrySend_OnlyWithEmptyQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, r := join(t, nil)
		synctest.Wait()
		m := transport.Text([]byte("x"))
		if !r.session.TrySend(m, m) {
			t.Fatal("refused while idle")
		}
		c.ReadText()
		c.ReadText()
		c.Pause()
		_ = r.session.Send(m, m)
		synctest.Wait()
		_ = r.session.Send(m)
		synctest.Wait()
		if r.session.TrySend(m) {
			t.Fatal("accepted while a write is stuck")
		}
		c.Resume()
		synctest.Wait()
		if !r.session.TrySend(m) {
			t.Fatal("refused after the queue was written")
		}
		r.session.Abort(transport.ReasonForcedClose)
		if r.session.TrySend(m) {
			t.Fatal("accepted after the end")
		}
	})
}

func TestDrained_PacesTheSender(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, r := join(t, &transport.Options{QueueMessages: 40})
		const replay = 1000
		go func() {
			for i := range replay {
				if err := r.session.Drained(t.Context()); err != nil {
					t.Errorf("drained: %v", err)
				}
				if err := r.session.Send(transport.Text(fmt.Append(nil, i))); err != nil {
					t.Errorf("send %d: %v", i, err)
				}
			}
		}()
		for i := range replay {
			if got := c.ReadText(); got != fmt.Sprint(i) {
				t.Fatalf("got %s, want %d", got, i)
			}
		}

		stick(c, r)
		_ = r.session.Send(transport.Text([]byte("being written")))
		synctest.Wait()
		for range 20 {
			_ = r.session.Send(transport.Text([]byte("x")))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.session.Drained(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		time.AfterFunc(time.Second, func() { r.session.Abort(transport.ReasonForcedClose) })
		if err := r.session.Drained(t.Context()); !errors.Is(err, transport.ErrClosed) {
			t.Fatalf("got %v", err)
		}
	})
}

func TestClose_Flushes_AbortDiscards(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, r := join(t, nil)
		for range 500 {
			_ = r.session.Send(transport.Text([]byte("x")))
		}
		r.session.Close("first")
		r.session.Close("second")
		for range 500 {
			c.ReadText()
		}
		wantGone(t, c, 1005)
		r.wantClosed(t, "first")

		c, r = join(t, nil)
		stick(c, r)
		for range 500 {
			_ = r.session.Send(transport.Text([]byte("x")))
		}
		r.session.Close("closing")
		synctest.Wait()
		r.session.Abort("aborted") // ends the flush, but not the first reason
		r.wantClosed(t, "closing")
		c.Resume()
		synctest.Wait()
		if n := c.Waiting(); n != 1 {
			t.Fatalf("%d messages, want the one that was written", n)
		}
		wantGone(t, c, 0)
	})
}

func TestClose_WriteTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, opened := serve(t, nil)
		c := transporttest.Dial(t, server, wsURL)
		r := <-opened
		c.Pause()
		for range 50 {
			_ = r.session.Send(transport.Text([]byte(strings.Repeat("x", 30_000))))
		}
		time.Sleep(10 * time.Second) // virtual
		start := time.Now()
		r.session.Close(transport.ReasonForcedClose)
		r.wantClosed(t, transport.ReasonForcedClose)
		if took := time.Since(start); took != 0 {
			t.Fatalf("Closed was called after %v", took)
		}
		for server.Len() > 0 {
			time.Sleep(time.Second)
		}
		if took := time.Since(start); took > 15*time.Second {
			t.Fatalf("took %v", took)
		}
	})
}

// TestClose_UnreadInput checks a client that sends while the server closes. A plain close
// would cause a reset, and the client would lose the last messages.
func TestClose_UnreadInput(t *testing.T) {
	t.Parallel()
	server, opened := serve(t, nil)
	ts := httptest.NewServer(server)
	defer ts.Close()

	for range 20 {
		c := dialTCP(t, ts.Listener.Addr().String(), "")
		c.readText(t)
		r := <-opened
		for range 50 {
			if _, err := c.Write(masked(ws.OpText, true, "4"+strings.Repeat("x", 2000))); err != nil {
				t.Fatal(err)
			}
		}
		_ = r.session.Send(transport.Text([]byte("last words")))
		r.session.Close(transport.ReasonForcedClose)
		if got := c.readText(t); got != "4last words" {
			t.Fatalf("got %q", got)
		}
		if h, data, err := c.readFrame(); err != nil || h.OpCode != ws.OpClose || len(data) != 0 {
			t.Fatalf("got %v %q, %v", h, data, err)
		}
		_ = c.Close()
	}
}

// TestClosed_ExactlyOnce ends sessions in all ways at the same time. The recorder panics on
// a second Closed.
func TestClosed_ExactlyOnce(t *testing.T) {
	t.Parallel()
	server, opened := serve(t, &transport.Options{QueueMessages: 8, PingInterval: 20 * time.Millisecond, PingTimeout: 20 * time.Millisecond})

	for round := range 150 {
		c := transporttest.Dial(t, server, wsURL)
		r := <-opened
		s := r.session
		actions := []func(){
			func() { s.Close("a") },
			func() { s.Abort("b") },
			func() { c.Cut() },
			func() { c.WriteRaw(masked(ws.OpText, true, "7")) },
			func() { _ = s.Drained(t.Context()) },
			func() {
				for range 20 {
					_ = s.Send(transport.Text([]byte("x")), transport.Binary([]byte("y")))
				}
			},
			func() { s.TrySend(transport.Text([]byte("x"))) },
			func() { s.Close("c") },
		}
		var wg sync.WaitGroup
		for i := range actions {
			wg.Go(actions[(i+round)%len(actions)])
		}
		wg.Wait()
		select {
		case <-r.closed:
		case <-time.After(time.Minute):
			t.Fatal("not closed")
		}
	}
}
