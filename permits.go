package socketio

import (
	"context"
	"runtime"
)

// A socket that is being connected acquires a permit, first for claiming its session
// and then for the rest, so that a connection storm leaves processor time to connected
// clients (Options.ConnectsAtOnce). It has no permit while it waits for user code or
// for a client that reads slowly. The part after the middleware has its own semaphore:
// with a common one, sockets that have passed the middleware would wait behind all
// that have not claimed their session yet.

// connectsPerProcessor keeps the processors busy, and the store's transactions full.
// More do not connect sooner, and delay live events.
const connectsPerProcessor = 128

func defaultConnects() int { return connectsPerProcessor * runtime.GOMAXPROCS(0) }

// A semaphore bounds the sockets in one phase; its capacity is the number of permits.
type semaphore chan struct{}

// acquire waits for a permit, unless the socket has one.
func (s *Socket) acquire(ctx context.Context, permits semaphore) error {
	if s.permit != nil {
		return nil
	}
	select {
	case permits <- struct{}{}:
		s.permit = permits
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// release returns the socket's permit, if it has one.
func (s *Socket) release() {
	if s.permit != nil {
		<-s.permit
		s.permit = nil
	}
}

// drained waits until the connection has room for more of a replay, without a permit.
func (s *Socket) drained(ctx context.Context) error {
	if s.conn.session.Low() {
		return nil
	}
	s.release()
	return s.conn.session.Drained(ctx)
}

// drainedThenAcquire waits as drained does, and then acquires a permit again.
func (s *Socket) drainedThenAcquire(ctx context.Context) error {
	if err := s.drained(ctx); err != nil {
		return err
	}
	return s.acquire(ctx, s.namespace.server.connectPermits)
}
