//go:build unix

package pgadapter

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/adapter/adaptertest"
	"github.com/pgsocket/socketio/recovery"
)

// A printer prints to standard output what the adapter delivers to its node.
type printer struct{}

func (printer) ID() string { return "printer" }

func (printer) Deliver(ds []adapter.Delivery) {
	for _, d := range ds {
		if d.Kind == adapter.Event {
			fmt.Printf("\ndelivered: %s\n", d.Payload)
		}
	}
}

func (printer) LogTruncated(adapter.Offset) {}

func (printer) LogGap(adapter.Offset, error) { fmt.Print("\ndelivered: reset\n") }

const frozenLease = 2 * time.Second

// TestFreeze_Process is the process that the next test freezes.
func TestFreeze_Process(t *testing.T) { //nolint:paralleltest // alone in its process
	dsn := os.Getenv("PGADAPTER_FROZEN_DSN")
	if dsn == "" {
		t.Skip("run by TestFreeze_SendsNothingAfterTakeover")
	}
	db, err := Open(t.Context(), dsn, &Options{Schema: os.Getenv("PGADAPTER_FROZEN_SCHEMA"), Lease: frozenLease})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Bind(printer{}); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, db, session("frozen"))
	fmt.Print("\ndelivered: ready\n")
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent is done
}

func TestFreeze_SendsNothingAfterTakeover(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), exe, "-test.run=^TestFreeze_Process$", "-test.count=1")
	child.Env = append(os.Environ(), "PGADAPTER_FROZEN_DSN="+b.dsn, "PGADAPTER_FROZEN_SCHEMA="+b.schema)
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stdin.Close(); _ = child.Wait() })
	lines := bufio.NewScanner(stdout)
	delivered := func() string {
		for lines.Scan() {
			if what, ok := strings.CutPrefix(lines.Text(), "delivered: "); ok {
				return what
			}
		}
		t.Fatal("the process has exited")
		return ""
	}
	if got := delivered(); got != "ready" {
		t.Fatalf("delivered %q", got)
	}
	db := b.open(t, &Options{Lease: frozenLease})
	adaptertest.Bound(t, db)
	signal := func(s syscall.Signal) {
		if err := child.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}

	signal(syscall.SIGSTOP)
	eventually(t, "the session was parked", func() bool {
		return b.int(t, "select count(*) from sessions where node is null") == 1
	})
	if _, err := db.Sessions().Resume(t.Context(), recovery.ResumeRequest{PIDHash: "frozen", Namespace: "/"}); err != nil {
		t.Fatal(err)
	}
	adaptertest.Publish(t, db, adaptertest.Event("meanwhile"))
	if err := db.WaitDelivered(t.Context()); err != nil {
		t.Fatal(err)
	}
	signal(syscall.SIGCONT)

	if got := delivered(); got != "reset" {
		t.Errorf("the resumed node first delivered %q", got)
	}
	if got := delivered(); got != "meanwhile" {
		t.Errorf("then %q", got)
	}
}
