package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/integration/wire"
	"github.com/pgsocket/socketio/pgadapter"
)

// The traffic of a soak.
const (
	soakNodes        = 2
	permanentClients = 50                     // clients that stay connected
	soakBeat         = 100 * time.Millisecond // interval of the bursts of each node
	soakBurst        = 15                     // events in a burst
	soakChurn        = 200 * time.Millisecond // interval of new clients
	soakRetention    = time.Minute
	soakWindow       = 20 * time.Second
)

const (
	soakJoin  socketio.Request[string, socketio.None] = "join"
	soakLeave socketio.Request[string, socketio.None] = "leave"
	visits    socketio.Data[int]                      = "visits"
)

// A soak is a cluster under light, steady traffic of all kinds for a long time.
type soak struct {
	nodes    []*node
	conn     *pgx.Conn
	recorder *soakRecorder

	emitted, received, came, back, recovered, failed atomic.Int64
}

// soaked runs the traffic for a time, prints a line per minute, and returns an error if anything grew.
func (m *machine) soaked(ctx context.Context, long time.Duration) error {
	m.pg = pgadapter.Options{Retention: soakRetention}
	opts := socketio.Options{Recovery: socketio.Recovery{Window: soakWindow}}
	return m.withNodes(ctx, soakNodes, opts, func(nodes []*node, conn *pgx.Conn) error {
		s := &soak{nodes: nodes, conn: conn}
		for _, n := range nodes {
			n.io.OnConnect(func(ctx context.Context, s *socketio.Socket) error { return visits.Set(ctx, s, 1) })
			soakJoin.On(n.io, func(ctx context.Context, s *socketio.Socket, room string) (none socketio.None, err error) {
				return none, s.Join(ctx, socketio.Room(room))
			})
			soakLeave.On(n.io, func(ctx context.Context, s *socketio.Socket, room string) (none socketio.None, err error) {
				return none, s.Leave(ctx, socketio.Room(room))
			})
		}
		stayers, err := s.connectPermanent(ctx)
		if err != nil {
			return err
		}
		defer func() {
			for _, c := range stayers {
				c.Cut()
			}
		}()
		if s.recorder, err = newSoakRecorder(ctx, conn); err != nil {
			return err
		}
		defer s.recorder.close(context.WithoutCancel(ctx))
		s.traffic(ctx, long)
		return errors.Join(s.check(), s.recorder.check())
	})
}

// traffic runs until the time is over.
func (s *soak) traffic(ctx context.Context, long time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	var all sync.WaitGroup
	for _, n := range s.nodes {
		all.Go(func() { every(ctx, soakBeat, func() { s.emit(ctx, n) }) })
	}
	all.Go(func() { every(ctx, soakChurn, func() { all.Go(func() { s.visitClient(ctx) }) }) })
	all.Go(func() { every(ctx, soakChurn, func() { s.emitSQL(ctx) }) })
	all.Go(func() { s.recorder.run(ctx, s) })
	all.Wait()
}

// every runs a function at a steady rate until ctx ends.
func every(ctx context.Context, pause time.Duration, do func()) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			do()
		case <-ctx.Done():
			return
		}
	}
}

// connectPermanent connects clients that stay, each in a room of its own and in a common one.
func (s *soak) connectPermanent(ctx context.Context) ([]*wire.Client, error) {
	var clients []*wire.Client
	for i := range permanentClients {
		c := wire.New(wire.Options{Event: func(json.RawMessage) { s.received.Add(1) }})
		if err := c.Connect(ctx, s.nodes[i%len(s.nodes)].addr); err != nil {
			return clients, err
		}
		clients = append(clients, c)
		for _, room := range []string{"all", strconv.Itoa(i)} {
			if err := c.Call(ctx, nil, "join", room); err != nil {
				return clients, err
			}
		}
	}
	return clients, nil
}

// emit emits a burst from a node, each event to one of the rooms, and records how long it took to append.
func (s *soak) emit(ctx context.Context, n *node) {
	began := time.Now()
	var last *socketio.Receipt
	for range soakBurst {
		last = said.EmitAsync(n.io.To(socketio.Room(strconv.Itoa(rand.IntN(permanentClients)))), text)
	}
	if err := last.Wait(ctx); err != nil {
		s.fail(ctx, err)
		return
	}
	s.emitted.Add(soakBurst)
	s.recorder.appended(began, time.Since(began))
}

// emitSQL emits to all in a transaction of a user, one time in five with a key, and moves a socket between rooms.
func (s *soak) emitSQL(ctx context.Context) {
	var b pgx.Batch
	key := any(nil)
	if rand.IntN(5) == 0 {
		key = strconv.FormatUint(rand.Uint64(), 36)
	}
	b.Queue("select emit('all', 'said', to_jsonb($1::text), key => $2)", text, key)
	room := strconv.Itoa(rand.IntN(permanentClients))
	for _, function := range []string{"join_room", "leave_room"} {
		b.Queue(fmt.Sprintf("select %s($1, 'visited')", function), room)
	}
	if err := s.conn.SendBatch(context.WithoutCancel(ctx), &b).Close(); err != nil { // cancellation would break the connection
		s.fail(ctx, err)
	}
}

// visitClient is the life of a short-lived client: it connects, joins and leaves rooms, is cut, may reconnect to the
// other node, and ends.
func (s *soak) visitClient(ctx context.Context) {
	s.came.Add(1)
	c := wire.New(wire.Options{})
	first := rand.IntN(len(s.nodes))
	if err := c.Connect(ctx, s.nodes[first].addr); err != nil {
		s.fail(ctx, err)
		return
	}
	defer func() { c.Cut() }()
	room := strconv.Itoa(rand.IntN(permanentClients))
	for _, do := range []string{"join", "leave", "join"} {
		if err := c.Call(ctx, nil, do, room); err != nil {
			s.fail(ctx, err)
			return
		}
	}
	c.Cut()
	if rand.IntN(2) == 0 {
		return // its session expires
	}
	if err := c.Connect(ctx, s.nodes[(first+1)%len(s.nodes)].addr); err != nil {
		s.fail(ctx, err)
		return
	}
	s.back.Add(1)
	if c.Recovered() {
		s.recovered.Add(1)
	}
	if rand.IntN(2) == 0 {
		_ = c.Send("41") // ends the session; otherwise it expires
	}
}

// check returns an error if anything failed.
func (s *soak) check() error {
	if failed := s.failed.Load(); failed > 0 {
		return fmt.Errorf("%d emits, visits or queries failed", failed)
	}
	if back, recovered := s.back.Load(), s.recovered.Load(); recovered < back {
		return fmt.Errorf("%d of %d clients that came back were not recovered", back-recovered, back)
	}
	return nil
}

// fail counts and prints an error before the end.
func (s *soak) fail(ctx context.Context, err error) {
	if ctx.Err() == nil {
		s.failed.Add(1)
		fmt.Fprintln(os.Stderr, "soak:", err)
	}
}
