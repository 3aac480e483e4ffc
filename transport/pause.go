package transport

import "time"

// Pause stops reading what the peer sends, from the next message on: TCP then slows
// the peer down, or its POST is answered late. Nothing that was sent is dropped.
// Reading goes on after as many calls of Resume, or when the session ends.
//
// The heartbeat goes on: PINGs are sent, which the peer expects, and the time
// without reading does not count towards Options.PingTimeout, because the PONG may
// be among what is not read. Meanwhile only a failed write, or a poll that its
// client has left, shows that the peer is gone; what it sent and was not read is lost
// then, as with any connection that breaks.
func (s *Session) Pause() { s.paused.Add(1) }

// Resume takes back one call of Pause.
func (s *Session) Resume() {
	if s.paused.Add(-1) > 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resumeLocked()
}

// Paused reports whether reading is paused.
func (s *Session) Paused() bool { return s.paused.Load() > 0 }

func (s *Session) resumeLocked() {
	if s.resumed != nil {
		close(s.resumed)
		s.resumed = nil
	}
}

// waitResumed returns when nothing pauses the reading any more, or the session has
// ended. The reader calls it between two messages.
func (s *Session) waitResumed() {
	for s.Paused() {
		resumed := s.resumption()
		if resumed == nil {
			return
		}
		s.heartbeat.suspend(time.Now())
		<-resumed
		s.heartbeat.proceed(time.Now())
	}
}

// resumption returns a channel to wait on, or nil if there is nothing to wait for.
func (s *Session) resumption() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() || !s.Paused() {
		return nil
	}
	if s.resumed == nil {
		s.resumed = make(chan struct{})
	}
	return s.resumed
}
