package transport

import "time"

// Pause stops reading from the peer, from the next message on: TCP flow control slows
// the peer down, or its POST is answered late. No message is dropped. Reading resumes
// after as many calls of Resume, or when the session ends.
//
// The heartbeat continues: PINGs are sent, as the peer expects them, and the time of
// the pause does not count towards Options.PingTimeout, because the PONG may be
// unread. During the pause only a failed write, or a poll that the client aborts,
// reveals a lost connection; unread messages are then lost.
func (s *Session) Pause() { s.paused.Add(1) }

// Resume cancels one call of Pause.
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

// waitResumed waits until reading is not paused, or the session has ended. The reader
// calls it between two messages.
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
