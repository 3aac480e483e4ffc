package model

import "fmt"

// send puts the record at p on a socket's line. What arrives, arrives at once.
func (m *model) send(s *State, k *socket, p uint8) string {
	if !k.line {
		return ""
	}
	c := &s.clients[k.client]
	if m.has(ReplayBeforeConnect) && k.phase != live {
		c.again = c.again || c.buffer&(1<<p) != 0
		c.buffer |= 1 << p
		return ""
	}
	return m.receive(s, k, p)
}

// receive lets the client process the record at p and judges whether it should have got it.
func (m *model) receive(s *State, k *socket, p uint8) string {
	c, memo, r := &s.clients[k.client], &s.memos[k.pid], &s.log[p]
	who := fmt.Sprintf("client %d gets event %d at position %d", k.client+1, r.event, p)
	switch {
	case c.got&(1<<r.event) != 0:
		return "P3: " + who + ", which it got before"
	case p <= c.latest:
		return "P1: " + who + fmt.Sprintf(" after position %d", c.latest)
	case !memo.may(r, p):
		return "P3: " + who + ", which was not meant for it"
	}
	if q := s.missing(c, memo, p-1); q != 0 {
		return whole(k) + who + fmt.Sprintf(", but never got position %d", q)
	}
	c.got |= 1 << r.event
	c.latest, c.offset = p, p
	return ""
}

// whole returns which promise a hole breaks: the truth, if the client was told that it is recovered.
func whole(k *socket) string {
	if k.epoch > 1 {
		return "P4: "
	}
	return "P2: "
}

// missing returns the first position up to p of which the client should have the event and has not.
func (s *State) missing(c *client, memo *memo, p uint8) uint8 {
	for q := uint8(1); q <= p; q++ {
		if r := &s.log[q]; memo.must(r, q) && c.got&(1<<r.event) == 0 {
			return q
		}
	}
	return 0
}

// judge returns which promise a state breaks, if any.
func (m *model) judge(s *State) string {
	for j := range s.sockets {
		k := &s.sockets[j]
		c := &s.clients[k.client]
		if k.phase != live || !k.line || c.pid != k.pid {
			continue
		}
		if r := &s.rows[k.pid]; !r.there || r.epoch == k.epoch && r.node != k.node+1 {
			return fmt.Sprintf("P5: client %d is connected and served, but its session is not held and will expire", k.client+1)
		}
		if p := s.missing(c, &s.memos[k.pid], s.nodes[k.node].cursor); p != 0 {
			return whole(k) + fmt.Sprintf("client %d is connected and served, but never got position %d", k.client+1, p)
		}
	}
	var latest [maxNodes + 1]uint8
	for p := uint8(1); p <= s.head; p++ {
		r := &s.log[p]
		if r.kind != event {
			continue
		}
		if r.event < latest[r.origin] {
			return fmt.Sprintf("P1: node %d emitted event %d before event %d, and the log has them the other way", r.origin, r.event, latest[r.origin])
		}
		latest[r.origin] = r.event
	}
	return ""
}
