package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/integration/wire"
	"github.com/pgsocket/socketio/pgadapter"
)

// logs returns the comparisons on Postgres.
func logs() []comparison {
	publish := func(nodes int, goal string) comparison {
		return comparison{
			name: fmt.Sprint("publish-", nodes), unit: "events/s", goal: goal,
			what: fmt.Sprintf("%d nodes publish events of 200 bytes, until all have all", nodes),
			than: "one connection that appends batches of 1,000, without a reader",
			round: func(ctx context.Context, m *machine) (float64, float64, error) {
				ours, reference, err := m.publish(ctx, nodes)
				return ours.rate, reference.rate, err
			},
		}
	}
	return []comparison{
		publish(1, ""), publish(2, "≥ 0.60"), publish(4, "holds"),
		{
			name: "wal", unit: "bytes of WAL per event", goal: "≤ 1.30",
			what: "2 nodes publish events of 200 bytes", than: "the bare append",
			round: func(ctx context.Context, m *machine) (float64, float64, error) {
				ours, reference, err := m.publish(ctx, 2)
				return ours.wal, reference.wal, err
			},
		},
		{
			name: "latency-p50", unit: "ms", goal: "≤ 2", what: "emit → client of another node, 50 events/s, p50", than: "bare INSERT + NOTIFY → listener",
			round: func(ctx context.Context, m *machine) (float64, float64, error) { return m.latency(ctx, 50) },
		},
		{
			name: "latency-p99", unit: "ms", goal: "≤ 4", what: "the same, p99", than: "the same",
			round: func(ctx context.Context, m *machine) (float64, float64, error) { return m.latency(ctx, 99) },
		},
		{
			name: "connect", unit: "clients/s", goal: "≥ 0.70", what: "clients connect, recovery on", than: "recovery off",
			round: func(ctx context.Context, m *machine) (float64, float64, error) { return m.connects(ctx) },
		},
		{
			name: "unrelated", unit: "tps", goal: "≥ 0.95", what: "pgbench, 4 connections, beside 1,000 events/s", than: "pgbench beside nodes at rest",
			round: func(ctx context.Context, m *machine) (float64, float64, error) { return m.unrelated(ctx) },
		},
	}
}

// A publishCost is the rate of publishing, and its WAL per event.
type publishCost struct{ rate, wal float64 }

const published = 1_000_000

// A countingAdapter counts what is delivered to a node without a server.
type countingAdapter struct {
	id string
	n  atomic.Int64
}

func (t *countingAdapter) ID() string { return t.id }

func (t *countingAdapter) Deliver(ds []adapter.Delivery) { t.n.Add(int64(len(ds))) }

func (t *countingAdapter) LogTruncated(adapter.Offset) {}

func (t *countingAdapter) LogGap(adapter.Offset, error) {}

func (m *machine) publish(ctx context.Context, nodes int) (ours, reference publishCost, err error) {
	err = m.inSchema(ctx, func(schema string, conn *pgx.Conn) error {
		dbs, tallies, err := m.openCountingAdapters(ctx, schema, nodes)
		if err != nil {
			return err
		}
		ours, err = measure(ctx, conn, func() error { return publishAll(ctx, dbs, tallies) })
		for _, n := range dbs {
			err = errors.Join(err, n.db.Close(context.WithoutCancel(ctx)))
		}
		if err != nil {
			return err
		}
		reference, err = measure(ctx, conn, func() error { return appendBare(ctx, conn) })
		return err
	})
	return ours, reference, err
}

// openCountingAdapters opens nodes without a server.
func (m *machine) openCountingAdapters(ctx context.Context, schema string, n int) ([]*node, []*countingAdapter, error) {
	dbs, tallies := make([]*node, n), make([]*countingAdapter, n)
	for i := range n {
		db, err := m.openDB(ctx, schema)
		if err != nil {
			return nil, nil, err
		}
		dbs[i], tallies[i] = &node{db: db}, &countingAdapter{id: strconv.Itoa(i)}
		if _, err := db.Bind(tallies[i]); err != nil {
			return nil, nil, err
		}
	}
	return dbs, tallies, nil
}

