package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio"
)

// unicasts returns the comparisons of events for one socket, each emitted on the node of its client.
func unicasts() []comparison {
	var all []comparison
	for _, nodes := range []int{1, 2, 4} {
		all = append(all,
			comparison{
				name: fmt.Sprint("unicast-", nodes), unit: "events/s",
				what: fmt.Sprintf("%d nodes emit to a Socket at a time, as fast as they can", nodes), than: "to the room of its id, which rings",
				round: compare(nodes, toSocket, toRoom, (*singles).saturate),
			},
			comparison{
				name: fmt.Sprint("unicast-cpu-", nodes), unit: "µs of processor per event",
				what: fmt.Sprintf("%d nodes, 250 events/s and node to a Socket", nodes), than: "to the room of its id",
				round: compare(nodes, toSocket, toRoom, (*singles).processor),
			})
	}
	return append(all,
		comparison{
			name: "unicast-mixed", unit: "µs of processor per event",
			what: "4 nodes, 250 events/s and node, every second one to a room", than: "all of them to rooms",
			round: compare(4, alternately, toRoom, (*singles).processor),
		},
		comparison{
			name: "unicast-notifications", unit: "notifications per event",
			what: "the same, 4 nodes", than: "to the room of its id",
			round: compare(4, toSocket, toRoom, (*singles).notifications),
		},
		comparison{
			name: "unicast-statements", unit: "transactions per event",
			what: "the same", than: "to the room of its id",
			round: compare(4, toSocket, toRoom, (*singles).transactions),
		},
		comparison{
			name: "unicast-recovery", unit: "events/s",
			what: "2 nodes emit to a Socket at a time, recovery on", than: "recovery off",
			round: func(ctx context.Context, m *machine) (ours, reference float64, err error) {
				ours, err = m.unicast(ctx, 2, socketio.Options{}, toSocket, (*singles).saturate)
				if err != nil {
					return 0, 0, err
				}
				off := socketio.Options{Recovery: socketio.Recovery{Disabled: true}}
				reference, err = m.unicast(ctx, 2, off, toSocket, (*singles).saturate)
				return ours, reference, err
			},
		})
}

// A target returns the target of the i-th event.
type target func(n *node, s *socketio.Socket, i int) socketio.Target

func toSocket(_ *node, s *socketio.Socket, _ int) socketio.Target { return s }

func toRoom(n *node, s *socketio.Socket, _ int) socketio.Target {
	return n.io.To(socketio.Room(s.ID()))
}

func alternately(n *node, s *socketio.Socket, i int) socketio.Target {
	if i%2 == 0 {
		return toSocket(n, s, i)
	}
	return toRoom(n, s, i)
}

type measurement func(s *singles, ctx context.Context) (float64, error)

// compare measures with one target and then with the other.
func compare(nodes int, ours, reference target, measure measurement) func(ctx context.Context, m *machine) (float64, float64, error) {
	return func(ctx context.Context, m *machine) (float64, float64, error) {
		our, err := m.unicast(ctx, nodes, socketio.Options{}, ours, measure)
		if err != nil {
			return 0, 0, err
		}
		other, err := m.unicast(ctx, nodes, socketio.Options{}, reference, measure)
		return our, other, err
	}
}

// A singles is nodes with clients that receive events one by one.
type singles struct {
	nodes   []*node
	sockets [][]*socketio.Socket // of each node
	pools   []*clientPool
	to      target
	conn    *pgx.Conn
	size    int64 // of an event on the wire
}

// unicast measures with 50 clients on each node.
func (m *machine) unicast(ctx context.Context, nodes int, opts socketio.Options, to target, measure measurement) (result float64, err error) {
	const clients = 50
	err = m.withNodes(ctx, nodes, opts, func(all []*node, conn *pgx.Conn) error {
		s := &singles{nodes: all, to: to, conn: conn}
		defer func() {
			for _, c := range s.pools {
				c.close()
			}
		}()
		for _, n := range all {
			connected := make(chan *socketio.Socket, clients)
			n.io.OnConnect(func(_ context.Context, s *socketio.Socket) error {
				connected <- s
				return nil
			})
			c, err := connectPool(ctx, n.addr, loopback, clients, clients)
			if err != nil {
				return err
			}
			s.pools = append(s.pools, c)
			var sockets []*socketio.Socket
			for range clients {
				sockets = append(sockets, <-connected)
			}
			s.sockets = append(s.sockets, sockets)
		}
		if err := s.measureFrame(ctx); err != nil {
			return err
		}
		result, err = measure(s, ctx)
		return err
	})
	return result, err
}

