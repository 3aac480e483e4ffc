package socketio

import (
	"context"
	"slices"
)

// Drain implements transport.Drainer: it waits until all events that the client has
// sent are handled, so that the answers reach it before the close frame.
func (c *conn) Drain(ctx context.Context) {
	c.mu.Lock()
	sockets := slices.Clone(c.sockets)
	c.mu.Unlock()
	for _, s := range sockets {
		select {
		case <-s.handled():
		case <-ctx.Done():
			return
		}
	}
}

// Linger implements transport.Lingerer: a client counts as a connection until middleware
// that runs for its sockets has returned, their events are handled and OnDisconnect has
// run. Else a client could exceed the limits of its connections by connecting again and
// again.
func (c *conn) Linger() {
	_ = c.lifetimes.wait(c.server.lifetime) // it ends with the server, at the latest
}

// handled returns a channel that is closed when all current items of the inbox are done, and
// their answers sent.
func (s *Socket) handled() <-chan struct{} {
	done := make(chan struct{})
	s.inbox.mu.Lock()
	idle := !s.inbox.working && len(s.inbox.publishing) == 0
	s.inbox.mu.Unlock()
	if idle || s.push(item{step: func() { close(done) }}) != nil {
		close(done)
	}
	return done
}
