package harness

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/integration/checker"
	"github.com/pgsocket/socketio/pgtest"
)

// A program is a node program, built once per test binary.
type program struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// The programs: the normal build, and one with a wall clock that can be set, see SteppedClockFlags.
var standardProgram, steppedClockProgram program

// NodeProgram returns the path of the node program, built from this tree.
func NodeProgram(t testing.TB) string {
	t.Helper()
	return standardProgram.build(t, func(string) ([]string, error) { return nil, nil })
}

// build builds the program with the flags that a function returns for its directory.
func (p *program) build(t testing.TB, flags func(dir string) ([]string, error)) string {
	t.Helper()
	p.once.Do(func() {
		p.dir, p.err = os.MkdirTemp("", "socketio-integration-") //nolint:usetesting // for all tests, not for this one
		if p.err != nil {
			return
		}
		p.path = filepath.Join(p.dir, "node")
		var args []string
		if args, p.err = flags(p.dir); p.err != nil {
			return
		}
		if RaceEnabled {
			args = append(args, "-race")
		}
		p.err = BuildNode("..", p.path, args...)
	})
	if p.err != nil {
		t.Fatal(p.err)
	}
	return p.path
}

// BuildNode builds the node program from the integration module in dir.
func BuildNode(dir, path string, flags ...string) error {
	cmd := exec.Command("go", append(append([]string{"build", "-o", path}, flags...), "./node")...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the node: %w\n%s", err, out)
	}
	return nil
}

// A Cluster is a set of nodes on one schema.
type Cluster struct {
	T      testing.TB
	DSN    string
	Schema string
	Flags  []string
	Nodes  []*Node

	Program string                   // the node program; "": NodeProgram
	Route   func(name string) string // returns the address of Postgres for a node; nil: DSN
}

// NewCluster starts nodes with the given flags. They end with the test.
func NewCluster(t testing.TB, nodes int, flags ...string) *Cluster {
	t.Helper()
	dsn, schema := pgtest.Schema(t)
	return NewClusterOn(t, dsn, schema, nodes, flags...)
}

// NewClusterOf is NewCluster with another node program.
func NewClusterOf(t testing.TB, program string, nodes int, flags ...string) *Cluster {
	t.Helper()
	dsn, schema := pgtest.Schema(t)
	c := &Cluster{T: t, DSN: dsn, Schema: schema, Flags: flags, Program: program}
	for range nodes {
		c.Start()
	}
	return c
}

// NewClusterOn is NewCluster on an existing schema.
func NewClusterOn(t testing.TB, dsn, schema string, nodes int, flags ...string) *Cluster {
	t.Helper()
	c := &Cluster{T: t, DSN: dsn, Schema: schema, Flags: flags}
	for range nodes {
		c.Start()
	}
	return c
}

// Start adds a node.
func (c *Cluster) Start() *Node {
	c.T.Helper()
	name := fmt.Sprintf("n%d", len(c.Nodes)+1)
	dsn, program := c.DSN, c.Program
	if c.Route != nil {
		dsn = c.Route(name)
	}
	if program == "" {
		program = NodeProgram(c.T)
	}
	n := StartNode(c.T, program, name, append([]string{
		"-dsn", WithApplicationName(c.T, dsn, c.Schema+"-"+name),
		"-listen-dsn", WithApplicationName(c.T, dsn, c.Schema+"-"+name+"-listen"),
		"-schema", c.Schema,
	}, c.Flags...)...)
	c.Nodes = append(c.Nodes, n)
	return n
}

// WithApplicationName sets application_name in a connection string.
func WithApplicationName(t testing.TB, dsn, application string) string {
	t.Helper()
	if !strings.Contains(dsn, "://") {
		return dsn + " application_name=" + application
	}
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("application_name", application)
	u.RawQuery = q.Encode()
	return u.String()
}

// RunningURLs returns the URLs of the nodes that run.
func (c *Cluster) RunningURLs() []string {
	var urls []string
	for _, n := range c.Nodes {
		if !n.Down {
			urls = append(urls, n.URL)
		}
	}
	return urls
}

// Terminate terminates backends of the cluster of one kind, "listen", "publish" or "pool", and returns their number.
func (c *Cluster) Terminate(ctx context.Context, conn *pgx.Conn, kind string) int {
	c.T.Helper()
	n, err := c.TryTerminate(ctx, conn, kind)
	if err != nil && ctx.Err() == nil {
		c.T.Errorf("terminate backends: %v", err)
	}
	return n
}

