package integration_test

import (
	"bufio"
	"bytes"
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

	"github.com/pgsocket/socketio/integration/history"
	"github.com/pgsocket/socketio/pgtest"
)

// Main runs the tests of a package with a Postgres of their own, unless DATABASE_URL names one.
func Main(m *testing.M) int {
	code := pgtest.Main(m)
	for _, p := range []*program{&plain, &stepped} {
		if p.dir != "" {
			_ = os.RemoveAll(p.dir) // a temporary directory: the system clears it otherwise
		}
	}
	return code
}

func TestMain(m *testing.M) { os.Exit(Main(m)) }

// A program is that of a node, built once for a run of tests.
type program struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// The programs: as built from this tree, and with a wall clock that can be set, see steppedFlags.
var plain, stepped program

func nodeProgram(t testing.TB) string {
	t.Helper()
	return plain.build(t, func(string) ([]string, error) { return nil, nil })
}

// build builds the program, with the flags that are made in its directory.
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
		if raceEnabled {
			args = append(args, "-race")
		}
		p.err = buildNode(".", p.path, args...)
	})
	if p.err != nil {
		t.Fatal(p.err)
	}
	return p.path
}

// buildNode builds a node from the integration module in dir.
func buildNode(dir, path string, flags ...string) error {
	cmd := exec.Command("go", append(append([]string{"build", "-o", path}, flags...), "./node")...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the node: %w\n%s", err, out)
	}
	return nil
}

// A cluster is some nodes on one schema.
type cluster struct {
	t      testing.TB
	dsn    string
	schema string
	flags  []string
	nodes  []*node

	program string                   // the node's; "" for the one that is built from this tree
	route   func(name string) string // how a node reaches Postgres; nil: by dsn
}

// newCluster starts nodes with the given flags. They end with the test.
func newCluster(t testing.TB, nodes int, flags ...string) *cluster {
	t.Helper()
	dsn, schema := pgtest.Schema(t)
	return newClusterOn(t, dsn, schema, nodes, flags...)
}

// newClusterOf starts nodes with another program.
func newClusterOf(t testing.TB, program string, nodes int, flags ...string) *cluster {
	t.Helper()
	dsn, schema := pgtest.Schema(t)
	c := &cluster{t: t, dsn: dsn, schema: schema, flags: flags, program: program}
	for range nodes {
		c.start()
	}
	return c
}

func newClusterOn(t testing.TB, dsn, schema string, nodes int, flags ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, dsn: dsn, schema: schema, flags: flags}
	for range nodes {
		c.start()
	}
	return c
}

// start adds a node.
func (c *cluster) start() *node {
	c.t.Helper()
	name := fmt.Sprintf("n%d", len(c.nodes)+1)
	dsn, program := c.dsn, c.program
	if c.route != nil {
		dsn = c.route(name)
	}
	if program == "" {
		program = nodeProgram(c.t)
	}
	n := startNode(c.t, program, name, append([]string{
		"-dsn", named(c.t, dsn, c.schema+"-"+name),
		"-listen-dsn", named(c.t, dsn, c.schema+"-"+name+"-listen"),
		"-schema", c.schema,
	}, c.flags...)...)
	c.nodes = append(c.nodes, n)
	return n
}

