package socketio

import (
	"log/slog"

	"github.com/pgsocket/socketio/internal/boundary"
	"github.com/pgsocket/socketio/recovery"
)

// Serving implements recovery.Node: whether Expired may be called.
func (h *hub) Serving() bool { return h.server.lifetime.Err() == nil }

// Expired implements recovery.Node.
func (h *hub) Expired(session *recovery.Session) {
	h.server.counters.expired.Add(1)
	if h.server.opts.Recovery.OnExpired == nil {
		return
	}
	e := &ExpiredSession{ID: SocketID(session.ID), Namespace: session.Namespace, data: session.Data}
	for _, interval := range session.Rooms {
		if room := Room(interval.Room); !interval.Ended && !isWatchersRoom(room) {
			e.Rooms = append(e.Rooms, room)
		}
	}
	if !h.server.work.startWithin(h.server.lifetime) {
		h.logger.Warn("OnExpired not called: the server has shut down", slog.String("socket", session.ID))
		return
	}
	defer h.server.work.done()
	h.expired.push(e)
}

// callOnExpired calls the application's OnExpired.
func (s *Server) callOnExpired(e *ExpiredSession) {
	if err := boundary.Do(func() { s.opts.Recovery.OnExpired(e) }); err != nil {
		s.opts.Logger.Error("OnExpired failed", slog.Any("error", err))
	}
}

func (s *Server) logMissedExpired(n int) {
	s.opts.Logger.Error("OnExpired too slow: calls skipped", slog.Int("missed", n))
}
