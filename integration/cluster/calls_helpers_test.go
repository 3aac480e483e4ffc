package cluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/integration/wire"
)

// A question is what a node is to ask of sockets ("call", "fetch") or of the other servers ("servers").
type question struct {
	Target    harness.Audience `json:"target"`
	TimeoutMS int64            `json:"timeout_ms"`
	Pad       int              `json:"pad,omitempty"`
	Load      string           `json:"load,omitempty"`
	How       string           `json:"how,omitempty"`
}

// within is a question to everybody that is to be answered in that time.
func within(d time.Duration) question { return question{TimeoutMS: d.Milliseconds()} }

// A poll is what became of a question.
type poll struct {
	Answers, Silent, Lost, Nodes []string
	Bytes                        int
	Error                        string
	TookMS                       int64 `json:"took_ms"`
}

func (p *poll) took() time.Duration { return time.Duration(p.TookMS) * time.Millisecond }

// String says what it is about in one line.
func (p *poll) String() string {
	return fmt.Sprintf("%d answers, %d silent, %d lost, nodes %q, %d bytes, error %q, %v",
		len(p.Answers), len(p.Silent), len(p.Lost), p.Nodes, p.Bytes, p.Error, p.took())
}

// want fails the test if there are not as many answers, or if there is anything else but these words about nodes.
func (p *poll) want(t *testing.T, what string, answers int, nodes ...string) {
	t.Helper()
	if len(p.Answers) != answers || len(p.Silent)+len(p.Lost) > 0 || p.Error != "" || strings.Join(p.Nodes, ", ") != strings.Join(nodes, ", ") {
		t.Errorf("%s: %v; want %d answers, nodes %q", what, p, answers, nodes)
	}
}

// ended fails the test if the question did not take about as long as it was allowed, on a slow machine.
func (p *poll) ended(t *testing.T, what string, deadline time.Duration) {
	t.Helper()
	if p.took() < deadline || p.took() > deadline+harness.MaxWait/4 {
		t.Errorf("%s: ended after %v, its deadline was %v", what, p.took(), deadline)
	}
}

// early fails the test if the question took even half as long as it was allowed.
func (p *poll) early(t *testing.T, what string, deadline time.Duration) {
	t.Helper()
	if p.took() > deadline/2 {
		t.Errorf("%s: took %v", what, p.took())
	}
}

// ask has a node ask, and waits for what becomes of it.
func ask(n *harness.Node, what string, q question) *poll {
	n.T.Helper()
	return asking(n.T.Context(), n, what, q)()
}

// asking has a node ask. What it returns waits for what becomes of it.
func asking(ctx context.Context, n *harness.Node, what string, q question) func() *poll {
	n.T.Helper()
	type result struct {
		poll poll
		err  error
	}
	done := make(chan result, 1)
	go func() { // ends with the node's answer
		p, err := harness.Control[poll](ctx, n, what, q)
		done <- result{p, err}
	}()
	return func() *poll {
		n.T.Helper()
		r := <-done
		if r.err != nil {
			n.T.Fatal(r.err)
		}
		return &r.poll
	}
}

// An answerer is a client in Go that answers what all are asked, unless it is told otherwise.
type answerer struct {
	*wire.Client

	answer string
	asked  chan struct{} // one for each question, up to its capacity
	closed chan struct{} // when its connection has ended

	mu     sync.Mutex
	silent bool
	held   <-chan struct{} // if not nil, an answer waits until it is closed
}

// answering connects a client to a node. It ends with the test.
func answering(t *testing.T, n *harness.Node, answer string) *answerer {
	t.Helper()
	a := newAnswerer(answer)
	if err := a.Connect(t.Context(), n.Addr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Cut)
	return a
}

func newAnswerer(answer string) *answerer {
	a := &answerer{asked: make(chan struct{}, 100), closed: make(chan struct{}), answer: answer}
	a.Client = wire.New(wire.Options{Request: a.request, Closed: func(error) { close(a.closed) }})
	return a
}

func (a *answerer) request(json.RawMessage) json.RawMessage {
	a.mu.Lock()
	silent, held := a.silent, a.held
	a.mu.Unlock()
	a.asked <- struct{}{}
	if silent {
		return nil
	}
	if held != nil {
		<-held
	}
	return json.RawMessage(`["` + a.answer + `"]`)
}

func (a *answerer) beSilent(silent bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.silent = silent
}

// hold has answers wait until c is closed.
func (a *answerer) hold(c <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held = c
}

// forget lets go of the questions so far.
func (a *answerer) forget() {
	for len(a.asked) > 0 {
		<-a.asked
	}
}

// wait waits for what is to happen to the client.
func (a *answerer) wait(t *testing.T, what string, happened <-chan struct{}) {
	t.Helper()
	select {
	case <-happened:
	case <-time.After(harness.MaxWait):
		t.Fatalf("client %s was not %s", a.ID(), what)
	}
}

// crowd connects as many clients to each node of the cluster. They end with the test.
func crowd(t *testing.T, cl *harness.Cluster, each int) [][]*answerer {
	t.Helper()
	all := make([][]*answerer, len(cl.Nodes))
	var connecting sync.WaitGroup
	for i, n := range cl.Nodes {
		all[i] = make([]*answerer, each)
		const atOnce = 20
		for first := range atOnce {
			connecting.Go(func() {
				for k := first; k < each; k += atOnce {
					all[i][k] = newAnswerer("here")
					if err := all[i][k].Connect(t.Context(), n.Addr); err != nil {
						t.Errorf("client %d of %s: %v", k, n.Name, err)
						return
					}
				}
			})
		}
	}
	connecting.Wait()
	if t.Failed() {
		t.FailNow()
	}
	t.Cleanup(func() {
		for _, some := range all {
			for _, a := range some {
				a.Cut()
			}
		}
	})
	return all
}
