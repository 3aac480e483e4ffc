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
// another probe. Clients acknowledge late, on the connection that they have then.
func (n *node) probe(ctx context.Context, s *socketio.Socket) error {
	go func() { // ends with the socket
		for number := 1; ; number++ {
			select {
			case <-time.After(time.Duration(100+rand.IntN(400)) * time.Millisecond):
			case <-ctx.Done():
				return
			}
			text := fmt.Sprintf("%s %s %d %d", n.name, s.ID(), n.clock(), number)
			asking, cancel := context.WithTimeout(ctx, 2*time.Second)
			answer, err := probed.Call(asking, s, text)
			cancel()
			if err == nil {
				n.probeAnswered(text, answer)
			}
		}
	}()
	return nil
}

func (n *node) probeAnswered(text, answer string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stats.Probes++
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
