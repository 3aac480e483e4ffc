//nolint:paralleltest // each test runs several processes; in parallel they would overload the machine
package cluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgsocket/socketio/integration/harness"
)

// A oneCall is a call of one socket, see node.oneCall.
type oneCall struct {
	Socket    string   `json:"socket"`
	Question  question `json:"question"`
	TimeoutMS int64    `json:"timeout_ms"`
}

type question struct {
	Text  string `json:"text"`
	After int    `json:"after"` // milliseconds; negative: never
}

// A oneResult is the result of a oneCall, see node.oneResult.
type oneResult struct {
	Answer, Error string
	TookMS        int64 `json:"took_ms"`
}

// Errors of calls of one socket, see node.describeCallError.
const (
	notConnected = "socket is not connected"
	tooLate      = "context deadline exceeded"
)

// never is the time after which a client does not answer.
const never = -1

// startAsk has a node call a socket. The returned function waits for the result.
func startAsk(n *harness.Node, q oneCall) func() oneResult {
	n.T.Helper()
	type result struct {
		one oneResult
		err error
	}
	done := make(chan result, 1)
	go func() { // ends with the answer of the node
		one, err := harness.Control[oneResult](n.T.Context(), n, "ask", q)
		done <- result{one, err}
	}()
	return func() oneResult {
		n.T.Helper()
		r := <-done
		if r.err != nil {
			n.T.Fatal(r.err)
		}
		return r.one
	}
}

// check fails the test if the outcome differs, or if it was not known in half of the time that a call may take.
func (r oneResult) check(t *testing.T, what, answer, failure string) {
	t.Helper()
	if r.Answer != answer || r.Error != failure {
		t.Errorf("%s: answer %q, error %q; want %q, %q", what, r.Answer, r.Error, answer, failure)
	}
	if took := time.Duration(r.TookMS) * time.Millisecond; took > harness.MaxWait/2 {
		t.Errorf("%s: took %v", what, took)
	}
}

// questions returns the questions that the clients have received, with the client of each.
func questions(cs *harness.Clients) map[string][]int {
	got := make(map[string][]int)
	for _, k := range cs.Numbers() {
		for _, e := range cs.Get(k).Events {
			var q question
			if e.Event == "ask" && json.Unmarshal(e.Args[0], &q) == nil {
				got[q.Text] = append(got[q.Text], k)
			}
		}
	}
	return got
}

// TestCall_BrokenNodes calls official clients of another node while one of three nodes is suspended, and while the node
// of the client is killed in mid-call; then on the node to which the client returns.
func TestCall_BrokenNodes(t *testing.T) {
	cl := harness.NewCluster(t, 3, "-lease", "6s")
	first, owner, third := cl.Nodes[0], cl.Nodes[1], cl.Nodes[2]
	cs := harness.NewClients(t, 1)
	urls := cl.RunningURLs()
	for k := range 3 {
		cs.Open(k, urls[1], nil)
	}
	cs.Await(harness.MaxWait, "the clients connect", cs.AllConnectedLocked)
	id, gone, silent := cs.Get(0).ID, cs.Get(1).ID, cs.Get(2).ID
	ask := func(n *harness.Node, id, text string, timeout time.Duration) oneResult {
		return startAsk(n, oneCall{id, question{text, 0}, timeout.Milliseconds()})()
	}
	cs.SendAll([]int{1}, harness.Command{"c": "leave"})
	cs.Await(harness.MaxWait, "a client leaves", func() bool { return !cs.ByNumber[1].Connected })

	ask(first, id, "one", harness.MaxWait).check(t, "a client of another node", "one", "")
	ask(owner, id, "two", harness.MaxWait).check(t, "a client of the same node", "two", "")
	ask(first, gone, "?", harness.MaxWait).check(t, "a client that left", "", notConnected)
	ask(first, "lobby", "?", harness.MaxWait).check(t, "the name of a room", "", notConnected)
	asked := startAsk(first, oneCall{silent, question{"leave", never}, harness.MaxWait.Milliseconds()})
	awaitQuestion(cs, "leave")
	cs.SendAll([]int{2}, harness.Command{"c": "leave"})
	asked().check(t, "a client that leaves", "", "disconnected: client namespace disconnect")

	third.Suspend()
	ask(first, id, "three", harness.MaxWait).check(t, "a node is suspended", "three", "")
	ask(first, gone, "?", 2*time.Second).check(t, "a suspended node may have the client", "", tooLate)
	ask(first, gone, "?", harness.MaxWait).check(t, "the lease of that node ends", "", "n3: node left the cluster")
	ask(first, gone, "?", harness.MaxWait).check(t, "after its lease", "", notConnected)
	third.Resume()

	asked = startAsk(first, oneCall{id, question{"four", never}, harness.MaxWait.Milliseconds()})
	awaitQuestion(cs, "four")
	owner.Suspend() // so that it does not notice that the client leaves
	cs.CutAndHold("reset", 0)
	owner.Kill()
	asked().check(t, "its node was killed", "", "n2: node left the cluster")
	cs.Reconnect(first.URL, 0)
	if now := cs.Get(0); now.ID != id || !now.Recovered {
		t.Fatalf("the client returned as %s, recovered %v", now.ID, now.Recovered)
	}
	ask(first, id, "five", harness.MaxWait).check(t, "the client is back", "five", "")
	ask(third, id, "six", harness.MaxWait).check(t, "the client is back, from another node", "six", "")
}

