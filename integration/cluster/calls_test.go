//nolint:paralleltest // each test has several processes to itself; together they would outgrow the machine
package cluster_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgsocket/socketio/integration/harness"
)

// What is said of nodes that did not answer.
const (
	gone    = "n3: node left the cluster"
	tooLate = "n3: context deadline exceeded"
)

// TestCallAllThousands: 1,000 clients on each of three nodes are asked: all answer; ten never do; those of one node
// never do, and that node is killed.
func TestCallAllThousands(t *testing.T) {
	const each = 1000
	cl := harness.NewCluster(t, 3, "-lease", "6s")
	began := time.Now()
	clients := crowd(t, cl, each)
	connected := time.Since(began)

	// Nobody is silent: the last answer ends it.
	all := ask(cl.Nodes[0], "call", within(harness.MaxWait))
	all.want(t, "all answer", 3*each)
	all.early(t, "all answer", harness.MaxWait)
	found := ask(cl.Nodes[1], "fetch", within(harness.MaxWait))
	found.want(t, "fetch all", 3*each)
	if slices.Sort(all.Answers); !slices.Equal(all.Answers, slices.Sorted(slices.Values(found.Answers))) {
		t.Error("those who answered are not those who were found")
	}

	// Ten are silent: the deadline ends it, and they are named.
	var silent []string
	for _, i := range []int{0, 1, 2} {
		for k := range []int{3, 3, 4}[i] {
			a := clients[i][100*k]
			a.beSilent(true)
			silent = append(silent, a.ID())
		}
	}
	deadline := 2*time.Second + 5*all.took() // the others need their time
	some := ask(cl.Nodes[1], "call", within(deadline))
	some.ended(t, "ten are silent", deadline)
	slices.Sort(silent)
	if slices.Sort(some.Silent); !slices.Equal(some.Silent, silent) {
		t.Errorf("silent are %v, want %v", some.Silent, silent)
	}
	some.Silent = nil
	some.want(t, "ten are silent", 3*each-10)

	// A node is killed before any of its clients has answered: the end of its lease ends it.
	for _, some := range clients {
		for _, a := range some {
			a.forget()
			a.beSilent(false)
		}
	}
	for _, a := range clients[2] {
		a.beSilent(true)
	}
	answer := asking(t.Context(), cl.Nodes[0], "call", within(harness.MaxWait))
	for _, a := range clients[2] {
		a.wait(t, "asked", a.asked)
	}
	cl.Nodes[2].Kill()
	rest := answer()
	rest.want(t, "a node is killed", 2*each, gone)
	rest.early(t, "a node is killed", harness.MaxWait)
	t.Logf("SUMMARY %s: %d clients connected in %.1fs; all answered in %v; fetched in %v; ten silent: %v, its deadline was %v; a node killed: %v",
		t.Name(), 3*each, connected.Seconds(), all.took(), found.took(), some.took(), deadline, rest.took())
}