// measureFrame measures the size of an event on the wire.
func (s *singles) measureFrame(ctx context.Context) error {
	before := s.received()
	if err := said.Emit(ctx, s.sockets[0][0], text); err != nil {
		return err
	}
	for last := int64(0); s.size == 0; time.Sleep(200 * time.Millisecond) {
		if now := s.received() - before; now > 0 && now == last {
			s.size = now
		} else {
			last = now
		}
	}
	return nil
}

func (s *singles) received() int64 {
	n := int64(0)
	for _, c := range s.pools {
		n += c.received.n.Load()
	}
	return n
}

// emit has every node emit events with a pause between them, and waits until their clients have received them.
func (s *singles) emit(ctx context.Context, each int, between time.Duration) error {
	want := s.received() + s.size*int64(each*len(s.nodes))
	errs := make([]error, len(s.nodes))
	var all sync.WaitGroup
	for k, n := range s.nodes {
		all.Go(func() {
			var receipt *socketio.Receipt
			began := time.Now()
			for i := range each {
				if between > 0 {
					time.Sleep(time.Until(began.Add(time.Duration(i) * between)))
				}
				// The next client after two events, so that alternating targets do not always hit the same clients.
				socket := s.sockets[k][i/2%len(s.sockets[k])]
				receipt = said.EmitAsync(s.to(n, socket, i), text)
			}
			errs[k] = receipt.Wait(ctx)
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); s.received() < want; time.Sleep(time.Millisecond) {
		if ctx.Err() != nil || time.Now().After(deadline) {
			return errors.Join(errors.New("deliveries are missing"), ctx.Err())
		}
	}
	return nil
}

func (s *singles) saturate(ctx context.Context) (float64, error) {
	each := 100_000 / len(s.nodes)
	if err := s.emit(ctx, each/10, 0); err != nil { // warms up
		return 0, err
	}
	began := time.Now()
	err := s.emit(ctx, each, 0)
	return float64(each*len(s.nodes)) / time.Since(began).Seconds(), err
}

// period is a run with one event on each node after each pause.
const (
	period = 4 * time.Second
	pause  = 4 * time.Millisecond
)

// processor returns the microseconds of processor time of an event, of this process and of Postgres.
func (s *singles) processor(ctx context.Context) (float64, error) {
	before, err := s.processorUsed(ctx)
	if err != nil {
		return 0, err
	}
	each := int(period / pause)
	if err := s.emit(ctx, each, pause); err != nil {
		return 0, err
	}
	after, err := s.processorUsed(ctx)
	return float64((after - before).Microseconds()) / float64(each*len(s.nodes)), err
}

// processorUsed returns the processor time of this process, and of all processes of Postgres.
func (s *singles) processorUsed(ctx context.Context) (time.Duration, error) {
	rows, err := s.conn.Query(ctx, "select pid from pg_stat_activity")
	if err != nil {
		return 0, err
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		return 0, err
	}
	sum := time.Duration(0)
	for _, pid := range pids {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
		if err != nil {
			return 0, err
		}
		ran, err := strconv.ParseInt(strings.Fields(string(line))[0], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(ran)
	}
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		return 0, err
	}
	return sum + time.Duration(own.Utime.Nano()+own.Stime.Nano()), nil
}

// notifications returns how many notifications each node receives for an event.
func (s *singles) notifications(ctx context.Context) (float64, error) {
	if _, err := s.conn.Exec(ctx, "do $$ begin execute format('listen %I', current_schema()); end $$"); err != nil {
		return 0, err
	}
	each := int(period / pause)
	listening, stop := context.WithCancel(ctx)
	received := make(chan int)
	go func() { // ends with stop
		n := 0
		for {
			if _, err := s.conn.WaitForNotification(listening); err != nil {
				received <- n
				return
			}
			n++
		}
	}()
	err := s.emit(ctx, each, pause)
	stop()
	n := <-received
	_, unlistened := s.conn.Exec(ctx, "unlisten *")
	return float64(n) / float64(each*len(s.nodes)), errors.Join(err, unlistened)
}

// transactions returns how many transactions the database executes for an event.
func (s *singles) transactions(ctx context.Context) (float64, error) {
	committed := func() (n int64, err error) {
		// An idle backend reports its statistics within a second.
		time.Sleep(1500 * time.Millisecond)
		err = s.conn.QueryRow(ctx, "select xact_commit from pg_stat_database where datname = current_database()").Scan(&n)
		return n, err
	}
	before, err := committed()
	if err != nil {
		return 0, err
	}
	each := int(period / pause)
	if err := s.emit(ctx, each, pause); err != nil {
		return 0, err
	}
	after, err := committed()
	return float64(after-before) / float64(each*len(s.nodes)), err
}
