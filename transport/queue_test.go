package transport_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio/transport"
)

// TestQueue_LargeMessages checks that a peer that reads receives messages larger than the
// bound, together with other messages that are queued at the same time.
func TestQueue_LargeMessages(t *testing.T) {
	t.Parallel()
	const bound = 64 << 10
	large := transport.Text(bytes.Repeat([]byte("x"), bound+bound/4))
	part := transport.Binary(make([]byte, bound/4-100))
	small := transport.Text([]byte("small"))
	for name, sends := range map[string][][]*transport.Message{
		"large, small":            {{large}, {small}},
		"small, large, small":     {{small}, {large}, {small}, {small}},
		"large, large, small":     {{large}, {large}, {small}},
		"attachments, then small": {{small, part, part, part, part, part, part, part, part, part, part}, {small}, {small}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, r := join(t, &transport.Options{QueueBytes: bound})
				stick(c, r)
				_ = r.session.Send(small) // is being written
				synctest.Wait()
				for i, messages := range sends {
					if err := r.session.Send(messages...); err != nil {
						t.Fatalf("send %d: %v", i, err)
					}
				}
				c.Resume()
				c.ReadText()
				c.ReadText()
				for _, messages := range sends {
					for _, m := range messages {
						if _, data, err := c.ReadMessage(); err != nil || len(data) < m.Len()-11 {
							t.Fatalf("%d bytes arrived, %v; want %d", len(data), err, m.Len())
						}
					}
				}
			})
		})
	}
}

// TestQueue_LargeMessages_Polling checks the same with polls.
func TestQueue_LargeMessages_Polling(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, r := poll(t, &transport.Options{QueueBytes: 1000})
		for _, text := range []string{strings.Repeat("x", 5000), "after", strings.Repeat("y", 100_000), "end"} {
			if err := r.session.Send(transport.Text([]byte(text))); err != nil {
				t.Fatal(err)
			}
		}
		for got := ""; !strings.HasSuffix(got, "4end"); {
			got = p.get().body
			if got == "" {
				t.Fatal("no answer")
			}
		}
	})
}

// TestQueue_Bound checks that the queue is bounded.
func TestQueue_Bound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const bound = 64 << 10
		c, r := join(t, &transport.Options{QueueBytes: bound})
		stick(c, r)
		large := transport.Text(make([]byte, 2*bound))
		var err error
		sent := 0
		for ; err == nil && sent < 10; sent++ {
			err = r.session.Send(large)
			synctest.Wait() // the first is being written
		}
		if !errors.Is(err, transport.ErrQueueFull) || sent != 6 {
			t.Fatalf("after %d large messages: %v", sent, err)
		}
	})
}