// TestQuestionsToABrokenNode: sockets are called and fetched, and servers are asked, while one of three nodes is
// frozen, when it wakes, while it is killed, and after that.
func TestQuestionsToABrokenNode(t *testing.T) {
	cl := harness.NewCluster(t, 3, "-lease", "6s")
	first, broken := cl.Nodes[0], cl.Nodes[2]
	var clients []*answerer
	for _, n := range cl.Nodes {
		clients = append(clients, answering(t, n, "here"))
	}
	whats := []string{"call", "fetch", "servers"}
	answers := map[string]int{"call": 3, "fetch": 3, "servers": 2}
	askAll := func(deadline time.Duration) map[string]*poll {
		t.Helper()
		pending := make(map[string]func() *poll)
		for _, what := range whats {
			pending[what] = asking(t.Context(), first, what, within(deadline))
		}
		polls := make(map[string]*poll)
		for _, what := range whats {
			polls[what] = pending[what]()
		}
		return polls
	}
	for what, p := range askAll(harness.MaxWait) {
		p.want(t, what+", all is well", answers[what])
	}

	// Frozen, and its lease is not over: the deadline ends it.
	broken.Suspend()
	const short = 2 * time.Second
	for what, p := range askAll(short) {
		p.want(t, what+", a node is frozen", answers[what]-1, tooLate)
		p.ended(t, what+", a node is frozen", short)
	}
	// The end of its lease ends it.
	for what, p := range askAll(harness.MaxWait) {
		p.want(t, what+", a node stays frozen", answers[what]-1, gone)
		p.early(t, what+", a node stays frozen", harness.MaxWait)
	}
	for what, p := range askAll(harness.MaxWait) {
		p.want(t, what+", a frozen node is given up", answers[what]-1)
	}

	// It wakes, begins anew and takes part.
	broken.Resume()
	clients[2].wait(t, "dropped by the node that woke", clients[2].closed)
	clients[2] = answering(t, broken, "here again")
	for what, p := range askAll(harness.MaxWait) {
		p.want(t, what+", the node is awake", answers[what])
	}

	// It is killed while it owes answers. Another one answers late.
	clients[2].forget()
	clients[2].beSilent(true)
	calling := asking(t.Context(), first, "call", within(harness.MaxWait))
	slow := within(harness.MaxWait)
	slow.How = "wait"
	waiting := asking(t.Context(), first, "servers", slow)
	clients[2].wait(t, "asked", clients[2].asked)
	broken.Kill()
	ask(first, "fetch", within(harness.MaxWait)).want(t, "fetch, a node is killed", 2, gone)
	calling().want(t, "call, a node is killed", 2, gone)
	ask(first, "servers", question{How: "tell"})
	p := waiting()
	p.want(t, "servers, a node is killed", 1, gone)
	p.early(t, "servers, a node is killed", harness.MaxWait)

	// Its lease is over: nobody waits for it.
	for what, p := range askAll(harness.MaxWait) {
		p.want(t, what+", a node was killed", answers[what]-1)
	}
}

// TestQuestionsOfAMegabyte: questions and answers are as large as a client may send, and larger between servers; text
// and binary; and there may be nobody to ask.
func TestQuestionsOfAMegabyte(t *testing.T) {
	const size, most = 1 << 20, 1_000_000 // most is what a node takes from a client in one message
	cl := harness.NewCluster(t, 3)
	first := cl.Nodes[0]
	cs := harness.NewClients(t, 1)
	cs.ConnectAll(3, cl.RunningURLs(), nil)
	cs.Join(harness.Numbers(3), func(int) []string { return []string{"official"} })
	for _, n := range cl.Nodes {
		a := answering(t, n, strings.Repeat("a", most-100))
		for _, args := range [][]any{
			{"join", []string{"text"}},
			{"set", map[string]string{"key": "pad", "value": strings.Repeat("d", most-100)}},
		} {
			if err := a.Call(harness.ContextFor(t, time.Minute), nil, args[0].(string), args[1:]...); err != nil {
				t.Fatal(err)
			}
		}
	}

	exact := func(what string, p *poll, answers, bytes int) {
		t.Helper()
		p.want(t, what, answers)
		if p.Bytes != bytes {
			t.Errorf("%s: %d bytes, want %d", what, p.Bytes, bytes)
		}
	}
	q := within(harness.MaxWait)
	q.Target, q.Pad = harness.Audience{Rooms: []string{"text"}}, size
	exact("call, text", ask(first, "call", q), 3, 3*(most-100))
	exact("fetch", ask(first, "fetch", q), 3, 3*(most-100))
	q.Target, q.Pad, q.How = harness.Audience{Rooms: []string{"official"}}, most, "binary"
	exact("call, binary", ask(first, "call", q), 3, 3*most)
	q = within(harness.MaxWait)
	q.Load, q.Pad = strings.Repeat("q", size), size
	exact("servers", ask(first, "servers", q), 2, 2*2*size)

	// Server-side events are handled in order, and before the requests behind them.
	q = question{How: "tell", Pad: size}
	for _, n := range cl.Nodes[:2] {
		ask(n, "servers", q)
	}
	ask(first, "servers", within(harness.MaxWait)).want(t, "servers, after they were told", 2)
	var stats struct{ Told []string }
	cl.Nodes[2].Get("stats", &stats)
	want := []string{"n1" + strings.Repeat("z", size), "n2" + strings.Repeat("z", size)}
	if !slices.Equal(stats.Told, want) {
		t.Errorf("the third node was told %d times", len(stats.Told))
	}

	// Nobody to ask: the nodes' word ends it.
	q = within(harness.MaxWait)
	q.Target = harness.Audience{Rooms: []string{"nobody"}}
	for _, what := range []string{"call", "fetch"} {
		p := ask(first, what, q)
		p.want(t, what+", nobody", 0)
		p.early(t, what+", nobody", harness.MaxWait)
	}
}
