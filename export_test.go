package socketio

// Known returns how many namespaces the server holds, those that are being
// decided on included.
func (s *Server) Known() int {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return len(s.hub.namespaces)
}
