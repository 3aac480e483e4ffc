package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/adapter"
)

// growNodes measures more and more nodes without clients. All share the machine's processors.
func growNodes() curve {
	return curve{
		name: "nodes", grows: "nodes on one machine", sizes: []int{1, 2, 4, 8},
		panels: []panel{
			{"processor", "processor time, saturated", "µs per event", "an event costs the same in any cluster"},
			{"share", "processor time of a node, saturated", "µs per event and node", "linear: each node reads each event"},
			{"rate", "until all nodes have all, saturated", "µs per event", "as many events as one node"},
			{"latency", "until all nodes have an event, alone", "µs", "as soon as with one node"},
		},
		measure: nodesOn,
	}
}

// An echoAdapter signals when an event was delivered to a node without a server.
type echoAdapter struct {
	countingAdapter

	delivered chan<- struct{}
}

func (e *echoAdapter) Deliver(ds []adapter.Delivery) {
	for _, d := range ds {
		if string(d.Payload) == text { // not an event of a node that leaves
			e.delivered <- struct{}{}
		}
	}
}

func nodesOn(ctx context.Context, m *machine, size int, add adder) error {
	return m.inSchema(ctx, func(schema string, conn *pgx.Conn) error {
		dbs, tallies, err := m.openCountingAdapters(ctx, schema, size)
		if err != nil {
			return err
		}
		base, err := postgresTime(ctx, conn)
		if err != nil {
			return err
		}
		used, began := processorTime(), time.Now()
		if err := publishAll(ctx, dbs, tallies); err != nil {
			return err
		}
		took, ours := micros(time.Since(began)), micros(processorTime()-used)
		theirs, err := postgresTime(ctx, conn)
		if err != nil {
			return err
		}
		add("rate", "1,000,000 events of 200 bytes", took/published)
		add("processor", "all nodes", ours/published)
		add("processor", "Postgres", micros(theirs-base)/published)
		add("share", "one node", ours/published/float64(size))
		for _, n := range dbs {
			err = errors.Join(err, n.db.Close(context.WithoutCancel(ctx)))
		}
		return errors.Join(err, deliveryTimes(ctx, m, schema, size, add))
	})
}

// deliveryTimes measures single events until every node has received them.
func deliveryTimes(ctx context.Context, m *machine, schema string, size int, add adder) error {
	received := make(chan struct{}, size)
	var dbs []*node
	for i := range size {
		db, err := m.openDB(ctx, schema)
		if err != nil {
			return err
		}
		if _, err := db.Bind(&echoAdapter{countingAdapter{id: strconv.Itoa(i)}, received}); err != nil {
			return err
		}
		dbs = append(dbs, &node{db: db})
	}
	var took []float64
	tick := time.NewTicker(40 * time.Millisecond) // longer than Options.Linger
	defer tick.Stop()
	for range 200 {
		<-tick.C
		began := time.Now()
		if _, err := dbs[0].db.Publish(ctx, &adapter.Envelope{Namespace: "/", Payload: []byte(text)}); err != nil {
			return err
		}
		for range size {
			select {
			case <-received:
			case <-time.After(10 * time.Second):
				return errors.New("an event did not arrive")
			}
		}
		took = append(took, micros(time.Since(began)))
	}
	add("latency", "p50", median(took))
	var err error
	for _, n := range dbs {
		err = errors.Join(err, n.db.Close(context.WithoutCancel(ctx)))
	}
	return err
}

// postgresTime returns the processor time of Postgres, if it runs on this machine and is visible.
func postgresTime(ctx context.Context, conn *pgx.Conn) (time.Duration, error) {
	var backend int
	if err := conn.QueryRow(ctx, "select pg_backend_pid()").Scan(&backend); err != nil {
		return 0, err
	}
	self, err := readStat(fmt.Sprintf("/proc/%d/stat", backend))
	if err != nil {
		return 0, fmt.Errorf("the processor time of Postgres: %w", err)
	}
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	const tick = 10 * time.Millisecond // the unit of times in proc(5)
	var sum time.Duration
	for _, path := range all {
		s, err := readStat(path)
		switch {
		case err != nil: // it has ended: its time is counted in its parent
		case s.pid == self.parent:
			sum += time.Duration(s.own+s.ended) * tick
		case s.parent == self.parent:
			sum += time.Duration(s.own) * tick
		}
	}
	return sum, nil
}

// A stat is the times of a process in proc(5), its own and those of its ended children.
type stat struct{ pid, parent, own, ended int }

func readStat(path string) (stat, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return stat{}, err
	}
	name := strings.LastIndexByte(string(text), ')') // the name may contain anything
	fields := strings.Fields(string(text[name+1:]))
	number := func(i int) int { n, _ := strconv.Atoi(fields[i-3]); return n } // counted as in proc(5)
	pid, _, _ := strings.Cut(string(text), " ")
	s := stat{parent: number(4), own: number(14) + number(15), ended: number(16) + number(17)}
	s.pid, err = strconv.Atoi(pid)
	return s, err
}
