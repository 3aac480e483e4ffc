package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/gobwas/ws"

	"github.com/pgsocket/socketio"
)

const said = socketio.Event[string]("said")

// text is what an event says: with it a frame has about 100 bytes.
var text = strings.Repeat("x", 50) //nolint:gochecknoglobals // constant

// deliveries are the comparisons that need no Postgres.
func deliveries() []comparison {
	fanout := func(sockets, events int, goal string) comparison {
		return comparison{
			name: fmt.Sprint("fanout-", sockets), unit: "deliveries/s", goal: goal,
			what: fmt.Sprintf("one event at a time to %d sockets", sockets), than: "a loop that writes one frame to as many connections",
			round: func(ctx context.Context, m *machine) (float64, float64, error) {
				return m.fanOut(ctx, sockets, events, 1)
			},
		}
	}
	return []comparison{
		fanout(1000, 300, "≥ 0.80"),
		fanout(9000, 30, "≥ 0.80"),
		{
			name: "saturated", unit: "deliveries/s", goal: "≥ 0.50",
			what: "1,000 sockets, 100 events at a time", than: "a loop that queues the frames of each connection, and writes them in one call",
			round: func(ctx context.Context, m *machine) (float64, float64, error) { return m.fanOut(ctx, 1000, 40, 100) },
		},
	}
}

// fanOut emits events, burst at a time, and waits after each burst until all have it.
func (m *machine) fanOut(ctx context.Context, sockets, bursts, burst int) (ours, reference float64, err error) {
	n, err := m.startNode(ctx, "", socketio.Options{})
	if err != nil {
		return 0, 0, err
	}
	c, err := join(ctx, n.addr, loopback, sockets, 64)
	if err != nil {
		return 0, 0, err
	}
	emit := func() error {
		for range burst {
			if err := said.Emit(ctx, n.io, text); err != nil {
				return err
			}
		}
		return nil
	}
	ours, err = c.rate(ctx, bursts, burst, emit)
	c.leave()
	if err := n.stop(); err != nil {
		return 0, 0, err
	}
	if err != nil {
		return 0, 0, err
	}
	reference, err = rawFanOut(ctx, sockets, bursts, burst)
	return ours, reference, err
}

func rawFanOut(ctx context.Context, sockets, bursts, burst int) (float64, error) {
	c, servers, err := bare(ctx, sockets)
	if err != nil {
		return 0, err
	}
	defer func() {
		c.leave()
		for _, conn := range servers {
			_ = conn.Close()
		}
	}()
	frame, err := ws.CompileFrame(ws.NewTextFrame(fmt.Appendf(nil, `42["said","%s","AAAAAAAAAAAAAAAAAAAAAA"]`, text)))
	if err != nil {
		return 0, err
	}
	queues := make([][]byte, sockets)
	return c.rate(ctx, bursts, burst, func() error {
		for range burst { // events come one by one
			for i := range queues {
				queues[i] = append(queues[i], frame...)
			}
		}
		for i, conn := range servers {
			if _, err := conn.Write(queues[i]); err != nil {
				return err
			}
			queues[i] = queues[i][:0]
		}
		return nil
	})
}

// rate returns how many frames the crowd receives a second.
func (c *crowd) rate(ctx context.Context, bursts, burst int, send func() error) (float64, error) {
	// The first burst tells how large one is, and warms up.
	before := c.received.n.Load()
	if err := send(); err != nil {
		return 0, err
	}
	size := int64(-1)
	for last := int64(0); size < 0; time.Sleep(200 * time.Millisecond) {
		if now := c.received.n.Load() - before; now > 0 && now == last {
			size = now
		} else {
			last = now
		}
	}
	began, want := time.Now(), c.received.n.Load()
	for range bursts {
		if err := send(); err != nil {
			return 0, err
		}
		want += size
		if _, err := c.received.await(ctx, want); err != nil {
			return 0, err
		}
	}
	return float64(len(c.conns)*bursts*burst) / time.Since(began).Seconds(), nil
}