// awaitQuestion waits until a client has received a question.
func awaitQuestion(cs *harness.Clients, text string) {
	cs.T.Helper()
	if !harness.Eventually(harness.MaxWait, func() bool { return len(questions(cs)[text]) > 0 }) {
		cs.T.Fatalf("no client received the question %q", text)
	}
}

// TestCall_ClientsMove calls official clients a thousand times, from three nodes, while their connections are broken and
// they recover on other nodes. Each call ends with the answer to its question, or with an error that says why there is
// none; no client receives a question twice.
func TestCall_ClientsMove(t *testing.T) {
	const clients, callers, calls, slowest = 12, 10, 1000, 60
	cl := harness.NewCluster(t, 3, "-lease", "30s", "-ping-interval", "2s", "-ping-timeout", "2s")
	rng := harness.NewRand(harness.Seed(t))
	cs := harness.NewClients(t, 2)
	cs.ConnectAll(clients, cl.RunningURLs(), harness.Command{"roam": true})

	ctx, stop := context.WithCancel(t.Context())
	var cutting, calling sync.WaitGroup
	cutting.Go(func() {
		for ctx.Err() == nil {
			cs.Cut([]string{"reset", "close", "half"}[rng.IntN(3)], nil, rng.IntN(clients))
			harness.Pause(ctx, time.Duration(rng.IntN(40))*time.Millisecond)
		}
	})
	var mu sync.Mutex
	outcomes, answered := make(map[string]int), make(map[string]int)
	var next atomic.Int64
	for range callers {
		calling.Go(func() {
			for {
				number := next.Add(1)
				if number > calls {
					return
				}
				k, text := rand.IntN(clients), fmt.Sprint("question ", number)
				q := oneCall{cs.Get(k).ID, question{text, rand.IntN(slowest)}, harness.MaxWait.Milliseconds()}
				r := startAsk(cl.Nodes[number%3], q)()
				mu.Lock()
				switch {
				case r.Error == "" && r.Answer == text:
					outcomes["answered"]++
					answered[text] = k
				case r.Error == "":
					t.Errorf("%s was answered with %q", text, r.Answer)
				default:
					outcomes[r.Error]++
				}
				mu.Unlock()
			}
		})
	}
	calling.Wait()
	stop()
	cutting.Wait()
	cs.WaitDelivered()

	left := 0
	for what, n := range outcomes {
		switch {
		case strings.HasPrefix(what, "disconnected: "):
			left += n
		case what != "answered" && what != notConnected:
			t.Errorf("%d calls ended with %q", n, what)
		}
	}
	if outcomes["answered"] < calls/20 || left < calls/100 || outcomes[notConnected] == 0 {
		t.Errorf("the calls and the cuts have missed each other: %v", outcomes)
	}
	got := questions(cs)
	for text, by := range got {
		if len(by) > 1 {
			t.Errorf("%s was received by %v", text, by)
		}
	}
	for text, k := range answered {
		if by := got[text]; len(by) != 1 || by[0] != k {
			t.Errorf("%s to client %d was received by %v", text, k, by)
		}
	}
	back, recovered := cs.Reconnections()
	t.Logf("SUMMARY %s: %v; %d reconnections, %d recovered", t.Name(), outcomes, back, recovered)
}
