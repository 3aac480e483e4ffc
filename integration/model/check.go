package model

import "fmt"

// send sends the record at p on a socket's connection. It arrives at once.
func (m *model) send(s *State, k *socket, p uint8) string {
	if !k.line {
		return ""
	}
	if c := &s.clients[k.client]; m.has(ReplayBeforeConnect) && k.phase != live {
		c.again = c.again || c.buffer&(1<<p) != 0
		c.buffer |= 1 << p
		return ""
	}
	return m.receive(s, k, p)
}

// receive lets the client process the record at p, and checks whether it should have received it.
func (m *model) receive(s *State, k *socket, p uint8) string {
	c, memo, r := &k.known, &s.memos[k.pid], &s.log[p]
	what := fmt.Sprintf("client %d receives event %d at position %d", k.client+1, r.event, p)
	switch {
	case c.got&(1<<r.event) != 0:
		return "P3: " + what + ", which it has received before"
	case p <= c.latest:
		return "P1: " + what + fmt.Sprintf(" after position %d", c.latest)
	case !memo.may(r, p):
		return "P3: " + what + ", which is not for it"
	}
	if q := s.missing(c, memo, p-1); q != 0 {
		return brokenPromise(k) + what + fmt.Sprintf(", but not position %d", q)
	}
	c.got |= 1 << r.event
	c.latest, c.offset = p, p
	return ""
}

// brokenPromise returns the promise that a gap breaks: P4 if the client was recovered, otherwise P2.
func brokenPromise(k *socket) string {
	if k.epoch > 1 {
		return "P4: "
	}
	return "P2: "
}

// missing returns the first position up to p of an event that the client must have received and has not, or zero.
func (s *State) missing(c *clientState, memo *sessionMemo, p uint8) uint8 {
	for q := uint8(1); q <= p; q++ {
		if r := &s.log[q]; memo.must(r, q) && c.got&(1<<r.event) == 0 {
			return q
		}
	}
	return 0
}

// check returns the promise that a state breaks, or "".
func (m *model) check(s *State) string {
	for j := range s.sockets {
		k := &s.sockets[j]
		c := &k.known
		if k.phase != live || !k.line || c.pid != k.pid {
			continue
		}
		if m.neverEnded(s, k) {
			return fmt.Sprintf("P5: client %d is connected and served, its session has moved to a later epoch, and nothing will end the connection", k.client+1)
		}
		if r := &s.rows[k.pid]; !r.there || r.epoch == k.epoch && r.node != k.node+1 {
			return fmt.Sprintf("P5: client %d is connected and served, but its session has no owner and will expire", k.client+1)
		}
		if p := s.missing(c, &s.memos[k.pid], s.nodes[k.node].cursor); p != 0 {
			return brokenPromise(k) + fmt.Sprintf("client %d is connected and served, but has not received position %d", k.client+1, p)
		}
	}
	return m.ordered(s)
}

// neverEnded reports whether a socket is served with a session that has moved to a later epoch, and its node will not
// learn of that. It is checked with concurrent claims, and without kills, after which a node may not learn of it; see
// docs/architecture.md.
func (m *model) neverEnded(s *State, k *socket) bool {
	r, n := &s.rows[k.pid], &s.nodes[k.node]
	if m.Budget.ConcurrentClaims == 0 || m.Budget.Kills > 0 || !r.there || r.epoch <= k.epoch || !n.row || n.health != up {
		return false
	}
	for p := n.cursor + 1; p <= s.head; p++ {
		if e := &s.log[p]; e.kind == evict && e.pid == k.pid && e.epoch > k.epoch {
			return false
		}
	}
	for i := range s.nodes {
		if e := &s.nodes[i].evict; e.pid == k.pid && e.epoch > k.epoch {
			return false
		}
	}
	for j := range s.sockets {
		if o := &s.sockets[j]; o.phase == claimed && (o.node == k.node || o.moved) && o.pid == k.pid && o.epoch > k.epoch {
			return false
		}
	}
	return true
}

// ordered checks that the log has the events of each node in the order of their emits.
func (m *model) ordered(s *State) string {
	var latest [maxNodes + 1]uint8
	for p := uint8(1); p <= s.head; p++ {
		r := &s.log[p]
		if r.kind != event {
			continue
		}
		if r.event < latest[r.origin] {
			return fmt.Sprintf("P1: node %d emitted event %d before event %d, and the log has them in the other order", r.origin, r.event, latest[r.origin])
		}
		latest[r.origin] = r.event
	}
	return ""
}
