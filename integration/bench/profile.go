package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio"
)

// A load is work whose processor time is profiled: that of the node, with its clients in other processes.
type load struct {
	name string
	run  func(ctx context.Context, m *machine, profiled func(do func() error) error) error
}

func loads() []load {
	return []load{{"fanout", profileFanOut}, {"publish", profilePublish}, {"connect", profileConnect}, {"idle", profileIdle}}
}

// profile takes a profile of each load whose name contains a text, and writes it to a directory, with the functions
// that took most.
func (m *machine) profile(ctx context.Context, dir, only string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	for _, l := range loads() {
		if !strings.Contains(l.name, only) {
			continue
		}
		file := filepath.Join(dir, l.name+".pprof")
		err := l.run(ctx, m, func(do func() error) error { return takeProfile(file, do) })
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		text, err := report(ctx, file)
		if err != nil {
			return err
		}
		fmt.Printf("== %s\n%s\n", l.name, text)
		if err := os.WriteFile(filepath.Join(dir, l.name+".txt"), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// report returns a table of the packages that took most, and of functions, with and without what they call.
func report(ctx context.Context, file string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", "-unit=ms", "-nodecount=0", "-nodefraction=0", file).Output()
	if err != nil {
		return "", fmt.Errorf("pprof: %w", err)
	}
	var b strings.Builder
	shares := make(map[string]float64)
	var functions []string
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if strings.HasPrefix(line, "Duration:") {
			b.WriteString(line)
		}
		if len(fields) < 6 || !strings.HasSuffix(fields[0], "ms") && fields[0] != "0" { // not flat, flat%, sum%, cum, cum%, name
			continue
		}
		share, err := strconv.ParseFloat(strings.TrimSuffix(fields[1], "%"), 64)
		if err != nil {
			continue // the heading
		}
		name := fields[5]
		shares[packageOf(name)] += share
		if len(functions) < 15 {
			functions = append(functions, fmt.Sprintf("| %s | %s | `%s` |", fields[1], fields[4], name))
		}
	}
	b.WriteString("\n| share | package |\n|---|---|\n")
	packages := slices.SortedFunc(maps.Keys(shares), func(x, y string) int { return cmp.Compare(shares[y], shares[x]) })
	for _, name := range packages[:min(len(packages), 12)] {
		fmt.Fprintf(&b, "| %.1f%% | `%s` |\n", shares[name], name)
	}
	b.WriteString("\n| itself | with what it calls | function |\n|---|---|---|\n" + strings.Join(functions, "\n") + "\n")
	return b.String(), nil
}

// packageOf returns the import path in the name of a function.
func packageOf(function string) string {
	function, _, _ = strings.Cut(function, "[") // type arguments may be paths too
	dir, last := path.Split(function)
	last, _, _ = strings.Cut(last, ".")
	return dir + last
}

func takeProfile(name string, do func() error) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return errors.Join(err, file.Close())
	}
	err = do()
	pprof.StopCPUProfile()
	return errors.Join(err, file.Close())
}

// profileFanOut emits 1,000 events, one at a time, to 1,000 sockets.
func profileFanOut(ctx context.Context, m *machine, profiled func(do func() error) error) error {
	const sockets = 1000
	return m.withNodes(ctx, 1, socketio.Options{}, func(nodes []*node, _ *pgx.Conn) error {
		n := nodes[0]
		all, err := connectProcesses(ctx, n, sockets)
		if err != nil {
			return err
		}
		frame, received, err := frameSize(ctx, all, func() (int, error) { return sockets, said.Emit(ctx, n.io, text) })
		if err != nil {
			return err
		}
		err = profiled(func() error {
			for range 1000 {
				if err := said.Emit(ctx, n.io, text); err != nil {
					return err
				}
				received += frame * sockets
				if _, err := all.await(ctx, received); err != nil {
					return err
				}
			}
			return nil
		})
		return errors.Join(err, all.leave())
	})
}

// profilePublish publishes 2,000,000 events on two nodes, until both have all.
func profilePublish(ctx context.Context, m *machine, profiled func(do func() error) error) error {
	return m.inSchema(ctx, func(schema string, _ *pgx.Conn) error {
		dbs, tallies, err := m.openCountingAdapters(ctx, schema, 2)
		if err != nil {
			return err
		}
		err = profiled(func() error {
			for range 10 {
				for _, t := range tallies {
					t.n.Store(0)
				}
				if err := publishAll(ctx, dbs, tallies); err != nil {
					return err
				}
			}
			return nil
		})
		for _, n := range dbs {
			err = errors.Join(err, n.db.Close(context.WithoutCancel(ctx)))
		}
		return err
	})
}

// profileConnect connects and closes 20,000 clients, with recovery.
func profileConnect(ctx context.Context, m *machine, profiled func(do func() error) error) error {
	return m.withNodes(ctx, 1, socketio.Options{}, func(nodes []*node, _ *pgx.Conn) error {
		return profiled(func() error {
			for range 10 {
				all, err := connectProcesses(ctx, nodes[0], 2000)
				if err := errors.Join(err, all.leave()); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// profileIdle runs 5,000 sockets for ten seconds that only answer a ping per second, 25 times as often as by default.
func profileIdle(ctx context.Context, m *machine, profiled func(do func() error) error) error {
	return m.withNodes(ctx, 1, socketio.Options{PingInterval: time.Second}, func(nodes []*node, _ *pgx.Conn) error {
		clients, err := startSelf(ctx, "clients", nodes[0].addr, strconv.Itoa(5000))
		if err != nil {
			return err
		}
		if _, err := clients.line(); err != nil {
			return err
		}
		err = profiled(func() error {
			time.Sleep(10 * time.Second)
			return nil
		})
		return errors.Join(err, clients.stop())
	})
}
