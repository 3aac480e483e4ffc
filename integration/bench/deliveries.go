package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gobwas/ws"

	"github.com/pgsocket/socketio"
)

const said = socketio.Event[string]("said")

// text is the payload of an event; the frame has about 100 bytes.
var text = strings.Repeat("x", 50) //nolint:gochecknoglobals // constant

// A burstLoad is the number of sockets, bursts, and events in a burst.
type burstLoad struct{ sockets, bursts, burst int }

// deliveries returns the comparisons without Postgres.
func deliveries() []comparison {
	fanout := func(sockets, events int, goal string) comparison {
		return comparison{
			name: fmt.Sprint("fanout-", sockets), unit: "deliveries/s", goal: goal,
			what: fmt.Sprintf("one event at a time to %d sockets", sockets), than: "a loop that writes one frame to as many connections",
			round: func(ctx context.Context, m *machine) (float64, float64, error) {
				return m.fanOut(ctx, burstLoad{sockets, events, 1})
			},
		}
	}
	official := func(name, what string, v burstLoad, goal string) comparison {
		return comparison{
			name: name, unit: "deliveries/s", goal: goal, what: what, than: "the official server, on Node, without recovery",
			round: func(ctx context.Context, m *machine) (float64, float64, error) {
				return m.fanOutWithOfficial(ctx, v)
			},
		}
	}
	return []comparison{
		fanout(1000, 300, "≥ 0.80"),
		fanout(9000, 30, "≥ 0.80"),
		{
			name: "saturated", unit: "deliveries/s", goal: "≥ 0.50",
			what: "1,000 sockets, 100 events at a time", than: "a loop that queues the frames of each connection, and writes them in one call",
			round: func(ctx context.Context, m *machine) (float64, float64, error) {
				return m.fanOut(ctx, burstLoad{1000, 40, 100})
			},
		},
		official("fanout-official", "one event at a time to 1,000 sockets", burstLoad{1000, 300, 1}, ""),
		official("saturated-official", "1,000 sockets, 100 events at a time", burstLoad{1000, 40, 100}, "≥ 4"),
	}
}

// fanOut emits bursts, and waits after each until all sockets have it.
func (m *machine) fanOut(ctx context.Context, v burstLoad) (ours, reference float64, err error) {
	if ours, err = m.ownFanOut(ctx, v); err != nil {
		return 0, 0, err
	}
	reference, err = rawFanOut(ctx, v)
	return ours, reference, err
}

func (m *machine) ownFanOut(ctx context.Context, v burstLoad) (rate float64, err error) {
	n, err := m.startNode(ctx, "", socketio.Options{})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, n.stop()) }()
	return fanOutTo(ctx, n.addr, v, func() error {
		for range v.burst {
			if err := said.Emit(ctx, n.io, text); err != nil {
				return err
			}
		}
		return nil
	})
}

// fanOutTo connects clients to a server and has it emit.
func fanOutTo(ctx context.Context, addr string, v burstLoad, emit func() error) (float64, error) {
	c, err := connectPool(ctx, addr, loopback, v.sockets, 64)
	if err != nil {
		return 0, err
	}
	defer c.close()
	return c.rate(ctx, v, emit)
}

// fanOutWithOfficial is fanOut with the official server as the reference. It runs in a process of its own and without
// recovery, which makes it faster.
func (m *machine) fanOutWithOfficial(ctx context.Context, v burstLoad) (ours, reference float64, err error) {
	if ours, err = m.ownFanOut(ctx, v); err != nil {
		return 0, 0, err
	}
	official, err := startProcess(ctx, "node", filepath.Join("js", "official.mjs"), text)
	if err != nil {
		return 0, 0, fmt.Errorf("start the official server: %w", err)
	}
	defer official.kill()
	addr, err := official.readAddress()
	if err != nil {
		return 0, 0, fmt.Errorf("the official server does not say where it is; is it installed (make setup)? %w", err)
	}
	reference, err = fanOutTo(ctx, addr, v, func() error {
		_, err := official.ask(strconv.Itoa(v.burst))
		return err
	})
	return ours, reference, err
}

func rawFanOut(ctx context.Context, v burstLoad) (float64, error) {
	c, servers, err := connectBare(ctx, v.sockets)
	if err != nil {
		return 0, err
	}
	defer func() {
		c.close()
		for _, conn := range servers {
			_ = conn.Close()
		}
	}()
	frame, err := ws.CompileFrame(ws.NewTextFrame(fmt.Appendf(nil, `42["said","%s","AAAAAAAAAAAAAAAAAAAAAA"]`, text)))
	if err != nil {
		return 0, err
	}
	queues := make([][]byte, v.sockets)
	return c.rate(ctx, v, func() error {
		for range v.burst { // events come one by one
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

// rate returns how many frames the clients receive per second.
func (c *clientPool) rate(ctx context.Context, v burstLoad, send func() error) (float64, error) {
	// The first burst measures the size of one, and warms up.
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
	for range v.bursts {
		if err := send(); err != nil {
			return 0, err
		}
		want += size
		if _, err := c.received.await(ctx, want); err != nil {
			return 0, err
		}
	}
	return float64(len(c.conns)*v.bursts*v.burst) / time.Since(began).Seconds(), nil
}
