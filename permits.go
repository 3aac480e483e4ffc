package socketio

import (
	"context"
	"runtime"
)

// A socket that is being connected takes a turn, first for claiming its session
// and then for the rest, so that a crowd that comes at once leaves the processor
// to those who are there (Options.ConnectsAtOnce). It has none while it waits for
// what only it may be waiting for: user code, and a client that reads slowly. What
// comes after the gates has turns of its own: with the same ones, those who have
// passed the gates would wait behind all who are still to claim.

// connectsPerProcessor keeps the processors busy, and the store's
// transactions full. More of them do not come in sooner, and delay live events.
const connectsPerProcessor = 128

func defaultConnects() int { return connectsPerProcessor * runtime.GOMAXPROCS(0) }

// semaphore are as many as may be at something at a time.
type semaphore chan struct{}

// acquire waits for one of the turns, unless the socket has one.
func (s *Socket) acquire(ctx context.Context, of semaphore) error {
	if s.permit != nil {
		return nil
	}
	select {
	case of <- struct{}{}:
		s.permit = of
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// release lets the next one in, if the socket has a turn.
func (s *Socket) release() {
	if s.permit != nil {
		<-s.permit
		s.permit = nil
	}
}

// drained waits until the client has room for more of a replay, without a turn.
func (s *Socket) drained(ctx context.Context) error {
	if s.conn.session.Low() {
		return nil
	}
	s.release()
	return s.conn.session.Drained(ctx)
}

// drainedThenAcquire does so, and waits for a turn again.
func (s *Socket) drainedThenAcquire(ctx context.Context) error {
	if err := s.drained(ctx); err != nil {
		return err
	}
	return s.acquire(ctx, s.namespace.server.connectPermits)
}
