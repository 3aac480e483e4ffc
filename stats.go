package socketio

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pgsocket/socketio/stats"
)

// Stats are counts of one server: current numbers, and totals since it was created.
type Stats struct {
	Connections int // open now
	Sockets     int // connected now, in all namespaces
	Restoring   int // being connected now
	Namespaces  int // that exist now

	Opened         uint64            // sessions that were opened
	Recovered      uint64            // sessions that clients recovered
	Refused        map[string]uint64 // attempts to recover that were refused, by the reason
	Replayed       stats.Histogram   // events replayed to a recovered client
	Restored       stats.Histogram   // seconds from CONNECT of a returning client to the end of its replay
	Parked         uint64            // sessions whose clients may recover, released by this node
	Disconnects    map[Reason]uint64 // sockets that were disconnected, by the reason
	Expired        uint64            // sessions whose expiry was reported to this node
	OriginsRefused uint64            // requests of pages that Options.Origins does not allow
	TurnedAway     uint64            // requests for a connection beyond MaxConnections, MaxConnectionsPerAddress or MaxHeaderBytes
	Oversize       uint64            // messages and POSTs above MaxPayload; a client that polls stays connected after one

	ConnectsRefused map[string]uint64 // CONNECT packets that the server refused, not the application, by the message to the client
	RateLimited     uint64            // connections whose clients exceeded EventsPerSecond, BytesPerSecond or ConnectsPerSecond

	BadPayloads uint64 // events and requests of clients whose arguments did not fit, or that a handler refused with CodeBadPayload
	Unhandled   uint64 // events of clients without a handler
	LogDropped  uint64 // log lines that were suppressed, see Options.LogsPerSecond, or that Options.Logger failed to handle
}

// counters are the parts of Stats that only grow.
type counters struct {
	opened, recovered, parked, expired atomic.Uint64
	badPayloads, unhandled             atomic.Uint64
	rateLimited                        atomic.Uint64
	replayed, restored                 *stats.Distribution

	mu              sync.Mutex
	refused         map[string]uint64
	connectsRefused map[string]uint64
	disconnects     map[Reason]uint64
}

func newCounters() *counters {
	return &counters{
		replayed: stats.Sizes(), restored: stats.Durations(),
		refused: make(map[string]uint64), connectsRefused: make(map[string]uint64), disconnects: make(map[Reason]uint64),
	}
}

func (c *counters) refusal(reason error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused[reason.Error()]++
}

func (c *counters) connectRefused(message string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.connectsRefused[message]++
}

func (c *counters) restoration(r RecoveryResult, took time.Duration) {
	c.recovered.Add(1)
	c.replayed.Add(float64(r.Replayed))
	c.restored.Add(took.Seconds())
}

// departure counts a socket that was detached.
func (c *counters) departure(reason Reason, recoverable, connected bool) {
	if recoverable {
		c.parked.Add(1)
	}
	if connected {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.disconnects[reason]++
	}
}

// Stats returns the counts of this server. It takes locks only briefly.
func (s *Server) Stats() Stats {
	c := s.counters
	st := Stats{
		Connections: s.Connections(), OriginsRefused: s.engine.RefusedOrigins(),
		Opened: c.opened.Load(), Recovered: c.recovered.Load(), Parked: c.parked.Load(), Expired: c.expired.Load(),
		Replayed: c.replayed.Histogram(), Restored: c.restored.Histogram(),
		RateLimited: c.rateLimited.Load(), BadPayloads: c.badPayloads.Load(), Unhandled: c.unhandled.Load(), LogDropped: s.log.Dropped(),
	}
	engine := s.engine.Stats()
	st.TurnedAway, st.Oversize = engine.Refused, engine.Oversize
	c.mu.Lock()
	st.Refused, st.Disconnects = maps.Clone(c.refused), maps.Clone(c.disconnects)
	st.ConnectsRefused = maps.Clone(c.connectsRefused)
	c.mu.Unlock()
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	st.Restoring = len(h.restoring)
	for _, n := range h.namespaces {
		st.Sockets += len(n.members.all.sockets)
		if n.state.exists {
			st.Namespaces++
		}
	}
	return st
}
