package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// share is the part of a processor that each node of these comparisons has. With it, two or four nodes and Postgres do
// not use up one machine, so that nodes with processors of their own can be measured there.
const share = 0.2

var errNoShares = errors.New("needs Linux, and the right to make control groups")

// shares returns the comparisons of a cluster with one of half as many nodes, each with a share of a processor.
func shares() []comparison {
	grown := func(nodes int, goal string) comparison {
		return comparison{
			name: fmt.Sprint("shares-", nodes), unit: "events/s", goal: goal,
			what: fmt.Sprintf("%d nodes, each with %g of a processor, publish events of 200 bytes, until all have all", nodes, share),
			than: fmt.Sprintf("%d of such nodes", nodes/2),
			round: func(ctx context.Context, m *machine) (ours, reference float64, err error) {
				if reference, err = m.publishOnShares(ctx, nodes/2); err == nil {
					ours, err = m.publishOnShares(ctx, nodes)
				}
				return ours, reference, err
			},
		}
	}
	return []comparison{grown(2, ""), grown(4, "≥ 1")}
}

// publishOnShares returns how many events per second nodes publish and receive, each in a process of its own.
func (m *machine) publishOnShares(ctx context.Context, nodes int) (rate float64, err error) {
	err = m.inSchema(ctx, func(schema string, _ *pgx.Conn) (err error) {
		parts := make([]*process, nodes)
		for i := range parts {
			if parts[i], err = startSelf(ctx, "publisher", schema, strconv.Itoa(i)); err != nil {
				return err
			}
			free, err := limitProcessor(parts[i].cmd.Process.Pid)
			defer func() {
				parts[i].kill()
				free()
			}()
			if err != nil {
				return err
			}
			if _, err := parts[i].line(); err != nil {
				return err
			}
		}
		began := time.Now()
		errs := make([]error, nodes)
		var all sync.WaitGroup
		for i, p := range parts {
			all.Go(func() { _, errs[i] = p.ask(strconv.Itoa(nodes)) })
		}
		all.Wait()
		rate = published / time.Since(began).Seconds()
		return errors.Join(errs...)
	})
	return rate, err
}

// publisher is the subprocess of a node without a server. For a line with the number of nodes it publishes its part,
// and answers when it has received all.
func publisher(ctx context.Context, schema, name string) error {
	m := &machine{dsn: os.Getenv("DATABASE_URL")}
	db, err := m.openDB(ctx, schema)
	if err != nil {
		return err
	}
	t := &countingAdapter{id: name}
	if _, err := db.Bind(t); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(os.Stdout, "here")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		nodes, err := strconv.Atoi(lines.Text())
		if err != nil {
			return err
		}
		if err := publishPart(ctx, db, published/nodes); err != nil {
			return err
		}
		for t.n.Load() < published && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		_, _ = fmt.Fprintln(os.Stdout, "all")
	}
	return db.Close(ctx)
}

// limitProcessor limits a process to its share of a processor, see cgroups(7). Call free after its end.
func limitProcessor(pid int) (free func(), err error) {
	const period = 10_000 // microseconds
	dir := "/sys/fs/cgroup"
	limits := [][2]string{{"cpu.max", fmt.Sprint(share*period, " ", period)}}
	if _, err := os.Stat(filepath.Join(dir, "cgroup.controllers")); err != nil { // version 1
		dir = filepath.Join(dir, "cpu")
		limits = [][2]string{{"cpu.cfs_period_us", strconv.Itoa(period)}, {"cpu.cfs_quota_us", strconv.Itoa(share * period)}}
	}
	dir = filepath.Join(dir, fmt.Sprint("bench-", pid))
	err = os.Mkdir(dir, 0o750)
	for _, set := range append(limits, [2]string{"cgroup.procs", strconv.Itoa(pid)}) {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, set[0]), []byte(set[1]), 0o600))
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", errNoShares, err)
	}
	return func() { _ = os.Remove(dir) }, err // empty after the end of the process
}
