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
