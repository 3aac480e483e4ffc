package socketio

// Known returns how many namespaces the server holds, those that are being
// decided on included.
func (s *Server) Known() int {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return len(s.hub.namespaces)
}

// AckID returns the id of a call of a session, see ackIDs.
func AckID(session SocketID, epoch int64, call uint64) uint64 {
	return newAckIDs(session, epoch).id(call)
}

// PauseReading has the socket's connection not be read until ResumeReading.
func (s *Socket) PauseReading() { s.conn.session.Pause() }

// ResumeReading takes back PauseReading.
func (s *Socket) ResumeReading() { s.conn.session.Resume() }
