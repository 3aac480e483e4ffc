//nolint:paralleltest // see storm_test.go
package cluster_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/integration/wire"
)

// A clientPool is clients in a process of their own, of less priority than the nodes, so that what they cost is not taken
// for what the node costs. Its process is this program, and runs TestClientPool.
type clientPool struct {
	Size   int
	Missed int
	From   string // the address of the node that they are at first
	To     string // of the one to which they come back

	lines *bufio.Scanner
	stdin interface{ Write(b []byte) (int, error) }
}

// A poolReport is what a throng says of a step that it has made.
type poolReport struct {
	Took      time.Duration
	Each      []time.Duration // of coming back, until everything that was missed was there
	Recovered int             // with all that they missed, once, and in order
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
	order, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "nice", "-n", "10", self, "-test.run", "^TestThrong$", "-test.v", "-test.timeout", "5m")
	cmd.Env = append(os.Environ(), clientPoolVariable+"="+string(order))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait() // it is killed if need be, by the test's context
	})
	c.lines, c.stdin = bufio.NewScanner(stdout), stdin
	c.lines.Buffer(nil, 16<<20)
}

// step has the throng make its next step: connect, or come back.
func (c *clientPool) step(t *testing.T) poolReport {
	t.Helper()
	if _, err := fmt.Fprintln(c.stdin, "go"); err != nil {
		t.Fatal(err)
	}
	for c.lines.Scan() {
		line, ok := strings.CutPrefix(c.lines.Text(), "throng: ")
		if !ok {
			continue
		}
		var r poolReport
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		for _, failure := range r.Failures {
			t.Error(failure)
		}
		return r
	}
	t.Fatal("the throng's process ended")
	return poolReport{}
}

// TestClientPool is the throng's process.
func TestClientPool(t *testing.T) {
	order := os.Getenv(clientPoolVariable)
	if order == "" {
		t.Skip("the process of a throng, for other tests")
	}
	var c clientPool
	if err := json.Unmarshal([]byte(order), &c); err != nil {
		t.Fatal(err)
	}
	refugees := make([]*poolClient, c.Size)
	for i := range refugees {
		refugees[i] = newPoolClient(c.Missed)
	}
	steps := []func(context.Context, []*poolClient, *poolReport){c.connectAll, c.reconnectAll}
	orders := bufio.NewScanner(os.Stdin)
	for _, step := range steps {
		if !orders.Scan() {
			return
		}
		var r poolReport
		began := time.Now()
		step(harness.ContextFor(t, 2*time.Minute), refugees, &r)
		r.Took = time.Since(began)
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("throng: %s\n", text)
	}
	orders.Scan() // until the test is over
}

// connectAll connects all, 200 at a time, each into the throng's room.
func (c *clientPool) connectAll(ctx context.Context, refugees []*poolClient, report *poolReport) {
	tickets := make(chan struct{}, 200)
	c.each(refugees, report, func(r *poolClient) error {
		tickets <- struct{}{}
		defer func() { <-tickets }()
		if err := r.Connect(ctx, c.From); err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		return r.Call(ctx, nil, "join", []string{"throng"})
	})
}

// reconnectAll has all come to the other node at once, and waits until each has got what it missed.
func (c *clientPool) reconnectAll(ctx context.Context, refugees []*poolClient, report *poolReport) {
	began := time.Now()
	var mu sync.Mutex
	c.each(refugees, report, func(r *poolClient) error {
		if err := r.Connect(ctx, c.To); err != nil {
			return fmt.Errorf("come back: %w", err)
		}
		select {
		case <-r.complete:
		case <-ctx.Done():
			return fmt.Errorf("not all that was missed has come: %w", context.Cause(ctx))
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

func (c *clientPool) each(refugees []*poolClient, report *poolReport, do func(r *poolClient) error) {
	var all sync.WaitGroup
	var mu sync.Mutex
	for _, r := range refugees {
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

// A poolClient is a client whose node is killed, and the ticks that it gets.
type poolClient struct {
	*wire.Client

	last     int           // the newest tick of the throng's
	wrong    atomic.Bool   // one was lost, doubled or out of order
	complete chan struct{} // closed when it has got all
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