// TryTerminate is Terminate with an error.
func (c *Cluster) TryTerminate(ctx context.Context, conn *pgx.Conn, kind string) (n int, err error) {
	err = conn.QueryRow(ctx, `
		select count(pg_terminate_backend(pid)) from pg_stat_activity
		where application_name like $1 || '-%' and case $2
			when 'listen' then application_name like '%-listen'
			when 'publish' then application_name not like '%-listen' and query like '%append(%'
			else application_name not like '%-listen' and query not like '%append(%' end`,
		c.Schema, kind).Scan(&n)
	return n, err
}

// Connect opens a connection to Postgres. It is closed with the test.
func (c *Cluster) Connect() *pgx.Conn {
	c.T.Helper()
	conn, err := pgx.Connect(c.T.Context(), c.DSN)
	if err != nil {
		c.T.Fatal(err)
	}
	c.T.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// Diagnose describes the Postgres sessions of the cluster, and names the files to which it writes the goroutines of
// each node.
func (c *Cluster) Diagnose() string {
	var text strings.Builder
	conn := c.Connect()
	rows, err := conn.Query(c.T.Context(), `
		select pid, application_name, state, coalesce(wait_event_type || '/' || wait_event, '-'),
			pg_blocking_pids(pid)::text, (clock_timestamp() - state_change)::text, left(regexp_replace(query, '\s+', ' ', 'g'), 90)
		from pg_stat_activity where application_name like $1 || '-%' order by 2`, c.Schema)
	if err == nil {
		for rows.Next() {
			values, err := rows.Values()
			fmt.Fprintln(&text, values, err)
		}
	}
	for _, n := range c.Nodes {
		if n.Down {
			continue
		}
		file, err := os.CreateTemp("", "goroutines-"+n.Name+"-*.txt")
		if err != nil {
			continue
		}
		resp, err := http.Get(n.URL + "/debug/pprof/goroutine?debug=2")
		if err == nil {
			_, err = io.Copy(file, resp.Body)
			resp.Body.Close()
		}
		file.Close()
		fmt.Fprintln(&text, "goroutines of", n.Name, "in", file.Name(), err)
	}
	return text.String()
}

// A Node is one node process.
type Node struct {
	T      testing.TB
	Name   string
	URL    string
	Addr   string
	Cmd    *exec.Cmd
	Exited chan struct{} // closed when the process has ended
	log    *LogBuffer
	Down   bool
}

// StartNode starts a node process. It ends with the test.
func StartNode(t testing.TB, program, name string, flags ...string) *Node {
	t.Helper()
	n := &Node{T: t, Name: name, log: &LogBuffer{}, Exited: make(chan struct{})}
	n.Cmd = exec.Command(program, append([]string{"-name", name}, flags...)...)
	n.Cmd.Env = append(os.Environ(), "GORACE=halt_on_error=0 atexit_sleep_ms=0") // otherwise a race build sleeps for a second at exit
	n.Cmd.Stderr = n.log
	stdin, stdout := StartPiped(t, n.Cmd)
	t.Cleanup(func() {
		_ = stdin.Close() // the node shuts down at the end of its input
		n.Wait(MaxWait)
		n.report()
	})
	first := make(chan string, 1)
	go func() { // ends with the process
		line, _ := bufio.NewReader(stdout).ReadString('\n')
		first <- line
		_ = n.Cmd.Wait()
		close(n.Exited)
	}()
	select {
	case line := <-first:
		var ready struct{ Addr string }
		if err := json.Unmarshal([]byte(line), &ready); err != nil {
			t.Fatalf("node %s did not start:\n%s", name, n.log.String())
		}
		n.Addr, n.URL = ready.Addr, "http://"+ready.Addr
	case <-time.After(MaxWait):
		t.Fatalf("node %s did not start within MaxWait:\n%s", name, n.log.String())
	}
	return n
}

// Wait waits for the process to end, and kills it after a time.
func (n *Node) Wait(patience time.Duration) {
	select {
	case <-n.Exited:
	case <-time.After(patience):
		_ = n.Cmd.Process.Signal(syscall.SIGQUIT) // it prints its goroutines
		select {
		case <-n.Exited:
		case <-time.After(5 * time.Second):
			_ = n.Cmd.Process.Kill()
			<-n.Exited
		}
		n.T.Errorf("node %s did not shut down in %v", n.Name, patience)
	}
}

// report fails the test if the node logged a panic or a data race, and shows its log if the test failed.
func (n *Node) report() {
	text := n.log.String()
	for _, bad := range []string{"WARNING: DATA RACE", "panic:", "fatal error:"} { // at the start of a line
		if strings.Contains("\n"+n.log.head(), "\n"+bad) || strings.Contains("\n"+text, "\n"+bad) {
			n.T.Errorf("node %s: %s", n.Name, bad)
		}
	}
	if (n.T.Failed() || os.Getenv("SOCKETIO_TEST_LOGS") != "") && text != "" {
		n.T.Logf("log of node %s:\n%s", n.Name, text)
	}
}

// Kill ends the node with SIGKILL.
func (n *Node) Kill() {
	n.Down = true
	_ = n.Cmd.Process.Kill()
	<-n.Exited
}

// Suspend stops the process with SIGSTOP; Resume continues it.
func (n *Node) Suspend() { n.Signal(syscall.SIGSTOP) }

// Resume continues a suspended process.
func (n *Node) Resume() { n.Signal(syscall.SIGCONT) }

// Signal sends a signal to the process.
func (n *Node) Signal(s syscall.Signal) {
	n.T.Helper()
	if err := n.Cmd.Process.Signal(s); err != nil {
		n.T.Fatal(err)
	}
}

// A SocketState is a socket as its node describes it.
type SocketState struct {
	ID        string
	Node      string
	Recovered bool
	Replayed  int
	Reason    string
	Rooms     []string
}

// Sockets returns the sockets of the node.
func (n *Node) Sockets() []SocketState {
	n.T.Helper()
	var all []SocketState
	n.Get("sockets", &all)
	return all
}

// NodeStats are the counters of a node, see node.Stats.
type NodeStats struct {
	Connected, Recovered, Replayed int
	Refused, Disconnects           map[string]int
	Expired                        []string
	Probes, FarProbes              int
	WrongAcks                      []string
}

// Stats returns the counters of the node.
func (n *Node) Stats() (s NodeStats) {
	n.T.Helper()
	n.Get("stats", &s)
	return s
}

// Get decodes the answer to GET /control/what into v.
func (n *Node) Get(what string, v any) {
	n.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), MaxWait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.URL+"/control/"+what, nil)
	if err != nil {
		n.T.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		n.T.Fatalf("GET from %s: %v", n.Name, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		n.T.Fatalf("GET /control/%[2]s from %[1]s: %[3]v: %.200[4]s", n.Name, what, err, data)
	}
}

