//nolint:paralleltest // each test runs several processes; in parallel they would overload the machine
package cluster_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgsocket/socketio/integration/harness"
)

// Errors of nodes that did not answer.
const (
	nodeLeft         = "n3: node left the cluster"
	deadlineExceeded = "n3: context deadline exceeded"
)

// TestCallAll_ThousandsOfClients calls 1,000 clients on each of three nodes: all answer; then ten do not; then those
// of one node do not, and the node is killed.
func TestCallAll_ThousandsOfClients(t *testing.T) {
	const each = 1000
	cl := harness.NewCluster(t, 3, "-lease", "6s")
	began := time.Now()
	clients := connectResponders(t, cl, each)
	connected := time.Since(began)

	// All answer: the last answer ends the call.
	all := call(cl.Nodes[0], "call", withTimeout(harness.MaxWait))
	all.check(t, "all answer", 3*each)
	all.checkBefore(t, "all answer", harness.MaxWait)
	found := call(cl.Nodes[1], "fetch", withTimeout(harness.MaxWait))
	found.check(t, "fetch all", 3*each)
	if slices.Sort(all.Answers); !slices.Equal(all.Answers, slices.Sorted(slices.Values(found.Answers))) {
		t.Error("the sockets that answered are not those that Fetch found")
	}

	// Ten do not answer: the deadline ends the call, and they are named.
	var silent []string
	for _, i := range []int{0, 1, 2} {
		for k := range []int{3, 3, 4}[i] {
			a := clients[i][100*k]
			a.setSilent(true)
			silent = append(silent, a.ID())
		}
	}
	deadline := 2*time.Second + 5*all.took() // time for the others
	some := call(cl.Nodes[1], "call", withTimeout(deadline))
	some.checkTimedOut(t, "ten are silent", deadline)
	slices.Sort(silent)
	if slices.Sort(some.Silent); !slices.Equal(some.Silent, silent) {
		t.Errorf("silent: %v, want %v", some.Silent, silent)
	}
	some.Silent = nil
	some.check(t, "ten are silent", 3*each-10)

	// A node is killed before any of its clients has answered: the end of its lease ends the call.
	for _, some := range clients {
		for _, a := range some {
			a.drain()
			a.setSilent(false)
		}
	}
	for _, a := range clients[2] {
		a.setSilent(true)
	}
	answer := startCall(t.Context(), cl.Nodes[0], "call", withTimeout(harness.MaxWait))
	for _, a := range clients[2] {
		a.wait(t, "asked", a.requested)
	}
	cl.Nodes[2].Kill()
	rest := answer()
	rest.check(t, "a node is killed", 2*each, nodeLeft)
	rest.checkBefore(t, "a node is killed", harness.MaxWait)
	t.Logf("SUMMARY %s: %d clients connected in %.1fs; all answered in %v; fetched in %v; ten silent: %v, deadline %v; a node killed: %v",
		t.Name(), 3*each, connected.Seconds(), all.took(), found.took(), some.took(), deadline, rest.took())
}

