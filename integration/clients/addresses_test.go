package clients_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pgsocket/socketio/integration/harness"
)

// watching is added to the block of the documentation. It reports each connection, and the ticks: when the first has arrived,
// and all when the last has.
const watching = `
const ticks = [];
const say = (report) => process.stdout.write(JSON.stringify(report) + "\n");
socket.on("connect", () => say({ url: socket.io.uri, recovered: socket.recovered }));
socket.on("tick", (publisher, seq) => {
  if (ticks.push(seq) === 1) say({ ticks });
  if (seq === Number(process.env.LAST)) say({ ticks });
});
`

// A report is a line that the client prints.
type report struct {
	URL       string
	Recovered bool
	Ticks     []int
}

// startOfBlock runs the block of docs/deployment.md about several addresses, with addresses of its own, and returns a function
// that returns its next report.
func startOfBlock(t *testing.T, before, last string, urls ...string) (next func() report) {
	t.Helper()
	text, err := os.ReadFile("../../docs/deployment.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n## Several addresses without a proxy\n")
	_, block, opened := strings.Cut(section, "```js\n")
	block, _, closed := strings.Cut(block, "```")
	list := regexp.MustCompile(`(?m)^const nodes = \[.*\]`)
	if !found || !opened || !closed || !list.MatchString(block) {
		t.Fatal("docs/deployment.md has no block with a list of nodes")
	}
	addresses, err := json.Marshal(urls)
	if err != nil {
		t.Fatal(err)
	}
	block = list.ReplaceAllLiteralString(block, "const nodes = "+string(addresses))

	ctx, cancel := context.WithTimeout(t.Context(), harness.MaxWait)
	client := exec.CommandContext(ctx, "node", "--input-type=module", "--eval", before+block+watching)
	client.Dir = "../js"
	client.Env = append(os.Environ(), "LAST="+last)
	client.Stderr = t.Output()
	_, out := harness.StartPiped(t, client)
	t.Cleanup(func() {
		cancel() // the client runs until it is killed
		_ = client.Wait()
	})
	lines := bufio.NewScanner(out)
	return func() (r report) {
		t.Helper()
		if !lines.Scan() {
			t.Fatal("the client reports nothing more")
		}
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatalf("%s: %v", lines.Bytes(), err)
		}
		return r
	}
}

// TestAddresses_NodeKilled runs the block of the documentation with two nodes. The node of the client is killed while the other
// emits: the client is recovered there, and receives each event once, in order.
func TestAddresses_NodeKilled(t *testing.T) { //nolint:paralleltest // it runs several processes
	const count = 600
	c := harness.NewCluster(t, 2)
	next := startOfBlock(t, "", "599", c.RunningURLs()...)
	first := next()
	at := slices.IndexFunc(c.Nodes, func(n *harness.Node) bool { return n.URL == first.URL })
	if at < 0 || first.Recovered {
		t.Fatalf("the client begins with %+v", first)
	}
	published := make(chan struct{})
	go func() {
		defer close(published)
		c.Nodes[1-at].PublishUnrecorded(harness.Publication{Publisher: 1, Count: count, PerSecond: 200})
	}()
	if r := next(); len(r.Ticks) == 0 {
		t.Fatalf("the client reports %+v before the first event", r)
	}
	c.Nodes[at].Kill()
	if second := next(); second.URL != c.Nodes[1-at].URL || !second.Recovered {
		t.Errorf("after its node was killed the client reports %+v", second)
	}
	<-published
	if r := next(); !slices.Equal(r.Ticks, harness.Numbers(count)) {
		t.Errorf("the client received %d events of %d: %v", len(r.Ticks), count, r.Ticks)
	}
}

// TestAddresses_FirstRefuses: before it ever had a connection, the client goes on from an address where nobody listens to one
// where a node drains, and to the next.
func TestAddresses_FirstRefuses(t *testing.T) {
	t.Parallel()
	draining := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer draining.Close()
	inOrder := "Math.random = () => 0;\n"
	nobody, url := "http://"+harness.FreeAddress(t), startServer(t)
	if r := startOfBlock(t, inOrder, "", nobody, draining.URL, url)(); r.URL != url {
		t.Errorf("the client reports %+v, want a connection to %s", r, url)
	}
}
