package cluster_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/integration/wire"
)

// A clientPool is many clients in a process of lower priority than the nodes, so that their load does not distort
// what is measured of the nodes. The process is this test binary, see TestMain and runClientPool.
type clientPool struct {
	Size   int
	Missed int
	From   string // address of the node of the first connections
	To     string // address of the node that they reconnect to

	lines *bufio.Scanner
	stdin interface{ Write(b []byte) (int, error) }
}

// A poolReport is the result of one step.
type poolReport struct {
	Took      time.Duration
	Each      []time.Duration // from reconnecting to the last missed event
	Recovered int             // with every missed event, once and in order
	Failures  []string
}

const clientPoolVariable = "SOCKETIO_CLIENT_POOL"

// startClientPool starts the process. It ends with the test.
func startClientPool(t *testing.T, c *clientPool) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "nice", "-n", "10", self)
	cmd.Env = append(os.Environ(), clientPoolVariable+"="+string(config))
	cmd.Stderr = os.Stderr
	stdin, stdout := harness.StartPiped(t, cmd)
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait() // the test's context kills it if it hangs
	})
	c.lines, c.stdin = bufio.NewScanner(stdout), stdin
	c.lines.Buffer(nil, 16<<20)
}

// step has the pool take its next step: connect, or reconnect.
func (c *clientPool) step(t *testing.T) poolReport {
	t.Helper()
	if _, err := fmt.Fprintln(c.stdin, "go"); err != nil {
		t.Fatal(err)
	}
	if !c.lines.Scan() {
		t.Fatalf("the client pool has ended: %v", c.lines.Err())
	}
	var r poolReport
	if err := json.Unmarshal(c.lines.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	for _, failure := range r.Failures {
		t.Error(failure)
	}
	return r
}

// runClientPool is the process of a client pool: it executes a step for each line of its input.
func runClientPool(config string) error {
	var c clientPool
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	clients := make([]*poolClient, c.Size)
	for i := range clients {
		clients[i] = newPoolClient(c.Missed)
	}
	commands := bufio.NewScanner(os.Stdin)
	for _, step := range []func(context.Context, []*poolClient, *poolReport){c.connectAll, c.reconnectAll} {
		if !commands.Scan() {
			return commands.Err()
		}
		var r poolReport
		began := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), harness.MaxWait)
		step(ctx, clients, &r)
		cancel()
		r.Took = time.Since(began)
		if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
			return err
		}
	}
	commands.Scan() // the clients stay connected until the end of the input
	return commands.Err()
}

// connectAll connects all clients, 200 at a time, and puts them into the room "pool".
func (c *clientPool) connectAll(ctx context.Context, clients []*poolClient, report *poolReport) {
	tickets := make(chan struct{}, 200)
	c.each(clients, report, func(r *poolClient) error {
		tickets <- struct{}{}
		defer func() { <-tickets }()
		if err := r.Connect(ctx, c.From); err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		return r.Call(ctx, nil, "join", []string{"pool"})
	})
}

// reconnectAll connects all clients to the other node at once, and waits until each has received what it missed.
func (c *clientPool) reconnectAll(ctx context.Context, clients []*poolClient, report *poolReport) {
	began := time.Now()
	var mu sync.Mutex
	c.each(clients, report, func(r *poolClient) error {
		if err := r.Connect(ctx, c.To); err != nil {
			return fmt.Errorf("reconnect: %w", err)
		}
		select {
		case <-r.complete:
		case <-ctx.Done():
			return fmt.Errorf("missed events did not arrive: %w", context.Cause(ctx))
		}
		mu.Lock()
		defer mu.Unlock()
		report.Each = append(report.Each, time.Since(began))
		if r.Recovered() && !r.wrong.Load() {
			report.Recovered++
		}
		return nil
	})
}

func (c *clientPool) each(clients []*poolClient, report *poolReport, do func(r *poolClient) error) {
	var all sync.WaitGroup
	var mu sync.Mutex
	for _, r := range clients {
		all.Go(func() {
			if err := do(r); err != nil {
				mu.Lock()
				defer mu.Unlock()
				report.Failures = append(report.Failures, err.Error())
			}
		})
	}
	all.Wait()
}

// A poolClient is a client whose node is killed.
type poolClient struct {
	*wire.Client

	last     int           // number of the newest tick
	wrong    atomic.Bool   // a tick was lost, duplicated or out of order
	complete chan struct{} // closed by the last tick
}

func newPoolClient(all int) *poolClient {
	r := &poolClient{complete: make(chan struct{}), last: -1}
	r.Client = wire.New(wire.Options{Event: func(data json.RawMessage) {
		id, ok := harness.ParseTick(string(data))
		if !ok || id.Publisher() != 1 {
			return
		}
		if id.Seq() != r.last+1 {
			r.wrong.Store(true)
		}
		if r.last = id.Seq(); r.last == all-1 {
			close(r.complete)
		}
	}})
	return r
}
