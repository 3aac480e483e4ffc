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

// missed is how many events each client misses while it is away.
const missed = 20

// returns are the comparisons of clients that come back, all at once, with the connections of as many new ones.
func returns() []comparison {
	row := func(name string, clients int, goal, what string, kill bool) comparison {
		return comparison{
			name: name, unit: "clients/s", goal: goal, what: what, than: "as many new clients connect to the same node at once",
			round: func(ctx context.Context, m *machine) (float64, float64, error) { return m.comeBack(ctx, clients, kill) },
		}
	}
	return []comparison{
		row("recovery", 1000, "≥ 3,000/s here", "1,000 clients are cut off and come to another node at once, until each has the 20 events it missed", false),
		row("storm", 3000, "≥ 0.50", "3,000 clients lose their node and come to another at once, until each has the 20 events it missed", true),
	}
}

// A returner is a client that has to get events 0 to missed-1, once each and in order.
type returner struct {
	*wire.Client

	next    int
	doubles atomic.Int64
	lost    atomic.Int64
	whole   chan struct{} // closed when it got the last
}

func newReturner() *returner {
	r := &returner{whole: make(chan struct{})}
	r.Client = wire.New(wire.Options{Event: func(data json.RawMessage) {
		var seq int
		if _, err := fmt.Sscanf(string(data), `["tick",1,%d,`, &seq); err != nil {
			return
		}
		if seq < r.next {
			r.doubles.Add(1)
			return
		}
		r.lost.Add(int64(seq - r.next))
		if r.next = seq + 1; r.next == missed {
			close(r.whole)
		}
	}})
	return r
}

// comeBack cuts clients off, or kills their node, emits what they miss, and lets all of them connect to another node
// at once. It fails if any of them gets not exactly what it missed.
func (m *machine) comeBack(ctx context.Context, clients int, kill bool) (ours, reference float64, err error) {
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
		all, err := gather(ctx, left.addr, clients)
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
		if ours, err = atOnce(all, func(r *returner) error { return r.comeBack(ctx, to.addr) }); err != nil {
			return err
		}
		if err := exact(all); err != nil {
			return err
		}
		fresh := make([]*returner, clients)
		for i := range fresh {
			fresh[i] = newReturner()
		}
		reference, err = atOnce(fresh, func(r *returner) error { return r.Connect(ctx, to.addr) })
		return err
	})
	return ours, reference, err
}

// gather connects clients that join a room.
func gather(ctx context.Context, addr string, clients int) ([]*returner, error) {
	all := make([]*returner, clients)
	return all, many(clients, 128, func(i int) error {
		all[i] = newReturner()
		if err := all[i].Connect(ctx, addr); err != nil {
			return err
		}
		return all[i].Call(ctx, nil, "join", []string{"crowd"})
	})
}

// emit emits what the crowd is to miss.
func (r *remote) emit(ctx context.Context) error {
	results, err := r.request(ctx, http.MethodPost, "/control/publish",
		fmt.Sprintf(`{"publisher":1,"count":%d,"targets":[{"rooms":["crowd"]}]}`, missed))
	if err != nil {
		return err
	}
	if n := strings.Count(results, `,""]`); n != missed {
		return fmt.Errorf("%d of %d events were emitted", n, missed)
	}
	return nil
}

// comeBack returns when the client has all that it missed.
func (r *returner) comeBack(ctx context.Context, addr string) error {
	if err := r.Connect(ctx, addr); err != nil {
		return err
	}
	select {
	case <-r.whole:
		return nil
	case <-time.After(30 * time.Second):
		return errors.New("did not get all that it missed")
	}
}

// atOnce runs do for all at the same time, and returns how many are done a second.
func atOnce(all []*returner, do func(*returner) error) (float64, error) {
	began := time.Now()
	err := many(len(all), len(all), func(i int) error { return do(all[i]) })
	rate := float64(len(all)) / time.Since(began).Seconds()
	for _, r := range all {
		r.Cut()
	}
	return rate, err
}

// exact returns an error unless each client was recovered and got all that it missed, once and in order.
func exact(all []*returner) error {
	var refused, lost, doubles int64
	for _, r := range all {
		if !r.Recovered() {
			refused++
		}
		lost, doubles = lost+r.lost.Load(), doubles+r.doubles.Load()
	}
	if refused+lost+doubles > 0 {
		return fmt.Errorf("%d clients were not recovered; %d events lost, %d doubled", refused, lost, doubles)
	}
	return nil
}
