package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio"
)

// growNamespaces measures more and more namespaces, each with ten sockets.
func growNamespaces() curve {
	return curve{
		name: "namespaces", grows: "namespaces of 10 sockets each", sizes: []int{1, 3, 10, 30, 100},
		panels: []panel{
			{"emit", "an event for one namespace", "µs per event", "the others cost nothing"},
			{"connect", "2,000 clients connect", "µs per client", "the same in any number"},
		},
		measure: namespacesOn,
	}
}

func namespacesOn(ctx context.Context, m *machine, size int, add adder) error {
	const each10, joining = 10, 2000
	return m.withNodes(ctx, 1, socketio.Options{}, func(nodes []*node, _ *pgx.Conn) error {
		n := nodes[0]
		var spaces []*socketio.Namespace
		for i := range size {
			spaces = append(spaces, n.io.Of(fmt.Sprint("/space-", i)))
		}
		enter := func(i int) []byte { return script("40" + spaces[i%size].Name() + ",") }
		l := n.memoryListener()
		clients, err := l.connect(ctx, each10*size, 256, enter)
		if err != nil {
			return err
		}
		all := &memoryClients{l.meter, clients}
		last := spaces[size-1]
		frame, received, err := frameSize(ctx, all, func() (int, error) { return each10, said.Emit(ctx, last, text) })
		if err != nil {
			return err
		}
		processor, elapsed, err := each(500, func(int) error {
			if err := said.Emit(ctx, last, text); err != nil {
				return err
			}
			received += frame * each10
			_, err := all.await(ctx, received)
			return err
		})
		if err != nil {
			return err
		}
		add("emit", "processor of the node", processor)
		add("emit", "until all have it", elapsed)
		began, used := time.Now(), processorTime()
		more, err := l.connect(ctx, joining, 256, enter)
		if err != nil {
			return err
		}
		add("connect", "processor of the node", micros(processorTime()-used)/joining)
		add("connect", "elapsed", micros(time.Since(began))/joining)
		closeAll(more)
		return all.leave()
	})
}