// named gives the connections to dsn a name by which Postgres tells them apart.
func named(t testing.TB, dsn, application string) string {
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

// alive returns the addresses of the nodes that run.
func (c *cluster) alive() []string {
	var urls []string
	for _, n := range c.nodes {
		if !n.down {
			urls = append(urls, n.url)
		}
	}
	return urls
}

// terminate ends backends of the cluster, those of a kind: "listen", "publish" or "pool". It returns how many.
func (c *cluster) terminate(ctx context.Context, conn *pgx.Conn, kind string) int {
	c.t.Helper()
	n, err := c.tryTerminate(ctx, conn, kind)
	if err != nil && ctx.Err() == nil {
		c.t.Errorf("terminate backends: %v", err)
	}
	return n
}

func (c *cluster) tryTerminate(ctx context.Context, conn *pgx.Conn, kind string) (n int, err error) {
	err = conn.QueryRow(ctx, `
		select count(pg_terminate_backend(pid)) from pg_stat_activity
		where application_name like $1 || '-%' and case $2
			when 'listen' then application_name like '%-listen'
			when 'publish' then application_name not like '%-listen' and query like '%append(%'
			else application_name not like '%-listen' and query not like '%append(%' end`,
		c.schema, kind).Scan(&n)
	return n, err
}

func (c *cluster) connect() *pgx.Conn {
	c.t.Helper()
	conn, err := pgx.Connect(c.t.Context(), c.dsn)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// diagnose says what the cluster is busy with: the sessions of Postgres that wait, and where the goroutines of each
// node are written down.
func (c *cluster) diagnose() string {
	var text strings.Builder
	conn := c.connect()
	rows, err := conn.Query(c.t.Context(), `
		select pid, application_name, state, coalesce(wait_event_type || '/' || wait_event, '-'),
			pg_blocking_pids(pid)::text, (clock_timestamp() - state_change)::text, left(regexp_replace(query, '\s+', ' ', 'g'), 90)
		from pg_stat_activity where application_name like $1 || '-%' order by 2`, c.schema)
	if err == nil {
		for rows.Next() {
			values, err := rows.Values()
			fmt.Fprintln(&text, values, err)
		}
	}
	for _, n := range c.nodes {
		if n.down {
			continue
		}
		file, err := os.CreateTemp("", "goroutines-"+n.name+"-*.txt")
		if err != nil {
			continue
		}
		resp, err := http.Get(n.url + "/debug/pprof/goroutine?debug=2")
		if err == nil {
			_, err = io.Copy(file, resp.Body)
			resp.Body.Close()
		}
		file.Close()
		fmt.Fprintln(&text, "goroutines of", n.name, "in", file.Name(), err)
	}
	return text.String()
}

// A node is one process.
type node struct {
	t    testing.TB
	name string
	url  string
	addr string
	cmd  *exec.Cmd
	end  chan struct{} // closed when the process has ended
	log  *tail
	down bool
}

func startNode(t testing.TB, program, name string, flags ...string) *node {
	t.Helper()
	n := &node{t: t, name: name, log: &tail{}, end: make(chan struct{})}
	n.cmd = exec.Command(program, append([]string{"-name", name}, flags...)...)
	n.cmd.Env = append(os.Environ(), "GORACE=halt_on_error=0 atexit_sleep_ms=0") // by default each node would sleep for a second at its end
	n.cmd.Stderr = n.log
	stdin, err := n.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := n.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close() // the node shuts down by that
		n.wait(patience)
		n.report()
	})
	first := make(chan string, 1)
	go func() { // ends with the process
		line, _ := bufio.NewReader(stdout).ReadString('\n')
		first <- line
		_ = n.cmd.Wait()
		close(n.end)
	}()
	select {
	case line := <-first:
		var ready struct{ Addr string }
		if err := json.Unmarshal([]byte(line), &ready); err != nil {
			t.Fatalf("node %s did not start:\n%s", name, n.log.String())
		}
		n.addr, n.url = ready.Addr, "http://"+ready.Addr
	case <-time.After(patience):
		t.Fatalf("node %s did not start in time:\n%s", name, n.log.String())
	}
	return n
}

// wait waits for the process to end, and kills it when that takes too long.
func (n *node) wait(patience time.Duration) {
	select {
	case <-n.end:
	case <-time.After(patience):
		_ = n.cmd.Process.Signal(syscall.SIGQUIT) // it prints its goroutines
		select {
		case <-n.end:
		case <-time.After(5 * time.Second):
			_ = n.cmd.Process.Kill()
			<-n.end
		}
		n.t.Errorf("node %s did not shut down in %v", n.name, patience)
	}
}

// report fails the test for what a node should never print, and shows its log if the test failed.
func (n *node) report() {
	text := n.log.String()
	for _, bad := range []string{"WARNING: DATA RACE", "panic:", "fatal error:"} { // at the start of a line
		if strings.Contains("\n"+n.log.head(), "\n"+bad) || strings.Contains("\n"+text, "\n"+bad) {
			n.t.Errorf("node %s: %s", n.name, bad)
		}
	}
	if (n.t.Failed() || os.Getenv("SOCKETIO_TEST_LOGS") != "") && text != "" {
		n.t.Logf("node %s said:\n%s", n.name, text)
	}
}

// kill ends the node with SIGKILL.
func (n *node) kill() {
	n.down = true
	_ = n.cmd.Process.Kill()
	<-n.end
}

// freeze stops the process where it stands; thaw lets it go on.
func (n *node) freeze() { n.signal(syscall.SIGSTOP) }
func (n *node) thaw()   { n.signal(syscall.SIGCONT) }

