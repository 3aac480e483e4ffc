package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio"
)

// handlers returns the comparisons of events that clients post, and that handlers emit to all.
func handlers() []comparison {
	const what = "2 nodes, 4 clients keep 64 events each in flight, whose handlers publish them to 24 sockets"
	published := &pairs{}
	rate := func(name, goal, than string, measure setUp) comparison {
		return comparison{
			name: "handlers-" + name, unit: "messages/s", goal: goal, what: what + ", until all are acknowledged and received", than: than,
			round: func(ctx context.Context, m *machine) (float64, float64, error) {
				p, err := published.measure(ctx, m, name, measure)
				return p.ours.rate(), p.reference.rate(), err
			},
		}
	}
	cost := func(name, than string, measure setUp) comparison {
		return comparison{
			name: "handlers-cpu-" + name, unit: "µs of processor per message", what: "the same, the servers with their Postgres or Redis", than: than,
			round: func(ctx context.Context, m *machine) (float64, float64, error) {
				p, err := published.last(ctx, m, name, measure)
				return p.ours.processor, p.reference.processor, err
			},
		}
	}
	const redis, postgres, emit = "the official server with its Redis Streams adapter", "the official server with its Postgres adapter", "with Emit, which waits in the handler"
	return []comparison{
		rate("redis", "≥ 5", redis, withRedis), cost("redis", redis, withRedis),
		rate("postgres", "", postgres, withPostgres), cost("postgres", postgres, withPostgres),
		rate("emit", "", emit, withEmit), cost("emit", emit, withEmit),
	}
}

// A setUp starts two servers, and runs do with them.
type setUp func(ctx context.Context, m *machine, do func(*served) error) error

// A served is two servers and what else of them takes processor time.
type served struct {
	name    string
	servers [2]*process
	addrs   []string
	pids    []int // of the servers and of Redis
	conn    *pgx.Conn
}

func (s *served) start(i int, p *process, err error) error {
	if err != nil {
		return err
	}
	s.servers[i] = p
	s.pids = append(s.pids, p.cmd.Process.Pid)
	addr, err := p.readAddress()
	if err != nil {
		return fmt.Errorf("%s does not say where it is; is it installed (make bench does that)? %w", s.name, err)
	}
	s.addrs = append(s.addrs, addr)
	return nil
}

func (s *served) kill() {
	for _, p := range s.servers {
		if p != nil {
			p.kill()
		}
	}
}

// processorUsed returns the processor time of the servers, Postgres and Redis.
func (s *served) processorUsed(ctx context.Context) (time.Duration, error) {
	sum, err := postgresTime(ctx, s.conn)
	for _, pid := range s.pids {
		used, failed := readStat(fmt.Sprintf("/proc/%d/stat", pid))
		sum, err = sum+time.Duration(used.own)*10*time.Millisecond, cmp.Or(err, failed)
	}
	return sum, err
}

// A pair is a measurement of this server with one of the reference.
type pair struct{ ours, reference traffic }

// A pairs keeps the measurements whose processor time was not asked for yet.
type pairs struct{ kept map[string][]pair }

func (p *pairs) measure(ctx context.Context, m *machine, name string, reference setUp) (pair, error) {
	ours, err := m.post(ctx, withPublish)
	if err != nil {
		return pair{}, err
	}
	if violation := ours.violation(); violation != "" {
		return pair{}, errors.New(violation)
	}
	theirs, err := m.post(ctx, reference)
	if err != nil {
		return pair{}, err
	}
	m.remark("%v", ours)
	m.remark("%v", theirs)
	one := pair{ours, theirs}
	if p.kept == nil {
		p.kept = make(map[string][]pair)
	}
	p.kept[name] = append(p.kept[name], one)
	return one, nil
}

// last returns a measurement that measure has made, or a new one.
func (p *pairs) last(ctx context.Context, m *machine, name string, reference setUp) (pair, error) {
	if len(p.kept[name]) == 0 {
		if _, err := p.measure(ctx, m, name, reference); err != nil {
			return pair{}, err
		}
	}
	one := p.kept[name][0]
	p.kept[name] = p.kept[name][1:]
	return one, nil
}

// post measures messages of clients through the handlers of servers.
func (m *machine) post(ctx context.Context, servers setUp) (t traffic, err error) {
	err = servers(ctx, m, func(s *served) error {
		t, err = s.measure(ctx)
		return err
	})
	return t, err
}