// A LogBuffer keeps the beginning and the end of what is written to it.
type LogBuffer struct {
	mu    sync.Mutex
	start []byte
	last  []byte
	cut   int
}

const logBufferSize = 16 << 10

// Write implements io.Writer.
func (w *LogBuffer) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if room := logBufferSize - len(w.start); room > 0 {
		w.start = append(w.start, b[:min(room, len(b))]...)
	}
	w.last = append(w.last, b...)
	if over := len(w.last) - logBufferSize; over > 0 {
		w.last = w.last[over:]
		w.cut += over
	}
	return len(b), nil
}

func (w *LogBuffer) head() string { w.mu.Lock(); defer w.mu.Unlock(); return string(w.start) }

// String returns what was written, without the middle of a long text.
func (w *LogBuffer) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut <= 0 {
		return string(w.last)
	}
	return fmt.Sprintf("%s\n… %d bytes …\n%s", w.start[:min(len(w.start), 4<<10)], w.cut, w.last)
}

// PublishUnrecorded is MustPublish without a history. It may be called from any goroutine.
func (n *Node) PublishUnrecorded(p Publication) {
	n.T.Helper()
	if o := n.Publish(n.T.Context(), &checker.History{}, p); o.Acknowledged != p.Count {
		n.T.Errorf("publish on %s: %+v", n.Name, o)
	}
}

// StartAt adds a node that listens on an address.
func (c *Cluster) StartAt(addr string) *Node {
	c.T.Helper()
	c.Flags = []string{"-listen", addr}
	return c.Start()
}