func (n *node) signal(s syscall.Signal) {
	n.t.Helper()
	if err := n.cmd.Process.Signal(s); err != nil {
		n.t.Fatal(err)
	}
}

// A publication is what the node's /control/publish takes.
type publication struct {
	Publisher int              `json:"publisher"`
	First     int              `json:"first"`
	Count     int              `json:"count"`
	Namespace string           `json:"namespace,omitempty"`
	Targets   []history.Target `json:"-"`
	PerSecond int              `json:"per_second"`
	TimeoutMS int              `json:"timeout_ms"`
	Wait      bool             `json:"wait"`
	Volatile  bool             `json:"volatile"`
	Pad       int              `json:"pad"`
	PadEvery  int              `json:"pad_every"`
}

func (p publication) target(seq int) history.Target {
	if len(p.Targets) == 0 {
		return history.Target{}
	}
	return p.Targets[seq%len(p.Targets)]
}

func (p publication) MarshalJSON() ([]byte, error) {
	type plain publication
	type target struct {
		Rooms  []string `json:"rooms"`
		Except []string `json:"except"`
	}
	targets := []target{}
	for _, to := range p.Targets {
		targets = append(targets, target(to))
	}
	return json.Marshal(struct {
		plain
		Targets []target `json:"targets"`
	}{plain(p), targets})
}

// An outcome is how the emits of a publication ended.
type outcome struct{ acknowledged, failed, unknown int }

// publish lets the node emit, writes the results into h, and returns when all are known or the node is gone.
func (n *node) publish(ctx context.Context, h interface{ Emitted(e history.Emit) }, p publication) outcome {
	began := time.Now().UnixNano()
	body, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	var o outcome
	next := p.First
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.url+"/control/publish", bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	if resp, err := http.DefaultClient.Do(req); err == nil {
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			var seq int
			var start, end int64
			var text string
			if err := json.Unmarshal(lines.Bytes(), &[]any{&seq, &start, &end, &text}); err != nil {
				break // half a line of a node that was killed
			}
			h.Emitted(history.Emit{ID: history.Of(p.Publisher, seq), To: p.target(seq), Start: start, End: end, Err: text})
			next = seq + 1
			if text == "" {
				o.acknowledged++
			} else {
				o.failed++
			}
		}
		resp.Body.Close()
	}
	for ; next < p.First+p.Count; next++ {
		h.Emitted(history.Emit{ID: history.Of(p.Publisher, next), To: p.target(next), Start: began})
		o.unknown++
	}
	return o
}

// mustPublish publishes from a node that is well.
func (n *node) mustPublish(h *history.History, p publication) {
	n.t.Helper()
	if o := n.publish(n.t.Context(), h, p); o.acknowledged != p.Count {
		n.t.Fatalf("publish on %s: %+v", n.name, o)
	}
}

// A here is a socket as its node describes it.
type here struct {
	ID        string
	Node      string
	Recovered bool
	Replayed  int
	Reason    string
	Rooms     []string
}

func (n *node) sockets() []here {
	n.t.Helper()
	var all []here
	n.get("sockets", &all)
	return all
}

type stats struct {
	Connected, Recovered, Replayed int
	Refused, Gone                  map[string]int
	Expired                        []string
	Quizzed                        int
	Wrong                          []string
}

func (n *node) stats() (s stats) {
	n.t.Helper()
	n.get("stats", &s)
	return s
}

func (n *node) get(what string, v any) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+"/control/"+what, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		n.t.Fatalf("ask %s: %v", n.name, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		n.t.Fatalf("ask %s for %s: %v: %.200s", n.name, what, err, data)
	}
}

// A tail keeps the beginning and the end of what is written to it.
type tail struct {
	mu    sync.Mutex
	start []byte
	last  []byte
	cut   int
}

const tailSize = 16 << 10

// Write implements io.Writer.
func (w *tail) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if room := tailSize - len(w.start); room > 0 {
		w.start = append(w.start, b[:min(room, len(b))]...)
	}
	w.last = append(w.last, b...)
	if over := len(w.last) - tailSize; over > 0 {
		w.last = w.last[over:]
		w.cut += over
	}
	return len(b), nil
}

func (w *tail) head() string { w.mu.Lock(); defer w.mu.Unlock(); return string(w.start) }

// String returns what was written, without the middle of a long text.
func (w *tail) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut <= 0 {
		return string(w.last)
	}
	return fmt.Sprintf("%s\n… %d bytes …\n%s", w.start[:min(len(w.start), 4<<10)], w.cut, w.last)
}
