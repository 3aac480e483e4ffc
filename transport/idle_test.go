package transport_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestIdleMemory prints the memory that an idle connection takes in the server process.
// It runs if IDLE_CONNECTIONS is set to the number of connections. The clients are in
// another process of this test binary. It is not parallel because it measures the process.
//
//nolint:paralleltest // it measures memory
func TestIdleMemory(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("IDLE_CONNECTIONS"))
	if n == 0 {
		t.Skip("IDLE_CONNECTIONS is not set")
	}
	if addr := os.Getenv("IDLE_SERVER"); addr != "" {
		idleClient(t, addr, n)
		return
	}

	server, opened := serve(t, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	hs := &http.Server{Handler: server}
	go func() { _ = hs.Serve(ln) }()
	defer func() { _ = hs.Close() }()

	before, goroutines := residentKB(t), runtime.NumGoroutine()
	client := exec.Command(os.Args[0], "-test.run=^TestIdleMemory$")
	client.Env = append(os.Environ(), "IDLE_SERVER="+ln.Addr().String())
	stop, err := client.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	for range n {
		r := <-opened
		if got := <-r.messages; got != "ready" { // one message each way
			t.Fatalf("got %q", got)
		}
		r.messages = nil
	}

	report := func(when string) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		per := func(b uint64) float64 { return float64(b) / float64(n) / 1024 }
		t.Logf("%-18s %5.2f KB resident per connection; heap %.2f KB, stacks in use %.2f KB, goroutines %.2f",
			when, float64(residentKB(t)-before)/float64(n), per(m.HeapInuse), per(m.StackInuse),
			float64(runtime.NumGoroutine()-goroutines)/float64(n))
	}
	time.Sleep(time.Second) // let the last handlers return
	report("raw")
	runtime.GC()
	debug.FreeOSMemory()
	report("after GC")

	start := time.Now()
	_ = stop.Close()
	_ = client.Wait()
	for server.Len() > 0 {
		time.Sleep(10 * time.Millisecond)
	}
	t.Logf("all %d forgotten %v after the clients left", n, time.Since(start).Round(time.Millisecond))
}

// idleClient keeps n connections open until its standard input ends.
func idleClient(t *testing.T, addr string, n int) {
	for range n {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, upgradeRequest+"\r\n"); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReaderSize(conn, 512)
		if _, err := http.ReadResponse(in, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(masked(1, true, "4ready")); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func residentKB(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("no /proc: ", err)
	}
	for line := range strings.Lines(string(status)) {
		var kb int
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kb); err == nil {
			return kb
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
