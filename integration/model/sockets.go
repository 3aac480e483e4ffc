package model

import "fmt"

// clientMoves are those of the official client, which reconnects at once, to any node that is up.
func (m *model) clientMoves(s *State, i uint8, do yield) {
	c := &s.clients[i]
	if c.online {
		for j := range s.sockets {
			if k := &s.sockets[j]; k.line && k.client == i && s.left.Cuts > 0 {
				to := *s
				to.left.Cuts--
				to.closeConn(&to.sockets[j])
				do(k.move(opCut, 0), &to, "")
			}
		}
		if s.left.ConcurrentClaims == 0 {
			return
		}
	}
	for n := range m.Nodes {
		to := *s
		k := to.room()
		if k == nil || s.nodes[n].health != up {
			continue
		}
		know := c.known
		if c.online {
			know = s.line(i).known
			to.left.ConcurrentClaims--
		}
		*k = socket{phase: opening, client: i, node: uint8(n), line: true, offset: know.offset, known: know}
		if know.pid != 0 {
			k.phase, k.pid = claiming, know.pid
		}
		to.clients[i].online, to.clients[i].known = true, clientState{}
		do(k.move(opConnect, know.offset), &to, "")
	}
}

// line returns the connection of a client.
func (s *State) line(client uint8) *socket {
	for j := range s.sockets {
		if k := &s.sockets[j]; k.line && k.client == client {
			return k
		}
	}
	return nil
}

// room returns an unused socket, if there is one.
func (s *State) room() *socket {
	for j := range s.sockets {
		if s.sockets[j].phase == absent {
			return &s.sockets[j]
		}
	}
	return nil
}

// closeConn closes a connection. The client notices if it is still connected.
func (s *State) closeConn(k *socket) {
	if !k.line {
		return
	}
	c, know := &s.clients[k.client], k.known
	k.line, k.known = false, clientState{}
	if s.line(k.client) == nil { // otherwise it continues with the other one
		c.online, c.known = false, know
	}
}

// detach is Socket.detachLocked, under the hub's lock.
func (s *State) detach(k *socket, park bool) {
	if !k.owns() && k.phase != claimed {
		*k = socket{}
		return
	}
	end := socket{
		phase: ended, client: k.client, node: k.node, pid: k.pid, epoch: k.epoch, joins: k.joins, leaves: k.leaves, awaits: k.awaits,
		ends: true, park: park,
	}
	if park {
		end.endAt, end.endLast = k.served, k.last
		if k.phase == live {
			end.endAt = s.nodes[k.node].cursor
		}
	}
	*k = end
}

// dropSuperseded drops a socket that has lost its session. Its queued writes would be refused.
func (s *State) dropSuperseded(k *socket) {
	s.closeConn(k)
	*k = socket{}
}

// socketMoves are those of a socket (connect.go), of its application, and of its writes to the store.
func (m *model) socketMoves(s *State, j int, do yield) {
	k := &s.sockets[j]
	n := &s.nodes[k.node]
	if n.health != up {
		return
	}
	try := func(what op, c uint8, change func(*State, *socket) string) {
		to := *s
		violation := change(&to, &to.sockets[j])
		do(k.move(what, c), &to, violation)
	}
	if !k.line && k.phase != ended {
		try(opNotice, 0, func(to *State, k *socket) string {
			m.notice(to, k)
			return ""
		})
	}
	switch k.phase {
	case claiming:
		m.claimMoves(s, j, do)
	case claimed:
		m.ownMove(s, j, do)
	case opening:
		m.openMove(s, k, try)
	case claimedHere:
		m.connectMove(s, k, try)
	case replaying, buffering:
		m.replayMoves(s, k, try)
	default:
	}
	if k.attached() {
		m.applicationMoves(s, k, try)
	}
	// A write is one transaction, which fails if the row of the node does not exist.
	if n.row && (k.joins.set() || k.leaves.set() || k.ends) {
		m.flushMove(s, k, try)
	}
}

type try func(what op, c uint8, change func(*State, *socket) string)

func (m *model) notice(s *State, k *socket) {
	if m.has(EndClaimsTheCursor) {
		k.served = s.nodes[k.node].cursor
	}
	if k.phase == claimed && !m.has(DisconnectDuringClaimIgnored) { // it will not own the session
		m.endEarlier(s, k)
	}
	s.detach(k, true)
}

// connectMove answers CONNECT when the node has read up to all positions in the session's row.
func (m *model) connectMove(s *State, k *socket, try try) {
	reach := k.served
	for _, t := range [...]stamp{k.joined, k.left} {
		if t.set() {
			reach = max(reach, t.position())
		}
	}
	if s.nodes[k.node].cursor < reach && !m.has(NoWaitForReach) {
		return
	}
	try(opConnected, k.served, func(to *State, k *socket) string {
		k.phase, k.goal = replaying, to.nodes[k.node].cursor
		if m.has(ReplayBeforeConnect) {
			return ""
		}
		return m.connect(to, k)
	})
}

