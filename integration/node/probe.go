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

// probe asks a socket one question after the other until it is gone, and has it noted when an answer is that to another
// question. Clients answer late, on whatever connection they have by then.
func (n *node) probe(ctx context.Context, s *socketio.Socket) error {
	go func() { // ends with the socket
		for number := 1; ; number++ {
			select {
			case <-time.After(time.Duration(100+rand.IntN(400)) * time.Millisecond):
			case <-ctx.Done():
				return
			}
			question := fmt.Sprintf("%s %s %d %d", n.name, s.ID(), n.clock(), number)
			asking, cancel := context.WithTimeout(ctx, 2*time.Second)
			answer, err := probed.Call(asking, s, question)
			cancel()
			if err == nil {
				n.probeAnswered(question, answer)
			}
		}
	}()
	return nil
}

func (n *node) probeAnswered(question, answer string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stats.Probes++
	if answer != question {
		n.stats.WrongAcks = append(n.stats.WrongAcks, fmt.Sprintf("%q was answered %q", question, answer))
	}
}

// failMiddleware lets some connections fail in the gate: by an error that is not meant for the client, a panic, or a wait.
func (n *node) failMiddleware(percent int) {
	n.server.Use(func(ctx context.Context, _ *socketio.Socket) error {
		if rand.IntN(100) >= percent {
			return nil
		}
		switch rand.IntN(4) {
		case 0:
			panic("a gate that panics") //nolint:forbidigo // what the test wants to see survived
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
