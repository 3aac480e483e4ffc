package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgsocket/socketio/internal/pgserver"
	"github.com/pgsocket/socketio/migrations"
)

// restartAfter is how long a killed node stays down: long enough to see that its
// users recover on the others.
const restartAfter = 8 * time.Second

// lease is how long a node may be silent before the others declare it dead: short
// enough that they do so before a killed node is started again.
const lease = restartAfter / 2

// runCluster runs the whole demo: Postgres if there is none, and three nodes, each in
// its own process, so that they can be killed. It ends with ctx.
func runCluster(ctx context.Context, cfg config) error {
	private := false
	if cfg.dsn == "" {
		fmt.Println("DATABASE_URL is not set: starting a private Postgres")
		server, err := pgserver.Start(ctx, pgserver.Options{Fast: true})
		if err != nil {
			return err
		}
		defer server.Stop() //nolint:errcheck // it is gone in either case, and so is its directory
		cfg.dsn = server.DSN()
		private = true
	}
	if err := createTables(ctx, cfg); err != nil {
		return err
	}
	var err error
	if cfg.nodes, err = free(ctx, cfg.nodes); err != nil {
		return err
	}

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	ready := make(chan string, len(cfg.nodes)) // one line per node, the first time that it is ready
	for _, address := range cfg.nodes {
		running.Go(func() { // until ctx ends; waited for below
			if err := keepRunning(ctx, cfg, address, ready); err != nil {
				cancel(err)
			}
		})
	}
	if lines := collect(ctx, ready); len(lines) == len(cfg.nodes) {
		invite(lines, statusCommand(cfg, private))
	}
	<-ctx.Done()
	fmt.Println("\nstopping the nodes")
	running.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func createTables(ctx context.Context, cfg config) error {
	if err := migrations.Up(ctx, cfg.dsn, &migrations.Options{Schema: cfg.schema}); err != nil {
		return err
	}
	pool, err := pgxpool.New(ctx, cfg.dsn)
	if err != nil {
		return err
	}
	defer pool.Close()
	return counter{pool, cfg.schema}.create(ctx)
}

// keepRunning runs a node, and restarts it some time after it was killed.
func keepRunning(ctx context.Context, cfg config, address string, ready chan<- string) error {
	for again := false; ctx.Err() == nil; again = true {
		started, err := runProcess(ctx, cfg, address, func(pid int) {
			if again {
				fmt.Printf("node http://%s is back: kill -9 %d\n", address, pid)
				return
			}
			ready <- fmt.Sprintf("  http://%s   (kill -9 %d)", address, pid)
		})
		if !started && !again && ctx.Err() == nil {
			return fmt.Errorf("node %s did not start: %w", address, err)
		}
		if ctx.Err() == nil {
			fmt.Printf("node http://%s is gone (%v): it is started again in %v\n", address, err, restartAfter)
		}
		select {
		case <-time.After(restartAfter):
		case <-ctx.Done():
		}
	}
	return nil
}

// runProcess runs this program again as one node, and waits for its end. The process
// exits when its standard input is closed, also when this process is killed.
func runProcess(ctx context.Context, cfg config, address string, ready func(pid int)) (started bool, err error) {
	self, err := os.Executable()
	if err != nil {
		return false, err
	}
	cmd := exec.Command(self, "-node", address, "-nodes", strings.Join(cfg.nodes, ","), "-schema", cfg.schema, "-drain", cfg.drain.String(), "-attached") //nolint:noctx // closing its standard input ends it, see above
	cmd.Env = append(os.Environ(), "DATABASE_URL="+cfg.dsn)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return false, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return false, err
	}
	if err := cmd.Start(); err != nil {
		return false, err
	}
	stop := context.AfterFunc(ctx, func() { _ = stdin.Close() })
	defer stop()
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if lines.Text() == "ready" {
			started = true
			ready(cmd.Process.Pid)
		}
	}
	return started, cmd.Wait()
}

// collect returns the line of every node, in order, or fewer when ctx ends.
func collect(ctx context.Context, ready <-chan string) (lines []string) {
	for range cap(ready) {
		select {
		case line := <-ready:
			lines = append(lines, line)
		case <-ctx.Done():
			return lines
		}
	}
	slices.Sort(lines)
	return lines
}

// statusCommand returns the command that prints the state of the cluster. It names the address of
// a private Postgres; that of another one is in the environment.
func statusCommand(cfg config, private bool) string {
	command := "go -C cmd/pgsocket run . status"
	if private {
		command += " --dsn " + quoted(cfg.dsn)
	}
	if cfg.schema != migrations.DefaultSchema {
		command += " --schema " + quoted(cfg.schema)
	}
	return command
}

// quoted returns a text as a word of a shell.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

func invite(lines []string, status string) {
	fmt.Printf(`
Nodes of one Postgres:

%s

Open two of them side by side and talk. Then
  - press "Cut the line" on one page, write on the other, and see what was missed come back
  - kill the node of one page with the command beside its address, and see the page go on
    at another node; the killed one is started again after %v
  - look inside:  %s

Ctrl-C stops everything.

`, strings.Join(lines, "\n"), restartAfter, status)
}

// free returns the addresses if they are free, and others if they are in use. An address
// that is not one of this machine is an error.
func free(ctx context.Context, wanted []string) ([]string, error) {
	addresses, taken := tryListen(ctx, wanted)
	if !errors.Is(taken, syscall.EADDRINUSE) {
		return addresses, taken
	}
	fmt.Printf("taking other ports: %v\n", taken)
	return tryListen(ctx, slices.Repeat([]string{"127.0.0.1:0"}, len(wanted)))
}

// tryListen listens for a moment, at all addresses at once, and returns them with
// the ports that the system has chosen in place of 0.
func tryListen(ctx context.Context, addresses []string) (got []string, err error) {
	for _, a := range addresses {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", a)
		if err != nil {
			return nil, err
		}
		defer l.Close() //nolint:errcheck // there are no connections
		got = append(got, l.Addr().String())
	}
	return got, nil
}
