package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/integration/wire"
)

// missed is how many events each client misses.
const missed = 20

// reconnects returns the comparisons of clients that reconnect all at once with as many new clients.
func reconnects() []comparison {
	row := func(name string, clients int, goal, what string, kill bool) comparison {
		return comparison{
			name: name, unit: "clients/s", goal: goal, what: what, than: "as many new clients connect to the same node at once",
			round: func(ctx context.Context, m *machine) (float64, float64, error) {
				return m.reconnectAll(ctx, clients, kill)
			},
		}
	}
	return []comparison{
		row("recovery", 1000, "≥ 3,000/s here", "1,000 clients are cut off and come to another node at once, until each has the 20 events it missed", false),
		row("storm", 3000, "≥ 0.50", "3,000 clients lose their node and come to another at once, until each has the 20 events it missed", true),
	}
}

// A replayClient expects events 0 to missed-1, once and in order.
type replayClient struct {
	*wire.Client

	next       int
	duplicates atomic.Int64
	lost       atomic.Int64
	complete   chan struct{} // closed by the last event
}

func newReturner() *replayClient {
	r := &replayClient{complete: make(chan struct{})}
	r.Client = wire.New(wire.Options{Event: func(data json.RawMessage) {
		var seq int
		if _, err := fmt.Sscanf(string(data), `["tick",1,%d,`, &seq); err != nil {
			return
		}
		if seq < r.next {
			r.duplicates.Add(1)
			return
		}
		r.lost.Add(int64(seq - r.next))
		if r.next = seq + 1; r.next == missed {
			close(r.complete)
		}
	}})
	return r
}

// reconnectAll cuts clients, or kills their node, emits what they miss, and reconnects all to another node at once.
// It fails unless each receives exactly what it missed.
func (m *machine) reconnectAll(ctx context.Context, clients int, kill bool) (ours, reference float64, err error) {
	err = m.inSchema(ctx, func(schema string, _ *pgx.Conn) error {
		left, err := m.spawn(ctx, schema)
		if err != nil {
			return err
		}
		defer left.kill()
		to, err := m.spawn(ctx, schema)
		if err != nil {
			return err
		}
		defer to.kill()
		all, err := connectReplayClients(ctx, left.addr, clients)
		if err != nil {
			return err
		}
		if kill {
			left.kill()
		}
		for _, r := range all {
			r.Cut()
		}
		if err := to.emit(ctx); err != nil {
			return err
		}
		if ours, err = atOnce(all, func(r *replayClient) error { return r.reconnect(ctx, to.addr) }); err != nil {
			return err
		}
		if err := checkReplay(all); err != nil {
			return err
		}
		fresh := make([]*replayClient, clients)
		for i := range fresh {
			fresh[i] = newReturner()
		}
		reference, err = atOnce(fresh, func(r *replayClient) error { return r.Connect(ctx, to.addr) })
		return err
	})
	return ours, reference, err
}

// connectReplayClients connects clients and puts them into a room.
func connectReplayClients(ctx context.Context, addr string, clients int) ([]*replayClient, error) {
	all := make([]*replayClient, clients)
	return all, many(clients, 128, func(i int) error {
		all[i] = newReturner()
		if err := all[i].Connect(ctx, addr); err != nil {
			return err
		}
		return all[i].Call(ctx, nil, "join", []string{"pool"})
	})
}

// emit emits the events that the clients miss.
func (r *remote) emit(ctx context.Context) error {
	results, err := r.request(ctx, http.MethodPost, "/control/publish",
		fmt.Sprintf(`{"publisher":1,"count":%d,"targets":[{"rooms":["pool"]}]}`, missed))
	if err != nil {
		return err
	}
	if n := strings.Count(results, `,""]`); n != missed {
		return fmt.Errorf("%d of %d events were emitted", n, missed)
	}
	return nil
}

// reconnect returns when the client has received everything that it missed.
func (r *replayClient) reconnect(ctx context.Context, addr string) error {
	if err := r.Connect(ctx, addr); err != nil {
		return err
	}
	select {
	case <-r.complete:
		return nil
	case <-time.After(30 * time.Second):
		return errors.New("did not get all that it missed")
	}
}

// atOnce runs do for all at the same time, and returns the rate per second.
func atOnce(all []*replayClient, do func(*replayClient) error) (float64, error) {
	began := time.Now()
	err := many(len(all), len(all), func(i int) error { return do(all[i]) })
	rate := float64(len(all)) / time.Since(began).Seconds()
	for _, r := range all {
		r.Cut()
	}
	return rate, err
}

// checkReplay returns an error unless each client was recovered and received what it missed, once and in order.
func checkReplay(all []*replayClient) error {
	var refused, lost, duplicates int64
	for _, r := range all {
		if !r.Recovered() {
			refused++
		}
		lost, duplicates = lost+r.lost.Load(), duplicates+r.duplicates.Load()
	}
	if refused+lost+duplicates > 0 {
		return fmt.Errorf("%d clients were not recovered; %d events lost, %d duplicated", refused, lost, duplicates)
	}
	return nil
}
