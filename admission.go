package socketio

import (
	"context"
	"runtime"
)

// A socket that is being connected takes a turn, of which the server has a few
// (Options.ConnectsAtOnce), so that a crowd that comes at once leaves the
// processor to those who are there. It gives the turn back while it waits for
// what only it may be waiting for: user code, and a client that reads slowly.

// connectsPerProcessor is enough to keep a processor busy, and the store's
// transactions full. More of them do not come in sooner, and delay live events.
const connectsPerProcessor = 32

func defaultConnects() int { return connectsPerProcessor * runtime.GOMAXPROCS(0) }

// takeTurn waits for a turn, unless the socket has one.
func (s *Socket) takeTurn(ctx context.Context) error {
	if s.turn {
		return nil
	}
	select {
	case s.namespace.server.turns <- struct{}{}:
		s.turn = true
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// giveTurn lets the next one in, if the socket has a turn.
func (s *Socket) giveTurn() {
	if s.turn {
		s.turn = false
		<-s.namespace.server.turns
	}
}

// drained waits until the client has room for more of a replay, without a turn.
func (s *Socket) drained(ctx context.Context) error {
	if s.conn.session.Low() {
		return nil
	}
	s.giveTurn()
	return s.conn.session.Drained(ctx)
}

// drainedInTurn does so, and waits for a turn again.
func (s *Socket) drainedInTurn(ctx context.Context) error {
	if err := s.drained(ctx); err != nil {
		return err
	}
	return s.takeTurn(ctx)
}
