package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio"
)

// growSockets measures one node with more and more sockets. Ten sockets share a room.
func growSockets() curve {
	return curve{
		name: "sockets", grows: "sockets on the node", sizes: []int{1000, 2000, 5000, 10_000, 18_000, 50_000},
		panels: []panel{
			{"delivery", "an event to all", "µs per delivery", "linear: the same for each socket"},
			{"room", "an event for one room of 10", "µs per event", "the others cost nothing"},
			{"memory", "memory", "KiB resident per socket", "linear: the same for each socket"},
			{"connect", "clients connect, and join a room", "µs per client", "linear: the same for each socket"},
		},
		measure: func(ctx context.Context, m *machine, size int, add adder) error {
			if size+500 <= openFiles() {
				if err := m.socketsOn(ctx, size, add, "TCP", connectProcesses); err != nil {
					return err
				}
			}
			return m.socketsOn(ctx, size, add, "in memory", connectMemoryClients)
		},
	}
}

func openFiles() int {
	var limit syscall.Rlimit
	_ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) // cannot fail with these arguments
	return int(limit.Cur)
}

// A receiver counts received bytes.
type receiver interface {
	// await waits until it has received so many bytes, and returns how many it has.
	await(ctx context.Context, bytes int64) (int64, error)
}

// An audience is the clients of a node.
type audience interface {
	receiver

	leave() error
}

type memoryClients struct {
	*meter

	all []*memoryClient
}

func (g *memoryClients) leave() error { closeAll(g.all); return nil }

func connectMemoryClients(ctx context.Context, n *node, size int) (audience, error) {
	l := n.memoryListener()
	all, err := l.connect(ctx, size, 256, func(int) []byte { return script("40") })
	return &memoryClients{l.meter, all}, err
}

// processes are client pools in other processes, so that their work is not counted as that of the node.
type processes []*process

// connectProcesses starts as many processes as there are ports and files for, each with a source address of its own.
func connectProcesses(ctx context.Context, n *node, size int) (audience, error) {
	var all processes
	for left, most := size, min(openFiles()-100, 25_000); left > 0; left -= most {
		p, err := startSelf(ctx, "pool", n.addr, strconv.Itoa(min(left, most)), fmt.Sprintf("127.0.0.%d", 2+len(all)))
		if err != nil {
			return all, err
		}
		all = append(all, p)
		if _, err := p.line(); err != nil {
			return all, err
		}
	}
	return all, nil
}

// await polls if there are several processes, because it is unknown which of them receives what.
func (p processes) await(ctx context.Context, bytes int64) (int64, error) {
	for ctx.Err() == nil {
		var sum int64
		want := bytes
		if len(p) > 1 {
			want = 0
		}
		for _, one := range p {
			answer, err := one.ask(strconv.FormatInt(want, 10))
			if err != nil {
				return 0, err
			}
			var n int64
			if _, err := fmt.Sscan(answer, &n); err != nil {
				return 0, err
			}
			sum += n
		}
		if sum >= bytes {
			return sum, nil
		}
		time.Sleep(time.Millisecond)
	}
	return 0, context.Cause(ctx)
}

func (p processes) leave() (err error) {
	for _, one := range p {
		if stopped := one.stop(); err == nil {
			err = stopped
		}
	}
	return err
}

// memoryListener makes the node serve in memory, too.
func (n *node) memoryListener() *memoryListener {
	l := newMemoryListener()
	go func() { _ = n.web.Serve(l) }() // owner: the node; ends with stop
	return l
}

func (m *machine) socketsOn(ctx context.Context, size int, add adder, line string, connect func(context.Context, *node, int) (audience, error)) error {
	return m.withNodes(ctx, 1, socketio.Options{}, func(nodes []*node, _ *pgx.Conn) error {
		n := nodes[0]
		var seats, seated atomic.Int64
		n.io.OnConnect(func(ctx context.Context, s *socketio.Socket) error {
			defer seated.Add(1)
			return s.Join(ctx, room(seats.Add(1)/10))
		})
		before, err := ownFootprint()
		if err != nil {
			return err
		}
		began := time.Now()
		all, err := connect(ctx, n, size)
		if err != nil {
			return err
		}
		add("connect", line, micros(time.Since(began))/float64(size))
		for seated.Load() < int64(size) {
			time.Sleep(time.Millisecond)
		}
		after, err := ownFootprint()
		if err != nil {
			return err
		}
		add("memory", line, (after.bytes-before.bytes)/float64(size)/1024)
		if err := deliver(ctx, n, all, size, func(panel, rest string, cost float64) { add(panel, line+rest, cost) }); err != nil {
			return err
		}
		return all.leave()
	})
}

func room(i int64) socketio.Room { return socketio.Room(fmt.Sprint("room-", i)) }

// deliver measures events to all sockets, and to a room.
func deliver(ctx context.Context, n *node, all audience, size int, add adder) error {
	frame, received, err := frameSize(ctx, all, func() (int, error) { return size, said.Emit(ctx, n.io, text) })
	if err != nil {
		return err
	}
	emit := func(to socketio.Target, sockets int) error {
		if err := said.Emit(ctx, to, text); err != nil {
			return err
		}
		received += frame * int64(sockets)
		_, err := all.await(ctx, received)
		return err
	}
	// Room 0 has 9 sockets, and the last one the rest.
	processor, elapsed, err := each(500, func(i int) error { return emit(n.io.To(room(1+int64(i*7%(size/10-1)))), 10) })
	if err != nil {
		return err
	}
	add("room", ", processor of the node", processor)
	add("room", ", until all have it", elapsed)
	times := max(3, 100_000/size)
	processor, elapsed, err = each(times, func(int) error { return emit(n.io, size) })
	if err != nil {
		return err
	}
	add("delivery", ", processor of the node", processor/float64(size))
	add("delivery", ", until all have it", elapsed/float64(size))
	return nil
}

// frameSize emits once, and returns how many bytes each socket received, and all of them so far.
func frameSize(ctx context.Context, all receiver, emit func() (sockets int, err error)) (frame, received int64, err error) {
	before, err := all.await(ctx, 0)
	if err != nil {
		return 0, 0, err
	}
	sockets, err := emit()
	for deadline := time.Now().Add(time.Minute); err == nil && time.Now().Before(deadline); {
		time.Sleep(200 * time.Millisecond)
		var now int64
		if now, err = all.await(ctx, 0); now > before && now == received {
			return (now - before) / int64(sockets), now, err
		}
		received = now
	}
	return 0, 0, errors.Join(errors.New("no socket received an event"), err)
}
