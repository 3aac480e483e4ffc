package main

import (
	"context"
	"runtime"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio"
)

// growRooms measures more and more rooms of 1,000 sockets.
func growRooms() curve {
	return curve{
		name: "rooms", grows: "rooms on the node, of 1,000 sockets", sizes: []int{10, 100, 1000, 10_000, 100_000},
		panels: []panel{
			{"emit", "an event for one room of 1", "µs per event", "the others cost nothing"},
			{"join", "one Join or Leave, alone", "µs per call", "the others cost nothing"},
			{"many", "all rooms joined at once", "µs per room", "linear: the same for each room"},
			{"memory", "memory", "bytes of heap per room", "linear: the same for each room"},
		},
		measure: roomsOn,
	}
}

func heap() float64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.GC() // also what finalizers and pools release
	runtime.ReadMemStats(&s)
	return float64(s.HeapAlloc)
}

func roomsOn(ctx context.Context, m *machine, rooms int, add adder) error {
	const sockets = 1000
	return m.withNodes(ctx, 1, socketio.Options{}, func(nodes []*node, _ *pgx.Conn) error {
		n := nodes[0]
		all, err := connectMemoryClients(ctx, n, sockets)
		if err != nil {
			return err
		}
		frame, received, err := frameSize(ctx, all, func() (int, error) { return sockets, said.Emit(ctx, n.io, text) })
		if err != nil {
			return err
		}
		here := slices.Collect(n.io.Sockets())
		before, began := heap(), time.Now()
		err = many(min(rooms, sockets), 64, func(i int) error {
			var names []socketio.Room
			for r := i; r < rooms; r += sockets {
				names = append(names, room(int64(r)))
			}
			return here[i].Join(ctx, names...)
		})
		if err != nil {
			return err
		}
		add("many", "Join", micros(time.Since(began))/float64(rooms))
		if rooms >= sockets { // fewer cannot be measured
			add("memory", "heap", (heap()-before)/float64(rooms))
		}
		processor, elapsed, err := each(500, func(i int) error {
			if err := said.Emit(ctx, n.io.To(room(int64(i*7%rooms))), text); err != nil {
				return err
			}
			received += frame
			_, err := all.await(ctx, received)
			return err
		})
		if err != nil {
			return err
		}
		add("emit", "processor of the node", processor)
		add("emit", "until all have it", elapsed)
		if _, elapsed, err = each(200, func(i int) error { return here[i].Join(ctx, "another") }); err != nil {
			return err
		}
		add("join", "Join", elapsed)
		if _, elapsed, err = each(200, func(i int) error { return here[i].Leave(ctx, "another") }); err != nil {
			return err
		}
		add("join", "Leave", elapsed)
		return all.leave()
	})
}
