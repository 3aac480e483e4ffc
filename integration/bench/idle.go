package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/integration/wire"
)

// idles returns the comparisons of processes that only hold connections.
func idles() []comparison {
	const goroutines = "goroutines per connection"
	row := func(name, unit, goal, what, than string, pick func(footprint) float64, measure func(*machine, context.Context) (a, b footprint, err error)) comparison {
		return comparison{
			name: name, unit: unit, goal: goal, what: what, than: than,
			round: func(ctx context.Context, m *machine) (float64, float64, error) {
				ours, reference, err := measure(m, ctx)
				return pick(ours), pick(reference), err
			},
		}
	}
	memory := func(f footprint) float64 { return f.bytes / 1024 }
	count := func(f footprint) float64 { return f.goroutines }
	sockets, alone := "5,000 idle WebSockets in a room, recovery on", "gobwas/ws alone, a goroutine per connection"
	polls, hanging := "2,000 idle long-polling sessions in a room, recovery on", "net/http alone, as many requests without an answer yet"
	return []comparison{
		row("idle", "KiB resident per connection", "≤ 2, and ≤ 12 KiB here", sockets, alone, memory, (*machine).idleSockets),
		row("idle-goroutines", goroutines, "≤ 1", sockets, alone, count, (*machine).idleSockets),
		row("polling", "KiB resident per session", "", polls, hanging, memory, (*machine).idlePolls),
	}
}

type program interface {
	footprint(ctx context.Context) (footprint, error)
}

// perConnection measures by how much a program grows with n connections.
func perConnection(ctx context.Context, p program, n int, connect func() error) (per footprint, err error) {
	before, err := p.footprint(ctx)
	if err != nil {
		return per, err
	}
	if err := connect(); err != nil {
		return per, err
	}
	// The memory for connecting is released when the last handlers have returned.
	after := footprint{bytes: math.Inf(1)}
	for range 50 {
		last := after
		if after, err = p.footprint(ctx); err != nil {
			return per, err
		}
		if after.bytes > last.bytes*0.995 && after.goroutines == last.goroutines {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	return footprint{(after.bytes - before.bytes) / float64(n), (after.goroutines - before.goroutines) / float64(n)}, nil
}

func (m *machine) idleSockets(ctx context.Context) (ours, reference footprint, err error) {
	const n = 5000
	clients := make([]*wire.Client, n)
	ours, err = m.inNode(ctx, n, func(r *remote) error {
		return many(n, 128, func(i int) error {
			clients[i] = wire.New(wire.Options{})
			if err := clients[i].Connect(ctx, r.addr); err != nil {
				return err
			}
			return clients[i].Call(ctx, nil, "join", []string{"hall"})
		})
	}, func() {
		for _, c := range clients {
			c.Cut()
		}
	})
	if err != nil {
		return ours, reference, err
	}
	conns := make([]net.Conn, n)
	reference, err = inSubprocess(ctx, "echo", n, func(addr string) error {
		return many(n, 128, func(i int) (err error) {
			conns[i], _, _, err = ws.Dial(ctx, "ws://"+addr)
			return err
		})
	})
	for _, conn := range conns {
		if conn != nil {
			_ = conn.Close()
		}
	}
	return ours, reference, err
}

func (m *machine) idlePolls(ctx context.Context) (ours, reference footprint, err error) {
	const n = 2000
	ctx, leave := context.WithCancel(ctx)
	var hanging sync.WaitGroup
	defer func() { leave(); hanging.Wait() }()
	transport := &http.Transport{MaxIdleConnsPerHost: n}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	ours, err = m.inNode(ctx, n, func(r *remote) error {
		return many(n, 64, func(int) error {
			p, err := wire.OpenPoll(ctx, client, r.addr)
			if err != nil {
				return err
			}
			for _, packet := range []string{"40", `420["join",["hall"]]`} {
				if err := p.Send(ctx, packet); err != nil {
					return err
				}
				if _, err := p.Next(ctx); err != nil { // the answer
					return err
				}
			}
			hanging.Go(func() { _, _ = p.Next(ctx) }) // fails with leave
			return nil
		})
	}, func() {})
	if err != nil {
		return ours, reference, err
	}
	reference, err = inSubprocess(ctx, "hang", n, func(addr string) error {
		return many(n, 64, func(int) error {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
			if err != nil {
				return err
			}
			context.AfterFunc(ctx, func() { _ = conn.Close() })
			_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: node\r\n\r\n")
			return err
		})
	})
	return ours, reference, err
}

// inNode measures the connections of a node process.
func (m *machine) inNode(ctx context.Context, n int, connect func(*remote) error, leave func()) (per footprint, err error) {
	err = m.inSchema(ctx, func(schema string, _ *pgx.Conn) error {
		r, err := m.spawn(ctx, schema)
		if err != nil {
			return err
		}
		defer r.kill()
		defer leave()
		per, err = perConnection(ctx, r, n, func() error { return connect(r) })
		return err
	})
	return per, err
}

// inSubprocess measures the connections of a subprocess of this program.
func inSubprocess(ctx context.Context, name string, n int, connect func(addr string) error) (per footprint, err error) {
	p, err := startSelf(ctx, name)
	if err != nil {
		return per, err
	}
	addr, err := p.line()
	if err == nil {
		per, err = perConnection(ctx, p, n, func() error { return connect(addr) })
	}
	return per, errors.Join(err, p.stop())
}

// holdConnections is the subprocess that only holds connections: "echo" of WebSockets, "hang" of requests without an
// answer.
func holdConnections(ctx context.Context, name string) error {
	listener, err := listen(ctx)
	if err != nil {
		return err
	}
	if name == "echo" {
		go acceptSockets(listener) // ends with the process
	} else {
		server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })}
		go func() { _ = server.Serve(listener) }() // ends with the process
	}
	_, _ = fmt.Fprintln(os.Stdout, listener.Addr())
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		f, err := ownFootprint()
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(os.Stdout, "%.0f %.0f\n", f.bytes, f.goroutines)
	}
	return nil
}

func acceptSockets(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() { // ends with the connection
			defer func() { _ = conn.Close() }()
			_, err := ws.Upgrade(conn)
			for err == nil {
				var data []byte
				if data, err = wsutil.ReadClientText(conn); err == nil {
					err = wsutil.WriteServerText(conn, data)
				}
			}
		}()
	}
}