func withPublish(ctx context.Context, m *machine, do func(*served) error) error {
	return m.withHandlers(ctx, "Publish", do)
}

func withEmit(ctx context.Context, m *machine, do func(*served) error) error {
	return m.withHandlers(ctx, "Emit", do)
}

func (m *machine) withHandlers(ctx context.Context, method string, do func(*served) error) error {
	return m.inSchema(ctx, func(schema string, conn *pgx.Conn) error {
		s := &served{name: method, conn: conn}
		defer s.kill()
		for i := range s.servers {
			p, err := startSelf(ctx, "handlers", schema, method)
			if err := s.start(i, p, err); err != nil {
				return err
			}
		}
		return do(s)
	})
}

const (
	posting = socketio.Request[string, socketio.None]("post")
	posted  = socketio.Event[string]("post")
)

// serveHandlers is the subprocess of a node whose handler publishes what clients post, until its input ends.
func serveHandlers(ctx context.Context, schema, method string) error {
	m := &machine{dsn: os.Getenv("DATABASE_URL")}
	n, err := m.startNode(ctx, schema, socketio.Options{})
	if err != nil {
		return err
	}
	posting.On(n.io, func(ctx context.Context, _ *socketio.Socket, text string) (socketio.None, error) {
		if method == "Emit" {
			return socketio.None{}, posted.Emit(ctx, n.io, text)
		}
		return socketio.None{}, posted.Publish(ctx, n.io, text)
	})
	_, _ = fmt.Fprintf(os.Stdout, `{"Addr":%q}`+"\n", n.addr)
	_, _ = io.Copy(io.Discard, os.Stdin)
	return n.stop()
}

// official is the program of the official servers.
var official = filepath.Join("bench", "js", "handlers.mjs") //nolint:gochecknoglobals // constant

func withPostgres(ctx context.Context, m *machine, do func(*served) error) error {
	return m.inSchema(ctx, func(schema string, conn *pgx.Conn) error {
		// As the documentation of the adapter has it.
		_, err := conn.Exec(ctx, "create table socket_io_attachments (id bigserial unique, created_at timestamptz default now(), payload bytea)")
		if err != nil {
			return err
		}
		s := &served{name: "the Postgres adapter", conn: conn}
		defer s.kill()
		for i := range s.servers {
			p, err := startProcess(ctx, "node", official, "postgres", m.dsn, schema, schema+".socket_io_attachments")
			if err := s.start(i, p, err); err != nil {
				return err
			}
		}
		return do(s)
	})
}

var errNoRedis = errors.New("needs redis-server: install the Debian package redis-server, or Redis 5 or newer")

func withRedis(ctx context.Context, m *machine, do func(*served) error) error {
	redis, addr, err := m.startRedis(ctx)
	if err != nil {
		return err
	}
	defer redis.kill()
	return m.inSchema(ctx, func(schema string, conn *pgx.Conn) error { // Postgres is idle
		s := &served{name: "the Redis Streams adapter", conn: conn, pids: []int{redis.cmd.Process.Pid}}
		defer s.kill()
		for i := range s.servers {
			p, err := startProcess(ctx, "node", official, "redis", "redis://"+addr, schema)
			if err := s.start(i, p, err); err != nil {
				return err
			}
		}
		return do(s)
	})
}

// startRedis starts a Redis server that writes nothing to disk, and waits until it serves.
func (m *machine) startRedis(ctx context.Context) (*process, string, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, "", errNoRedis
	}
	free, err := listen(ctx)
	if err != nil {
		return nil, "", err
	}
	addr := free.Addr().String()
	if err := free.Close(); err != nil {
		return nil, "", err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, "", err
	}
	p, err := startProcess(ctx, path, "--bind", loopback, "--port", port, "--save", "", "--appendonly", "no", "--dir", m.scratch)
	if err != nil {
		return nil, "", err
	}
	for {
		line, err := p.line()
		if err != nil {
			p.kill()
			return nil, "", fmt.Errorf("start redis-server: %w", err)
		}
		if strings.Contains(line, "Ready to accept connections") {
			go func() { _, _ = io.Copy(io.Discard, p.out) }() // ends with the process
			return p, addr, nil
		}
	}
}