// connect is the client's part of CONNECT: it is recovered if it knows the pid. Otherwise it keeps its offset.
func (m *model) connect(s *State, k *socket) string {
	if !k.line {
		return ""
	}
	c := &s.clients[k.client]
	if know := &k.known; know.pid != k.pid {
		know.pid, know.got, know.latest = k.pid, 0, 0
	}
	if c.again {
		return fmt.Sprintf("P3: client %d receives an event twice from its buffer", k.client+1)
	}
	buffer := c.buffer
	c.buffer = 0
	for p := uint8(1); p <= s.head; p++ {
		if buffer&(1<<p) != 0 {
			if violation := m.receive(s, k, p); violation != "" {
				return violation
			}
		}
	}
	return ""
}

// replayMoves are those of the replay, of the attachment under the hub's lock, and of the flush of buffered events. A
// record that does not address the session is read together with the next one that does.
func (m *model) replayMoves(s *State, k *socket, try try) {
	p := s.visible(k.served)
	for p != 0 && p <= k.goal && !m.addressed(s, k, p) {
		p = s.visible(p)
	}
	switch cursor := s.nodes[k.node].cursor; {
	case p != 0 && p <= k.goal:
		m.readMoves(s, k, p, try)
	case k.phase == buffering:
		try(opGoLive, 0, m.flushBuffered)
	default:
		try(opAttach, cursor, func(_ *State, k *socket) string {
			k.phase, k.served = buffering, max(k.served, k.goal)
			if k.goal = cursor; m.has(SpliceGap) {
				k.goal = k.served
			}
			k.inRoom = k.joined.set() && !k.left.set()
			return ""
		})
	}
}

// readMoves send the record at p. A trimmed record may still be in the node's memory; otherwise the replay fails.
func (m *model) readMoves(s *State, k *socket, p uint8, try try) {
	try(opReplay, p, func(to *State, k *socket) string {
		k.served, k.last = p, max(k.last, p)
		return m.send(to, k, p)
	})
	if k.served < s.low {
		try(opReplayFails, 0, func(to *State, k *socket) string {
			to.closeConn(k)
			to.detach(k, true)
			return ""
		})
	}
}

func (m *model) flushBuffered(s *State, k *socket) string {
	k.phase = live
	queue := k.queue
	k.queue, k.goal, k.served, k.joined, k.left = 0, 0, 0, 0, 0
	if m.has(ReplayBeforeConnect) {
		if violation := m.connect(s, k); violation != "" {
			return violation
		}
	}
	for p := uint8(1); p <= s.head; p++ {
		if queue&(1<<p) != 0 {
			if violation := m.send(s, k, p); violation != "" {
				return violation
			}
		}
	}
	return ""
}

// addressed reports whether the record at p addresses the claimed session.
func (m *model) addressed(s *State, k *socket, p uint8) bool {
	r := &s.log[p]
	if r.kind != event || p <= s.memos[k.pid].opened {
		return false
	}
	if m.has(NoIntervals) {
		return !r.room || k.joined.set() && !k.left.set()
	}
	return !r.room || k.joined.before(p) && !k.left.before(p)
}

// applicationMoves are Join, Leave and Disconnect. They wait until this node has read what it published, its
// evictions included. A change takes effect in the hub at once, at the cursor, and is queued for the store under the
// same lock.
func (m *model) applicationMoves(s *State, k *socket, try try) {
	memo := &s.memos[k.pid]
	cursor := s.nodes[k.node].cursor
	if !s.synced(k.node) && !m.has(NoSync) {
		return
	}
	if s.left.Joins > 0 && !memo.joined.set() {
		try(opJoin, cursor, func(to *State, k *socket) string {
			to.left.Joins--
			to.memos[k.pid].joined = at(cursor)
			to.memos[k.pid].inSure = m.has(JoinBeforeDurable)
			k.inRoom, k.joins = true, at(cursor)
			return ""
		})
	}
	if s.left.Leaves > 0 && k.inRoom && !memo.left.set() {
		try(opLeave, cursor, func(to *State, k *socket) string {
			to.left.Leaves--
			to.memos[k.pid].left = at(cursor)
			k.inRoom, k.leaves = false, at(cursor)
			return ""
		})
	}
	if s.left.Disconnects > 0 && k.phase == live {
		try(opDisconnect, 0, func(to *State, k *socket) string {
			to.left.Disconnects--
			to.closeConn(k)
			to.detach(k, false)
			return ""
		})
	}
}

// synced reports whether everything that a node published has been answered, and delivered there.
func (s *State) synced(i uint8) bool {
	n := &s.nodes[i]
	for p := n.cursor + 1; p <= s.head; p++ {
		if s.log[p].origin == i+1 {
			return false
		}
	}
	return n.waits == 0 && n.evict.pid == 0
}
