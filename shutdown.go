package socketio

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/pgsocket/socketio/transport"
)

// Shutdown stops the node gracefully: it refuses new connections, parks every session
// at its client's position, closes the connections after writing what is queued, and
// waits for handlers. The clients reconnect to other nodes, and recover.
//
// Before a client is disconnected, the events that it has sent are handled, and a handler
// that runs finishes. When only clients with such events are left, Shutdown waits for half of the time that is left, or
// for AckTimeout if ctx has no deadline. Later events are handled with a context that has
// ended. When ctx ends the rest is dropped, and the error contains the number of dropped
// events.
//
// It disconnects Options.DrainRate clients per second, in random order, so that they do
// not all reconnect at once; the others are served meanwhile. If ctx has a deadline it
// spends at most half of the time that is left on this.
//
// After Shutdown has returned nil no handler and no other function of the application
// runs, and every session is durable. The number of parked sessions is logged, and in
// Stats. When ctx ends before, the error is its cause. The adapter stays open, so that
// handlers can finish.
func (s *Server) Shutdown(ctx context.Context) error {
	began, before := time.Now(), s.counters.parked.Load()
	s.closing.Store(true)
	s.engine.Refuse()
	s.drain(ctx)
	s.end(ErrShutdown)
	err := errors.Join(s.engine.Shutdown(ctx), s.work.wait(ctx))
	s.halted.Store(true)
	if n := s.unhandled.Load(); n > 0 {
		err = errors.Join(err, fmt.Errorf("%d events of clients were not handled", n))
	}
	err = errors.Join(err, s.hub.ended(ctx)) // also of clients that were about to be connected
	s.opts.Logger.InfoContext(ctx, "server shut down", slog.Int("parked", int(s.counters.parked.Load()-before)),
		slog.String("took", time.Since(began).Round(time.Millisecond).String()), slog.Any("error", err))
	s.log.Flush(ctx)
	return err
}

// drain disconnects the clients, one after the other.
func (s *Server) drain(ctx context.Context) {
	s.hub.mu.Lock()
	byConn := make(map[*conn][]*Socket)
	for _, m := range s.hub.everyLocked() {
		c := m.socket.conn
		byConn[c] = append(byConn[c], m.socket)
	}
	s.hub.mu.Unlock()
	conns := make([]*conn, 0, len(byConn))
	for c := range byConn {
		conns = append(conns, c)
	}
	rand.Shuffle(len(conns), func(i, j int) { conns[i], conns[j] = conns[j], conns[i] })

	began, pause := time.Now(), time.Duration(0)
	if s.opts.DrainRate > 0 {
		pause = time.Second / time.Duration(s.opts.DrainRate)
	}
	if deadline, ok := ctx.Deadline(); ok && len(conns) > 0 {
		pause = max(0, min(pause, time.Until(deadline)/2/time.Duration(len(conns))))
	}
	var pending tasks // clients whose events are being handled
	for i, c := range conns {
		wait(ctx, time.Until(began.Add(time.Duration(i)*pause)))
		c.drainWhenIdle(byConn[c], &pending)
	}
	pending.waitSome(ctx, s.opts.AckTimeout)
	// Sockets that have joined another namespace meanwhile, or whose events take too long.
	s.hub.mu.Lock()
	rest := s.hub.everyLocked()
	s.hub.mu.Unlock()
	for _, m := range rest {
		m.socket.detach(&DisconnectError{Reason: ReasonServerShutdown})
	}
}

// drainWhenIdle disconnects the client when the events of its sockets are handled. All
// its sockets stay until then: a packet of the client for a detached one would violate
// the protocol and close the connection of the others.
func (c *conn) drainWhenIdle(sockets []*Socket, pending *tasks) {
	var left atomic.Int64
	left.Store(int64(len(sockets)))
	pending.start()
	for _, s := range sockets {
		s.afterEvents(func() {
			if left.Add(-1) > 0 {
				return
			}
			for _, s := range sockets {
				s.detach(&DisconnectError{Reason: ReasonServerShutdown})
			}
			c.session.Close(transport.ReasonServerShutdown)
			pending.done()
		})
	}
}

// waitSome waits for half of the time that ctx leaves, or for a limit if it has no
// deadline.
func (t *tasks) waitSome(ctx context.Context, limit time.Duration) {
	if deadline, ok := ctx.Deadline(); ok {
		limit = time.Until(deadline) / 2
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	_ = t.wait(ctx) // the rest is not waited for
}

// wait waits, unless it is for too short a time to be worth a timer.
func wait(ctx context.Context, d time.Duration) {
	if d < 5*time.Millisecond {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
