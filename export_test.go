package socketio

import "github.com/pgsocket/socketio/recovery"

// Known returns the number of namespaces of the server, including pending ones.
func (s *Server) Known() int {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return len(s.hub.namespaces)
}

// AckID returns the id of a call of a session, see ackIDs.
func AckID(session SocketID, epoch int64, call uint64) uint64 {
	return newAckIDs(session, epoch).id(call)
}

// EndReplay sends the buffered messages of a socket, as its timeline does after the replay.
func (s *Socket) EndReplay() error {
	_, _, err := s.takeBuffered()
	return err
}

// Checkpoint returns the progress that a checkpoint would store.
func (s *Server) Checkpoint() []recovery.Progress {
	_, progress := s.hub.Checkpoint(recovery.All)
	return progress
}

// Store returns the session store.
func (s *Server) Store() recovery.Store { return s.hub.store }

// PauseReading stops reading the socket's connection until ResumeReading.
func (s *Socket) PauseReading() { s.conn.session.Pause() }

// ResumeReading undoes PauseReading.
func (s *Socket) ResumeReading() { s.conn.session.Resume() }
