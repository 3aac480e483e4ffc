//nolint:paralleltest // each test runs several processes; in parallel they would overload the machine
package cluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pgsocket/socketio/integration/checker"
	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/integration/wire"
)

// A claimConn is one connection of a raw client that only answers pings. It records what it receives.
type claimConn struct {
	link       *wire.Link
	answered   chan struct{} // closed by the answer to CONNECT, or by the end of the connection
	closedConn chan struct{}

	mu     sync.Mutex
	answer string
	pid    string
	offset string
	last   int // number of the newest event of publisher 1
	got    []checker.ID
}

const (
	claimConnected = "connect"
	claimRefused   = "connect error"
	claimClosed    = "closed"
)

// dialClaim opens a connection without sending CONNECT.
func dialClaim(t *testing.T, addr string) *claimConn {
	t.Helper()
	link, err := wire.Dial(t.Context(), addr)
	if err != nil {
		t.Error(err)
		return nil
	}
	c := &claimConn{link: link, answered: make(chan struct{}), closedConn: make(chan struct{})}
	go c.read() // ends with the connection
	t.Cleanup(link.Cut)
	return c
}

func (c *claimConn) read() {
	defer close(c.closedConn)
	defer c.link.Cut()
	for {
		text, err := c.link.Next()
		c.mu.Lock()
		switch {
		case err != nil:
			c.answerLocked(claimClosed)
		case text[0] == '0':
			var body struct{ PID string }
			_ = json.Unmarshal([]byte(text[1:]), &body)
			c.pid = body.PID
			c.answerLocked(claimConnected)
		case text[0] == '4':
			c.answerLocked(claimRefused)
		case text[0] == '2':
			c.eventLocked(text[1:])
		}
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (c *claimConn) answerLocked(what string) {
	if c.answer == "" {
		c.answer = what
		close(c.answered)
	}
}

func (c *claimConn) eventLocked(data string) {
	var args []json.RawMessage
	if json.Unmarshal([]byte(data), &args) == nil {
		_ = json.Unmarshal(args[len(args)-1], &c.offset)
	}
	id, ok := harness.ParseTick(data)
	if !ok {
		return
	}
	c.got = append(c.got, id)
	if id.Publisher() == 1 {
		c.last = id.Seq()
	}
}

// state returns the auth that a client would send to recover its session, and the number of its newest event.
func (c *claimConn) state() (claim string, last int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprintf(`{"pid":%q,"offset":%q}`, c.pid, c.offset), c.last
}

func (c *claimConn) has(id checker.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.got, id)
}

func (c *claimConn) closed() bool {
	select {
	case <-c.closedConn:
		return true
	default:
		return false
	}
}

// String describes the connection.
func (c *claimConn) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := fmt.Sprintf("%s, closed %v, %d events", c.answer, c.closed(), len(c.got))
	if len(c.got) > 0 {
		text += fmt.Sprintf(", %v to %v", c.got[0], c.got[len(c.got)-1])
	}
	return text
}

// A contestedSession is a session that several connections claim.
type contestedSession struct {
	connection *claimConn // the one that is served
	since      int        // the last event before the claims
	claims     []*claimConn
}

// TestClaims_Concurrent_OneSurvives has several connections claim the same session at the same moment with the same
// offset, for many sessions under load, while the former connection is open or just cut. Every claim receives
// CONNECT, or its connection is closed. One of them is served in the end, alone, and receives every event since the
// offset.
func TestClaims_Concurrent_OneSurvives(t *testing.T) {
	for name, start := range map[string]func(t *testing.T) []*harness.Node{
		"memory": func(t *testing.T) []*harness.Node {
			return []*harness.Node{harness.StartNode(t, harness.NodeProgram(t), "memory")}
		},
		"one node":  func(t *testing.T) []*harness.Node { return harness.NewCluster(t, 1).Nodes },
		"two nodes": func(t *testing.T) []*harness.Node { return harness.NewCluster(t, 2).Nodes },
	} {
		t.Run(name, func(t *testing.T) {
			c := claimRun{t: t, nodes: start(t), rng: harness.NewRand(harness.Seed(t)), sessions: make([]*contestedSession, harness.EnvInt(t, "SOCKETIO_CLAIMS", 100))}
			c.connect()
			stop := c.publish(40)
			for round := range harness.EnvInt(t, "SOCKETIO_CLAIMS_ROUNDS", 3) {
				if !t.Failed() {
					c.round(round)
				}
			}
			stop()
		})
	}
}

type claimRun struct {
	t        *testing.T
	nodes    []*harness.Node
	rng      *rand.Rand
	sessions []*contestedSession
}

