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

// A callRequest is what a node requests of sockets ("call", "fetch") or of the other servers ("servers").
type callRequest struct {
	Target    harness.Audience `json:"target"`
	TimeoutMS int64            `json:"timeout_ms"`
	Pad       int              `json:"pad,omitempty"`
	Load      string           `json:"load,omitempty"`
	How       string           `json:"how,omitempty"`
}

// withTimeout is a request to everybody with a deadline.
func withTimeout(d time.Duration) callRequest { return callRequest{TimeoutMS: d.Milliseconds()} }

// A callResult is the result of a callRequest, see node.callResult.
type callResult struct {
	Answers, Silent, Lost, Nodes []string
	Bytes                        int
	Error                        string
	TookMS                       int64 `json:"took_ms"`
}

func (p *callResult) took() time.Duration { return time.Duration(p.TookMS) * time.Millisecond }

// String describes the result in one line.
func (p *callResult) String() string {
	return fmt.Sprintf("%d answers, %d silent, %d lost, nodes %q, %d bytes, error %q, %v",
		len(p.Answers), len(p.Silent), len(p.Lost), p.Nodes, p.Bytes, p.Error, p.took())
}

// check fails the test if the number of answers or the errors of nodes differ, or if there is any other error.
func (p *callResult) check(t *testing.T, what string, answers int, nodes ...string) {
	t.Helper()
	if len(p.Answers) != answers || len(p.Silent)+len(p.Lost) > 0 || p.Error != "" || strings.Join(p.Nodes, ", ") != strings.Join(nodes, ", ") {
		t.Errorf("%s: %v; want %d answers, nodes %q", what, p, answers, nodes)
	}
}

// checkTimedOut fails the test unless the call ended at its deadline, with a margin for a slow machine.
func (p *callResult) checkTimedOut(t *testing.T, what string, deadline time.Duration) {
	t.Helper()
	if p.took() < deadline || p.took() > deadline+harness.MaxWait/4 {
		t.Errorf("%s: ended after %v, the deadline was %v", what, p.took(), deadline)
	}
}

// checkBefore fails the test if the call took more than half of its deadline.
func (p *callResult) checkBefore(t *testing.T, what string, deadline time.Duration) {
	t.Helper()
	if p.took() > deadline/2 {
		t.Errorf("%s: took %v", what, p.took())
	}
}

// call has a node send a request, and waits for the result.
func call(n *harness.Node, what string, q callRequest) *callResult {
	n.T.Helper()
	return startCall(n.T.Context(), n, what, q)()
}

// startCall has a node send a request. The returned function waits for the result.
func startCall(ctx context.Context, n *harness.Node, what string, q callRequest) func() *callResult {
	n.T.Helper()
	type result struct {
		poll callResult
		err  error
	}
	done := make(chan result, 1)
	go func() { // ends with the answer of the node
		p, err := harness.Control[callResult](ctx, n, what, q)
		done <- result{p, err}
	}()
	return func() *callResult {
		n.T.Helper()
		r := <-done
		if r.err != nil {
			n.T.Fatal(r.err)
		}
		return &r.poll
	}
}

// A responder is a client in Go that answers requests, unless it is set silent.
type responder struct {
	*wire.Client

	answer    string
	requested chan struct{} // one for each request, up to its capacity
	closed    chan struct{} // closed with its connection

	mu     sync.Mutex
	silent bool
	held   <-chan struct{} // if not nil, answers wait until it is closed
}

// connectResponder connects a responder to a node. It ends with the test.
func connectResponder(t *testing.T, n *harness.Node, answer string) *responder {
	t.Helper()
	a := newResponder(answer)
	if err := a.Connect(t.Context(), n.Addr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Cut)
	return a
}

func newResponder(answer string) *responder {
	a := &responder{requested: make(chan struct{}, 100), closed: make(chan struct{}), answer: answer}
	a.Client = wire.New(wire.Options{Request: a.onRequest, Closed: func(error) { close(a.closed) }})
	return a
}

func (a *responder) onRequest(json.RawMessage) json.RawMessage {
	a.mu.Lock()
	silent, held := a.silent, a.held
	a.mu.Unlock()
	a.requested <- struct{}{}
	if silent {
		return nil
	}
	if held != nil {
		<-held
	}
	return json.RawMessage(`["` + a.answer + `"]`)
}

func (a *responder) setSilent(silent bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.silent = silent
}

// hold makes answers wait until c is closed.
func (a *responder) hold(c <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held = c
}

// drain discards the requests so far.
func (a *responder) drain() {
	for len(a.requested) > 0 {
		<-a.requested
	}
}

// wait waits for an event of the client.
func (a *responder) wait(t *testing.T, what string, happened <-chan struct{}) {
	t.Helper()
	select {
	case <-happened:
	case <-time.After(harness.MaxWait):
		t.Fatalf("client %s was not %s", a.ID(), what)
	}
}

// connectResponders connects responders to each node of the cluster. They end with the test.
func connectResponders(t *testing.T, cl *harness.Cluster, each int) [][]*responder {
	t.Helper()
	all := make([][]*responder, len(cl.Nodes))
	var connecting sync.WaitGroup
	for i, n := range cl.Nodes {
		all[i] = make([]*responder, each)
		const atOnce = 20
		for first := range atOnce {
			connecting.Go(func() {
				for k := first; k < each; k += atOnce {
					all[i][k] = newResponder("here")
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