// TestCalls_BrokenNode calls and fetches sockets and calls servers while one of three nodes is suspended, after it
// resumes, while it is killed, and after that.
func TestCalls_BrokenNode(t *testing.T) {
	cl := harness.NewCluster(t, 3, "-lease", "6s")
	first, broken := cl.Nodes[0], cl.Nodes[2]
	var clients []*responder
	for _, n := range cl.Nodes {
		clients = append(clients, connectResponder(t, n, "here"))
	}
	whats := []string{"call", "fetch", "servers"}
	answers := map[string]int{"call": 3, "fetch": 3, "servers": 2}
	askAll := func(deadline time.Duration) map[string]*callResult {
		t.Helper()
		pending := make(map[string]func() *callResult)
		for _, what := range whats {
			pending[what] = startCall(t.Context(), first, what, withTimeout(deadline))
		}
		polls := make(map[string]*callResult)
		for _, what := range whats {
			polls[what] = pending[what]()
		}
		return polls
	}
	for what, p := range askAll(harness.MaxWait) {
		p.check(t, what+", all nodes up", answers[what])
	}

	// The node is suspended and its lease is valid: the deadline ends the call.
	broken.Suspend()
	const short = 2 * time.Second
	for what, p := range askAll(short) {
		p.check(t, what+", a node is suspended", answers[what]-1, deadlineExceeded)
		p.checkTimedOut(t, what+", a node is suspended", short)
	}
	// The end of its lease ends the call.
	for what, p := range askAll(harness.MaxWait) {
		p.check(t, what+", the lease of a suspended node ends", answers[what]-1, nodeLeft)
		p.checkBefore(t, what+", the lease of a suspended node ends", harness.MaxWait)
	}
	for what, p := range askAll(harness.MaxWait) {
		p.check(t, what+", after the lease of a suspended node", answers[what]-1)
	}

	// It resumes, registers again and takes part.
	broken.Resume()
	clients[2].wait(t, "dropped by the resumed node", clients[2].closed)
	clients[2] = connectResponder(t, broken, "here again")
	for what, p := range askAll(harness.MaxWait) {
		p.check(t, what+", the node is resumed", answers[what])
	}

	// It is killed with requests pending. Another node answers late.
	clients[2].drain()
	clients[2].setSilent(true)
	calling := startCall(t.Context(), first, "call", withTimeout(harness.MaxWait))
	slow := withTimeout(harness.MaxWait)
	slow.How = "wait"
	waiting := startCall(t.Context(), first, "servers", slow)
	clients[2].wait(t, "asked", clients[2].requested)
	broken.Kill()
	call(first, "fetch", withTimeout(harness.MaxWait)).check(t, "fetch, a node is killed", 2, nodeLeft)
	calling().check(t, "call, a node is killed", 2, nodeLeft)
	call(first, "servers", callRequest{How: "tell"})
	p := waiting()
	p.check(t, "servers, a node is killed", 1, nodeLeft)
	p.checkBefore(t, "servers, a node is killed", harness.MaxWait)

	// Its lease has ended: no call waits for it.
	for what, p := range askAll(harness.MaxWait) {
		p.check(t, what+", a node was killed", answers[what]-1)
	}
}

// TestCalls_MegabytePayloads sends requests and answers that are as large as a client may send, and larger ones
// between servers, as text and as binary data, and calls an empty room.
func TestCalls_MegabytePayloads(t *testing.T) {
	const size, most = 1 << 20, 1_000_000 // most is the largest message of a client
	cl := harness.NewCluster(t, 3)
	first := cl.Nodes[0]
	cs := harness.NewClients(t, 1)
	cs.ConnectAll(3, cl.RunningURLs(), nil)
	cs.Join(harness.Numbers(3), func(int) []string { return []string{"official"} })
	for _, n := range cl.Nodes {
		a := connectResponder(t, n, strings.Repeat("a", most-100))
		for _, args := range [][]any{
			{"join", []string{"text"}},
			{"set", map[string]string{"key": "pad", "value": strings.Repeat("d", most-100)}},
		} {
			if err := a.Call(harness.ContextFor(t, time.Minute), nil, args[0].(string), args[1:]...); err != nil {
				t.Fatal(err)
			}
		}
	}

	exact := func(what string, p *callResult, answers, bytes int) {
		t.Helper()
		p.check(t, what, answers)
		if p.Bytes != bytes {
			t.Errorf("%s: %d bytes, want %d", what, p.Bytes, bytes)
		}
	}
	q := withTimeout(harness.MaxWait)
	q.Target, q.Pad = harness.Audience{Rooms: []string{"text"}}, size
	exact("call, text", call(first, "call", q), 3, 3*(most-100))
	exact("fetch", call(first, "fetch", q), 3, 3*(most-100))
	q.Target, q.Pad, q.How = harness.Audience{Rooms: []string{"official"}}, most, "binary"
	exact("call, binary", call(first, "call", q), 3, 3*most)
	q = withTimeout(harness.MaxWait)
	q.Load, q.Pad = strings.Repeat("q", size), size
	exact("servers", call(first, "servers", q), 2, 2*2*size)

	// Server-side events are handled in order, and before the requests behind them.
	q = callRequest{How: "tell", Pad: size}
	for _, n := range cl.Nodes[:2] {
		call(n, "servers", q)
	}
	call(first, "servers", withTimeout(harness.MaxWait)).check(t, "servers, after the server events", 2)
	var stats struct{ ServerEvents []string }
	cl.Nodes[2].Get("stats", &stats)
	want := []string{"n1" + strings.Repeat("z", size), "n2" + strings.Repeat("z", size)}
	if !slices.Equal(stats.ServerEvents, want) {
		t.Errorf("the third node received %d server events", len(stats.ServerEvents))
	}

	// An empty room: the nodes' answers end the call.
	q = withTimeout(harness.MaxWait)
	q.Target = harness.Audience{Rooms: []string{"nobody"}}
	for _, what := range []string{"call", "fetch"} {
		p := call(first, what, q)
		p.check(t, what+", empty room", 0)
		p.checkBefore(t, what+", empty room", harness.MaxWait)
	}
}