// publish emits to everybody until stop is called.
func (c *claimRun) publish(perSecond int) (stop func()) {
	ctx, cancel := context.WithCancel(c.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		batch := max(perSecond/5, 1)
		for first := 1; ctx.Err() == nil; first += batch {
			c.nodes[0].Publish(c.t.Context(), &checker.History{}, harness.Publication{Publisher: 1, First: first, Count: batch, PerSecond: perSecond})
		}
	})
	return func() { cancel(); wg.Wait() }
}

func (c *claimRun) connect() {
	var wg sync.WaitGroup
	for i := range c.sessions {
		wg.Go(func() {
			if first := dialClaim(c.t, c.nodes[i%len(c.nodes)].Addr); first != nil {
				_ = first.link.Send("40") // a failure shows in the answer
				<-first.answered
				c.sessions[i] = &contestedSession{connection: first}
			}
		})
	}
	wg.Wait()
	if c.t.Failed() {
		c.t.FailNow()
	}
}

func (c *claimRun) round(number int) {
	began := make(chan struct{})
	var dialed, sent sync.WaitGroup
	for _, s := range c.sessions {
		s.claims = nil
		if c.rng.IntN(2) == 0 {
			s.connection.link.Cut()
			<-s.connection.closedConn
		}
		var claim string
		claim, s.since = s.connection.state()
		first := c.rng.IntN(len(c.nodes))
		for k := range 1 + c.rng.IntN(3) {
			claimer := dialClaim(c.t, c.nodes[(first+k)%len(c.nodes)].Addr)
			if claimer == nil {
				return
			}
			s.claims = append(s.claims, claimer)
			later := time.Duration(c.rng.IntN(2)*c.rng.IntN(20)*k) * time.Millisecond
			sent.Go(func() {
				<-began
				harness.Pause(c.t.Context(), later)
				_ = claimer.link.Send("40" + claim) // its connection may have been closed
			})
		}
	}
	dialed.Wait()
	close(began)
	sent.Wait()
	c.awaitAnswers(number)

	last := checker.NewID(2, number)
	c.nodes[0].Publish(c.t.Context(), &checker.History{}, harness.Publication{Publisher: 2, First: number, Count: 1, Wait: true})
	var open []int
	harness.Eventually(15*time.Second, func() bool {
		open = nil
		for i, s := range c.sessions {
			if !s.resolved(last) {
				open = append(open, i)
			}
		}
		return len(open) == 0
	})
	for _, i := range open {
		c.t.Errorf("round %d, session %d, since %d: %v", number, i, c.sessions[i].since, c.sessions[i].claims)
	}
	if len(open) == 0 {
		for i, s := range c.sessions {
			s.check(c.t, i)
		}
	}
}

// awaitAnswers waits for an answer to every claim.
func (c *claimRun) awaitAnswers(round int) {
	answers, none := make(map[string]int), 0
	deadline := time.After(harness.MaxWait)
	for _, s := range c.sessions {
		for _, claimer := range s.claims {
			select {
			case <-claimer.answered:
			case <-deadline:
				none++
				deadline = time.After(0)
				continue
			}
			claimer.mu.Lock()
			answers[fmt.Sprintf("%s of %d", claimer.answer, len(s.claims))]++
			claimer.mu.Unlock()
		}
	}
	if none > 0 {
		c.t.Errorf("round %d: %d claims without an answer", round, none)
	}
	c.t.Logf("SUMMARY %s: round %d, answers %v", c.t.Name(), round, answers)
}

// resolved reports whether exactly one connection is left, and is served.
func (s *contestedSession) resolved(last checker.ID) bool {
	open := slices.DeleteFunc(slices.Clone(s.claims), (*claimConn).closed)
	if len(open) != 1 || !open[0].has(last) {
		return false
	}
	if s.connection != nil && !s.connection.closed() {
		return false
	}
	return true
}

// check checks what the remaining connection received since the offset.
func (s *contestedSession) check(t *testing.T, number int) {
	t.Helper()
	left := slices.DeleteFunc(slices.Clone(s.claims), (*claimConn).closed)[0]
	left.mu.Lock()
	defer left.mu.Unlock()
	if left.pid != s.connection.pid {
		t.Errorf("session %d was not recovered", number)
	}
	next := s.since
	for _, id := range left.got {
		if id.Publisher() != 1 {
			continue
		}
		if next++; id.Seq() != next {
			t.Errorf("session %d was recovered at event %d and received %d instead of %d", number, s.since, id.Seq(), next)
			return
		}
	}
	s.connection = left
}
