package socketio

import (
	"context"
	"slices"
)

// Settle implements transport.Drainer: it waits until the handlers have seen all that
// the client has sent, so that their answers reach it before the close frame.
func (c *conn) Settle(ctx context.Context) {
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

// Linger implements transport.Lingerer: a client counts among the connections until its
// sockets are done: until a gate that runs for them has returned, their events are
// handled and OnDisconnect has run. Else it could leave more behind than its connections
// may hold, by connecting again and again.
func (c *conn) Linger() {
	_ = c.lifetimes.wait(c.server.lifetime) // it ends with the server, at the latest
}

// handled returns a channel that is closed when all that is in the inbox now is done.
func (s *Socket) handled() <-chan struct{} {
	done := make(chan struct{})
	s.inbox.mu.Lock()
	idle := !s.inbox.working
	s.inbox.mu.Unlock()
	if idle || s.push(item{step: func() { close(done) }}) != nil {
		close(done)
	}
	return done
}
