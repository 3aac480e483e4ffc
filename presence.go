package socketio

import (
	"context"
	"errors"
	"sync"
	"time"
)

// presenceOrder makes OnConnect and OnDisconnect of the sockets of one session alternate,
// in order, on this node: a client may return, on another connection, while a handler
// of the former one still runs.
type presenceOrder struct {
	mu sync.Mutex
	of map[string]*presence // by private id
}

// A presence is a socket whose OnConnect was called and whose OnDisconnect has not
// returned.
type presence struct {
	socket *Socket
	over   chan struct{} // closed at its end; nil unless another socket waits
}

var errStillHandled = errors.New("a handler of the session's former connection still runs")

// begin waits for the end of the session's former socket and makes s the present one.
// After the limit it does so without waiting any longer, and returns errStillHandled;
// any other error means that s is disconnected.
func (p *presenceOrder) begin(s *Socket, limit time.Duration) error {
	if s.presenceKey == "" {
		return nil // without recovery every connection is its own session
	}
	ctx, cancel := context.WithTimeoutCause(s.ctx, limit, errStillHandled)
	defer cancel()
	for {
		late := ctx.Err() != nil
		if s.ctx.Err() != nil {
			return context.Cause(s.ctx)
		}
		over := p.take(s, late)
		if over == nil {
			return context.Cause(ctx)
		}
		select {
		case <-over:
		case <-ctx.Done():
		}
	}
}

// take makes s the present socket, or returns a channel to wait for.
func (p *presenceOrder) take(s *Socket, force bool) (over <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	former := p.of[s.presenceKey]
	if former != nil && !force {
		if former.over == nil {
			former.over = make(chan struct{})
		}
		return former.over
	}
	former.end()
	if p.of == nil {
		p.of = make(map[string]*presence)
	}
	p.of[s.presenceKey] = &presence{socket: s}
	return nil
}

// end lets the session's next socket begin.
func (p *presenceOrder) end(s *Socket) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := p.of[s.presenceKey]; now != nil && now.socket == s {
		delete(p.of, s.presenceKey)
		now.end()
	}
}

func (p *presence) end() {
	if p != nil && p.over != nil {
		close(p.over)
	}
}