// measure measures the rate and the WAL of a function that appends a fixed number of events.
func measure(ctx context.Context, conn *pgx.Conn, do func() error) (publishCost, error) {
	var before, after int64
	const lsn = "select pg_current_wal_insert_lsn() - '0/0'"
	if err := conn.QueryRow(ctx, lsn+"::pg_lsn").Scan(&before); err != nil {
		return publishCost{}, err
	}
	began := time.Now()
	if err := do(); err != nil {
		return publishCost{}, err
	}
	took := time.Since(began)
	if err := conn.QueryRow(ctx, lsn+"::pg_lsn").Scan(&after); err != nil {
		return publishCost{}, err
	}
	return publishCost{published / took.Seconds(), float64(after-before) / published}, nil
}

func publishAll(ctx context.Context, dbs []*node, tallies []*countingAdapter) error {
	var all sync.WaitGroup
	errs := make([]error, len(dbs))
	for i, n := range dbs {
		all.Go(func() { errs[i] = publishPart(ctx, n.db, published/len(dbs)) })
	}
	all.Wait()
	for _, t := range tallies {
		for t.n.Load() < published && ctx.Err() == nil && errors.Join(errs...) == nil {
			time.Sleep(100 * time.Microsecond)
		}
	}
	return errors.Join(errors.Join(errs...), ctx.Err())
}

