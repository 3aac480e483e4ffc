package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/pgsocket/socketio"
)

const probed socketio.Request[string, string] = "probe"

// probe sends a socket one probe after the other until it disconnects, and records an acknowledgement that belongs to
// another probe. Clients acknowledge late, on the connection that they have then. Some of the probes go to a socket that
// has left this node: its client may be connected to another node, or be moving.
func (n *node) probe(ctx context.Context, s *socketio.Socket) error {
	go func() { // ends with the socket
		for number := 1; ; number++ {
			select {
			case <-time.After(time.Duration(100+rand.IntN(400)) * time.Millisecond):
			case <-ctx.Done():
				return
			}
			id, to, far := s.ID(), socketio.Callee(s), false
			if number%4 == 0 {
				if former := n.formerSocket(); former != "" {
					id, to, far = former, n.server.RemoteSocket(former), true
				}
			}
			text := fmt.Sprintf("%s %s %d %d %v", n.name, id, n.clock(), number, far)
			asking, cancel := context.WithTimeout(ctx, 2*time.Second)
			answer, err := probed.Call(asking, to, text)
			cancel()
			if err == nil {
				n.probeAnswered(text, answer, far)
			}
		}
	}()
	return nil
}

// formerSockets is how many sockets a node remembers that have left it.
const formerSockets = 64

// left remembers a socket that has left this node.
func (n *node) left(s *socketio.Socket, _ socketio.Reason) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.former = append(n.former, s.ID()); len(n.former) > formerSockets {
		n.former = n.former[1:]
	}
}

// formerSocket returns a socket that has left this node, or "" if none has.
func (n *node) formerSocket() socketio.SocketID {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.former) == 0 {
		return ""
	}
	return n.former[rand.IntN(len(n.former))]
}

func (n *node) probeAnswered(text, answer string, far bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stats.Probes++
	if far {
		n.stats.FarProbes++
	}
	if answer != text {
		n.stats.WrongAcks = append(n.stats.WrongAcks, fmt.Sprintf("%q was acknowledged with %q", text, answer))
	}
}

// failMiddleware lets some connections fail in a middleware: with an internal error, a panic, or a delay.
func (n *node) failMiddleware(percent int) {
	n.server.Use(func(ctx context.Context, _ *socketio.Socket) error {
		if rand.IntN(100) >= percent {
			return nil
		}
		switch rand.IntN(4) {
		case 0:
			panic("a middleware that panics") //nolint:forbidigo // what the test wants to see survived
		case 1:
			select {
			case <-time.After(time.Duration(rand.IntN(300)) * time.Millisecond):
			case <-ctx.Done():
			}
			return nil
		}
		return errors.New("the user database is restarting")
	})
}
