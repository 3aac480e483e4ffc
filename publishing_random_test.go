package socketio_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
)

// TestPublish_Random: TestPublish_Random: a success is acknowledged only after the event is in the log; each event is acknowledged once.
func TestPublish_Random(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 1))
			log := newHeldLog()
			opts := heldOptions(log)
			opts.InboxBytes = 20_000
			bubble(t, opts, func(t *testing.T, io *socketio.Server) {
				var left atomic.Int32
				io.OnDisconnect(func(*socketio.Socket, socketio.Reason) { left.Add(1) })
				var mu sync.Mutex
				var order []string
				in := map[string]bool{}
				io.Handle("e", func(ctx context.Context, m *socketio.Message) error {
					var n string
					var how int
					if err := m.Decode(&n, &how); err != nil {
						return err
					}
					mu.Lock()
					order = append(order, n)
					mu.Unlock()
					err := said.Publish(ctx, io.To("none"), n)
					answer := strings.Repeat("x", how%7*100)
					switch how % 5 {
					case 0:
						go func() { _ = m.Reply(n, answer) }()
						go func() { _ = m.Reply(n, answer) }()
						return err
					case 1:
						go func() { time.Sleep(time.Duration(how) * time.Microsecond); _ = m.Reply(n, answer) }()
						return err
					case 2:
						_ = m.Reply(n, answer)
						panic("x")
					case 3:
						return errors.Join(err, m.Reply(n, answer))
					default:
						return errors.New("mine")
					}
				})
				p := connected(t, io)
				const events = 30
				stop := make(chan struct{})
				failures := r.IntN(2) == 0
				go func() {
					for {
						select {
						case <-stop:
							return
						case <-time.After(50 * time.Microsecond):
						}
						log.mu.Lock()
						for k := 0; k < 2 && len(log.events) > 0; k++ {
							var err error
							if failures && len(log.events[0].payload)%2 == 0 {
								err = errors.New("no")
							} else {
								mu.Lock()
								in[log.events[0].payload] = true
								mu.Unlock()
							}
							log.events[0].outcome.Complete(err)
							log.events = log.events[1:]
						}
						log.mu.Unlock()
					}
				}()
				answers := make(chan string, events)
				go func() {
					for i := range events {
						p.WriteText(fmt.Sprintf(`2%d["e","n%d",%d]`, 100+i, i, r.IntN(400)))
					}
				}()
				go func() {
					for range events {
						a := p.ReadText()
						mu.Lock()
						if id := a[1:4]; !strings.Contains(a, "error") && !in[fmt.Sprintf(`["said","n%s"]`, strings.TrimPrefix(id[1:], "0"))] {
							t.Errorf("%.30s before the log", a)
						}
						mu.Unlock()
						answers <- a[1:4]
					}
				}()
				seen := map[string]bool{}
				for range events {
					a := <-answers
					if seen[a] {
						t.Errorf("%s twice", a)
					}
					seen[a] = true
				}
				for i, n := range order {
					if n != fmt.Sprintf("n%d", i) {
						t.Errorf("order %v", order)
						break
					}
				}
				time.Sleep(time.Second)
				synctest.Wait()
				if p.Waiting() != 0 {
					t.Errorf("more answers: %s", p.ReadText())
				}
				close(stop)
				p.Cut()
				synctest.Wait()
				if left.Load() != 1 {
					t.Error("OnDisconnect", left.Load())
				}
			})
		})
	}
}
