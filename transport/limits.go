package transport

import (
	"log/slog"
	"net/http"
	"net/netip"
)

// A place is what a request for a new session takes of Options.MaxConnections, until
// the session is released.
type place struct {
	address string // "" if addresses are not counted
	taken   bool   // by a session
}

// admit assigns a request for a new session its place, or refuses it. It runs before
// any code of the application.
func (s *Server) admit(r *http.Request) (*place, *refusal) {
	if s.opts.MaxHeaderBytes > 0 && headerBytes(r) > s.opts.MaxHeaderBytes {
		s.refused.Add(1)
		return nil, limited(http.StatusRequestHeaderFieldsTooLarge, "Request header too large", "HEADER_TOO_LARGE")
	}
	p := &place{}
	if s.opts.MaxConnectionsPerAddress > 0 {
		p.address = s.clientAddress(r)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.opts.MaxConnections > 0 && s.places >= s.opts.MaxConnections:
		s.refused.Add(1)
		return nil, limited(http.StatusServiceUnavailable, "Too many connections", "TOO_MANY_CONNECTIONS")
	case p.address != "" && s.addresses[p.address] >= s.opts.MaxConnectionsPerAddress:
		s.refused.Add(1)
		return nil, limited(http.StatusTooManyRequests, "Too many connections from this address", "TOO_MANY_CONNECTIONS_FROM_ADDRESS")
	}
	s.places++
	if p.address != "" {
		s.addresses[p.address]++
	}
	return p, nil
}

func limited(status int, message, name string) *refusal {
	refused := refuse(codeBadRequest, message, "name", name)
	refused.status = status
	return refused
}

// vacate releases a place that no session has taken.
func (s *Server) vacate(p *place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !p.taken {
		s.vacateLocked(p.address)
	}
}

func (s *Server) vacateLocked(address string) {
	s.places--
	if address == "" {
		return
	}
	if s.addresses[address]--; s.addresses[address] == 0 {
		delete(s.addresses, address)
	}
}

// headerBytes returns the approximate memory of the header and the URL of a request.
func headerBytes(r *http.Request) int {
	const (
		perName  = 96 // in the map, besides the name
		perValue = 32 // in the slice, besides the value
	)
	size := len(r.RequestURI) + max(len(r.RequestURI), len(r.URL.RawQuery)) + len(r.Host) // see readable
	for name, values := range r.Header {
		size += perName + len(name)
		for _, v := range values {
			size += perValue + len(v)
		}
	}
	return size
}

// remoteAddress is the default of Options.ClientAddress.
func remoteAddress(r *http.Request) string {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	addr := at.Addr().Unmap().WithZone("")
	if addr.Is4() {
		return addr.String()
	}
	network, err := addr.Prefix(64)
	if err != nil {
		return addr.String()
	}
	return network.String()
}

// Stats are counts of a server since NewServer.
type Stats struct {
	Refused  uint64 // requests for a session beyond MaxConnections, MaxConnectionsPerAddress or MaxHeaderBytes
	Oversize uint64 // messages and POSTs above MaxPayload
}

// Stats returns the counts of the server.
func (s *Server) Stats() Stats {
	return Stats{Refused: s.refused.Load(), Oversize: s.oversize.Load()}
}

// oversized counts a message or POST larger than MaxPayload. A polling session continues
// after it, so that there is no other trace of it.
func (s *Session) oversized() {
	s.server.oversize.Add(1)
	s.server.opts.Logger.Debug("message above MaxPayload refused",
		slog.String("transport", s.Transport()), slog.String("remote", s.remote), slog.Int64("limit", s.server.opts.MaxPayload))
}
