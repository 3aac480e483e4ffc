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

// A throng is clients in a process of their own, of less priority than the nodes, so that what they cost is not taken
// for what the node costs. Its process is this program, and runs TestThrong.
type throng struct {
	Size   int
	Missed int
	From   string // the address of the node that they are at first
	To     string // of the one to which they come back

	lines *bufio.Scanner
	stdin interface{ Write(b []byte) (int, error) }
}

// A throngReport is what a throng says of a step that it has made.
type throngReport struct {
	Took      time.Duration
	Each      []time.Duration // of coming back, until everything that was missed was there
	Recovered int             // with all that they missed, once, and in order
	Failures  []string
}

const throngVariable = "SOCKETIO_THRONG"

// startThrong starts the process. It ends with the test.
func startThrong(t *testing.T, c *throng) {
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
	cmd.Env = append(os.Environ(), throngVariable+"="+string(order))
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
func (c *throng) step(t *testing.T) throngReport {
	t.Helper()
	if _, err := fmt.Fprintln(c.stdin, "go"); err != nil {
		t.Fatal(err)
	}
	for c.lines.Scan() {
		line, ok := strings.CutPrefix(c.lines.Text(), "throng: ")
		if !ok {
			continue
		}
		var r throngReport
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		for _, failure := range r.Failures {
			t.Error(failure)
		}
		return r
	}
	t.Fatal("the throng's process ended")
	return throngReport{}
}

// TestThrong is the throng's process.
func TestThrong(t *testing.T) {
	order := os.Getenv(throngVariable)
	if order == "" {
		t.Skip("the process of a throng, for other tests")
	}
	var c throng
	if err := json.Unmarshal([]byte(order), &c); err != nil {
		t.Fatal(err)
	}
	refugees := make([]*refugee, c.Size)
	for i := range refugees {
		refugees[i] = newRefugee(c.Missed)
	}
	steps := []func(context.Context, []*refugee, *throngReport){c.settle, c.comeBack}
	orders := bufio.NewScanner(os.Stdin)
	for _, step := range steps {
		if !orders.Scan() {
			return
		}
		var r throngReport
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

// settle connects all, 200 at a time, each into the throng's room.
func (c *throng) settle(ctx context.Context, refugees []*refugee, report *throngReport) {
	tickets := make(chan struct{}, 200)
	c.each(refugees, report, func(r *refugee) error {
		tickets <- struct{}{}
		defer func() { <-tickets }()
		if err := r.Connect(ctx, c.From); err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		return r.Call(ctx, nil, "join", []string{"throng"})
	})
}

// comeBack has all come to the other node at once, and waits until each has got what it missed.
func (c *throng) comeBack(ctx context.Context, refugees []*refugee, report *throngReport) {
	began := time.Now()
	var mu sync.Mutex
	c.each(refugees, report, func(r *refugee) error {
		if err := r.Connect(ctx, c.To); err != nil {
			return fmt.Errorf("come back: %w", err)
		}
		select {
		case <-r.whole:
		case <-ctx.Done():
			return fmt.Errorf("not all that was missed has come: %w", context.Cause(ctx))
		}
		mu.Lock()
		defer mu.Unlock()
		report.Each = append(report.Each, time.Since(began))
		if r.Recovered() && !r.bad.Load() {
			report.Recovered++
		}
		return nil
	})
}

func (c *throng) each(refugees []*refugee, report *throngReport, do func(r *refugee) error) {
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

// A refugee is a client whose node is killed, and the ticks that it gets.
type refugee struct {
	*wire.Client

	last  int           // the newest tick of the throng's
	bad   atomic.Bool   // one was lost, doubled or out of order
	whole chan struct{} // closed when it has got all
}

func newRefugee(all int) *refugee {
	r := &refugee{whole: make(chan struct{}), last: -1}
	r.Client = wire.New(wire.Options{Event: func(data json.RawMessage) {
		id, ok := harness.ParseTick(string(data))
		if !ok || id.Publisher() != 1 {
			return
		}
		if id.Seq() != r.last+1 {
			r.bad.Store(true)
		}
		if r.last = id.Seq(); r.last == all-1 {
			close(r.whole)
		}
	}})
	return r
}