func publishPart(ctx context.Context, db *pgadapter.DB, count int) error {
	payload := []byte(strings.Repeat("x", 200))
	for range count {
		e := &adapter.Envelope{Namespace: "/", Audience: adapter.Audience{Rooms: []string{"room"}}, Payload: payload}
		if _, err := db.Publish(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// appendBare appends as many events as one connection can, 1,000 at a time.
func appendBare(ctx context.Context, conn *pgx.Conn) error {
	const each = 1000
	packet := []byte{0}
	body := append([]byte{0, 1, '/', 0, 1, 0, 4}, "room"...)
	body = append(body, 0, 0)
	body = binary.BigEndian.AppendUint32(body, 200)
	body = append(append(body, strings.Repeat("x", 200)...), 0, 0)
	packet = append(binary.BigEndian.AppendUint32(packet, uint32(len(body))), body...)
	frame := append([]byte{1}, slices.Repeat(packet, each)...)
	for seq := range published / each {
		if _, err := conn.Exec(ctx, "select append(77, $1, $2, $3, false)", seq+1, each, frame); err != nil {
			return err
		}
	}
	return nil
}

// latency measures, in milliseconds, emits from one node to a client of another, alternating with bare round trips.
func (m *machine) latency(ctx context.Context, percent int) (ours, reference float64, err error) {
	const count = 300
	err = m.withNodes(ctx, 2, socketio.Options{}, func(nodes []*node, conn *pgx.Conn) error {
		arrived := make(chan time.Time, 1)
		client := wire.New(wire.Options{Event: func(json.RawMessage) { arrived <- time.Now() }})
		if err := client.Connect(ctx, nodes[1].addr); err != nil {
			return err
		}
		defer client.Cut()
		listener, err := pgx.Connect(ctx, m.dsn)
		if err != nil {
			return err
		}
		defer listener.Close(context.WithoutCancel(ctx))
		if _, err := conn.Exec(ctx, "create table bare (id bigint primary key, body text)"); err != nil {
			return err
		}
		if _, err := listener.Exec(ctx, "listen bare"); err != nil {
			return err
		}
		var events, trips []float64
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for i := range count {
			<-tick.C
			began := time.Now()
			if err := said.Emit(ctx, nodes[0].io, text); err != nil {
				return err
			}
			select {
			case at := <-arrived:
				events = append(events, at.Sub(began).Seconds()*1e3)
			case <-time.After(10 * time.Second):
				return errors.New("an event did not arrive")
			}
			<-tick.C
			took, err := roundTrip(ctx, conn, listener, i)
			if err != nil {
				return err
			}
			trips = append(trips, took.Seconds()*1e3)
		}
		slices.Sort(events)
		slices.Sort(trips)
		ours, reference = events[count*percent/100], trips[count*percent/100]
		return nil
	})
	return ours, reference, err
}

func roundTrip(ctx context.Context, writer, listener *pgx.Conn, i int) (time.Duration, error) {
	began := time.Now()
	var b pgx.Batch
	b.Queue("insert into bare values ($1, $2)", i, text)
	b.Queue("select pg_notify('bare', 'x')")
	if err := writer.SendBatch(ctx, &b).Close(); err != nil {
		return 0, err
	}
	_, err := listener.WaitForNotification(ctx)
	return time.Since(began), err
}

// connects connects clients, 256 at a time.
func (m *machine) connects(ctx context.Context) (ours, reference float64, err error) {
	const clients = 3000
	rate := func(o socketio.Options) (rate float64, err error) {
		err = m.withNodes(ctx, 1, o, func(nodes []*node, _ *pgx.Conn) error {
			began := time.Now()
			c, err := connectPool(ctx, nodes[0].addr, loopback, clients, 256)
			if err != nil {
				return err
			}
			rate = clients / time.Since(began).Seconds()
			c.close()
			return nil
		})
		return rate, err
	}
	if ours, err = rate(socketio.Options{}); err != nil {
		return 0, 0, err
	}
	reference, err = rate(socketio.Options{Recovery: socketio.Recovery{Disabled: true}})
	return ours, reference, err
}

// unrelated runs pgbench beside two nodes that emit 1,000 events per second for three seconds, then none for three,
// and so on. Between two runs of pgbench the machine would vary by more than the effect.
func (m *machine) unrelated(ctx context.Context) (ours, reference float64, err error) {
	if err := m.pgbench(ctx, nil, "-i", "-q"); err != nil {
		return 0, 0, err
	}
	err = m.withNodes(ctx, 2, socketio.Options{}, func(nodes []*node, _ *pgx.Conn) error {
		emitting, stop := context.WithCancel(ctx)
		var on atomic.Bool
		var emitter sync.WaitGroup
		emitter.Go(func() { // ends with stop
			tick := time.NewTicker(2 * time.Millisecond)
			defer tick.Stop()
			for emitting.Err() == nil {
				<-tick.C
				for _, n := range nodes {
					if on.Load() {
						_ = said.EmitAsync(n.io, text) // the result shows an error
					}
				}
			}
		})
		const turn, turns = 3, 12 // seconds
		var sums [2]float64       // without, with
		err := m.pgbench(ctx, func(second int, tps float64) {
			with := second / turn % 2
			if second%turn != 0 { // the first second of a turn has both
				sums[with] += tps
			}
			on.Store((second+1)/turn%2 == 1)
		}, "-P", "1", "-T", strconv.Itoa(turn*turns), "-c", "4", "-j", "1", "-n")
		stop()
		emitter.Wait()
		const counted = (turn - 1) * turns / 2
		ours, reference = sums[1]/counted, sums[0]/counted
		return err
	})
	return ours, reference, err
}

// pgbench runs pgbench, and calls progress with the transactions of each second, from 0.
func (m *machine) pgbench(ctx context.Context, progress func(second int, tps float64), args ...string) error {
	bin, err := exec.LookPath("pgbench")
	if err != nil {
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pgbench")
		if len(found) == 0 {
			return err
		}
		bin = found[len(found)-1]
	}
	pgbench := exec.CommandContext(ctx, bin, append(args, m.dsn)...)
	said, err := pgbench.StderrPipe()
	if err != nil {
		return err
	}
	if err := pgbench.Start(); err != nil {
		return err
	}
	var last string
	second := 0
	for lines := bufio.NewScanner(said); lines.Scan(); {
		last = lines.Text()
		var at, tps float64
		if _, err := fmt.Sscanf(last, "progress: %f s, %f tps", &at, &tps); err == nil {
			progress(second, tps)
			second++
		}
	}
	if err := pgbench.Wait(); err != nil {
		return fmt.Errorf("pgbench: %w: %s", err, last)
	}
	return nil
}
