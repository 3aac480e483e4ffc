package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio"
)

// A load is work whose processor time is of interest: that of the node, whose clients are in processes of their own.
type load struct {
	name string
	run  func(ctx context.Context, m *machine, profiled func(do func() error) error) error
}

func loads() []load {
	return []load{{"fanout", profileFanOut}, {"publish", profilePublish}, {"connect", profileConnect}, {"idle", profileIdle}}
}

// profile takes a profile of each load whose name contains a text, and writes it into a directory with the functions
// that took most.
func (m *machine) profile(ctx context.Context, dir, only string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	for _, l := range loads() {
		if !strings.Contains(l.name, only) {
			continue
		}
		path := filepath.Join(dir, l.name+".pprof")
		err := l.run(ctx, m, func(do func() error) error { return takeProfile(path, do) })
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		top, err := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", "-nodecount=25", path).Output()
		if err != nil {
			return fmt.Errorf("pprof: %w", err)
		}
		fmt.Printf("== %s\n%s\n", l.name, top)
		if err := os.WriteFile(filepath.Join(dir, l.name+".txt"), top, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func takeProfile(path string, do func() error) error {
	file, err := os.Create(path)
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

// profileFanOut is 300 events, one at a time, to 1,000 sockets.
func profileFanOut(ctx context.Context, m *machine, profiled func(do func() error) error) error {
	const sockets = 1000
	return m.withNodes(ctx, 1, socketio.Options{}, func(nodes []*node, _ *pgx.Conn) error {
		n := nodes[0]
		all, err := connectProcesses(ctx, n, sockets)
		if err != nil {
			return err
		}
		frame, heard, err := frameSize(ctx, all, func() (int, error) { return sockets, said.Emit(ctx, n.io, text) })
		if err != nil {
			return err
		}
		err = profiled(func() error {
			for range 300 {
				if err := said.Emit(ctx, n.io, text); err != nil {
					return err
				}
				heard += frame * sockets
				if _, err := all.await(ctx, heard); err != nil {
					return err
				}
			}
			return nil
		})
		return errors.Join(err, all.leave())
	})
}

// profilePublish is 600,000 events of two nodes, until both have all.
func profilePublish(ctx context.Context, m *machine, profiled func(do func() error) error) error {
	return m.inSchema(ctx, func(schema string, _ *pgx.Conn) error {
		dbs, tallies, err := m.openTallies(ctx, schema, 2)
		if err != nil {
			return err
		}
		err = profiled(func() error {
			for range 3 {
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

// profileConnect is 8,000 clients that connect, with recovery, and leave.
func profileConnect(ctx context.Context, m *machine, profiled func(do func() error) error) error {
	return m.withNodes(ctx, 1, socketio.Options{}, func(nodes []*node, _ *pgx.Conn) error {
		return profiled(func() error {
			for range 4 {
				all, err := connectProcesses(ctx, nodes[0], 2000)
				if err := errors.Join(err, all.leave()); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// profileIdle is ten seconds of 5,000 sockets that do nothing but answer a ping each second, 25 times as often as they
// normally have to.
func profileIdle(ctx context.Context, m *machine, profiled func(do func() error) error) error {
	return m.withNodes(ctx, 1, socketio.Options{PingInterval: time.Second}, func(nodes []*node, _ *pgx.Conn) error {
		clients, err := self(ctx, "clients", nodes[0].addr, strconv.Itoa(5000))
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
