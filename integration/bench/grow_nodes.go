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

// growNodes is what a cluster of more and more nodes costs, without clients. All share the machine's processors.
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

// An echo tells when an event was delivered to a node without a server.
type echo struct {
	countingAdapter

	heard chan<- struct{}
}

func (e *echo) Deliver(ds []adapter.Delivery) {
	for _, d := range ds {
		if string(d.Payload) == text { // a node that leaves says something else
			e.heard <- struct{}{}
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
		return errors.Join(err, trips(ctx, m, schema, size, add))
	})
}

// trips measures single events until every node has it.
func trips(ctx context.Context, m *machine, schema string, size int, add adder) error {
	heard := make(chan struct{}, size)
	var dbs []*node
	for i := range size {
		db, err := m.openDB(ctx, schema)
		if err != nil {
			return err
		}
		if _, err := db.Bind(&echo{countingAdapter{id: strconv.Itoa(i)}, heard}); err != nil {
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
			case <-heard:
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

// postgresTime is the processor time that Postgres has used, if it runs on this machine and may be looked at.
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
	const tick = 10 * time.Millisecond // Linux counts in hundredths of a second for everybody who reads
	var sum time.Duration
	for _, path := range all {
		s, err := readStat(path)
		switch {
		case err != nil: // it has ended, and its parent has its time
		case s.pid == self.parent:
			sum += time.Duration(s.own+s.ended) * tick
		case s.parent == self.parent:
			sum += time.Duration(s.own) * tick
		}
	}
	return sum, nil
}

// A stat is what Linux says of a process: times in ticks, its own and those of its children that have ended.
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
