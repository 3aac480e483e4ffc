package model

import "fmt"

// clientMoves are those of the official client, which comes back at once, to any node that answers.
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

// line returns the connection that a client has.
func (s *State) line(client uint8) *socket {
	for j := range s.sockets {
		if k := &s.sockets[j]; k.line && k.client == client {
			return k
		}
	}
	return nil
}

// room returns a place for a socket, if there is one.
func (s *State) room() *socket {
	for j := range s.sockets {
		if s.sockets[j].phase == absent {
			return &s.sockets[j]
		}
	}
	return nil
}

// closeConn closes a connection. The client hears of it if it is still there.
func (s *State) closeConn(k *socket) {
	if !k.line {
		return
	}
	c, know := &s.clients[k.client], k.known
	k.line, k.known = false, clientState{}
	if s.line(k.client) == nil { // else it goes on with the other one
		c.online, c.known = false, know
	}
}

// detach is Socket.detachLocked, under the hub's lock.
func (s *State) detach(k *socket, park bool) {
	if !k.holds() && k.phase != claimed {
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

// superseded drops a socket whose session is another's: what it still has to write would be refused.
func (s *State) superseded(k *socket) {
	s.closeConn(k)
	*k = socket{}
}

// socketMoves are those of a socket's timeline (restore.go), of its application, and of its writes in the store.
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
		m.holdMove(s, j, do)
	case opening:
		m.openMove(s, k, try)
	case claimedHere:
		m.welcomeMove(s, k, try)
	case replaying, buffering:
		m.replayMoves(s, k, try)
	default:
	}
	if k.attached() {
		m.applicationMoves(s, k, try)
	}
	// One transaction for a write, and hold_node fails in it if the node's row is gone.
	if n.row && (k.joins.set() || k.leaves.set() || k.ends) {
		m.flushMove(s, k, try)
	}
}

type try func(what op, c uint8, change func(*State, *socket) string)

func (m *model) notice(s *State, k *socket) {
	if m.has(EndClaimsTheCursor) {
		k.served = s.nodes[k.node].cursor
	}
	if k.phase == claimed && !m.has(DisconnectDuringClaimIgnored) { // it will not hold the session, see hub.hold
		m.succeed(s, k)
	}
	s.detach(k, true)
}

// welcomeMove answers CONNECT, once the node has read as far as the session's record speaks of.
func (m *model) welcomeMove(s *State, k *socket, try try) {
	reach := k.served
	for _, t := range [...]stamp{k.joined, k.left} {
		if t.set() {
			reach = max(reach, t.position())
		}
	}
	if s.nodes[k.node].cursor < reach && !m.has(NoWaitForReach) {
		return
	}
	try(opWelcome, k.served, func(to *State, k *socket) string {
		k.phase, k.goal = replaying, to.nodes[k.node].cursor
		if m.has(ReplayBeforeConnect) {
			return ""
		}
		return m.connect(to, k)
	})
}

// connect is the client's side of CONNECT: it is recovered if it knows the pid. It keeps its offset if it is not.
func (m *model) connect(s *State, k *socket) string {
	if !k.line {
		return ""
	}
	c := &s.clients[k.client]
	if know := &k.known; know.pid != k.pid {
		know.pid, know.got, know.latest = k.pid, 0, 0
	}
	if c.again {
		return fmt.Sprintf("P3: client %d gets an event twice from its buffer", k.client+1)
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

// replayMoves are those of Socket.replay, of the attachment under the hub's lock, and of uncork. Records that do not
// address the session are read along with the next that does.
func (m *model) replayMoves(s *State, k *socket, try try) {
	p := s.visible(k.served)
	for p != 0 && p <= k.goal && !m.addressed(s, k, p) {
		p = s.visible(p)
	}
	switch cursor := s.nodes[k.node].cursor; {
	case p != 0 && p <= k.goal:
		m.readMoves(s, k, p, try)
	case k.phase == buffering:
		try(opUncork, 0, m.flushBuffered)
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

// readMoves send the record at p. One that is trimmed may be in the node's memory still; or the replay breaks off.
func (m *model) readMoves(s *State, k *socket, p uint8, try try) {
	try(opReplay, p, func(to *State, k *socket) string {
		k.served, k.last = p, max(k.last, p)
		return m.send(to, k, p)
	})
	if k.served < s.low {
		try(opAbandon, 0, func(to *State, k *socket) string {
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

// addressed is Session.Addressed, of the record that was claimed.
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

// applicationMoves are Join, Leave and Disconnect, which begin with Adapter.Sync: this node has read what it published,
// and so has told itself of the evictions that it asked for. A change takes effect in the hub at once, at the cursor,
// and is queued for the store under the same lock.
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
		try(opGoodbye, 0, func(to *State, k *socket) string {
			to.left.Disconnects--
			to.closeConn(k)
			to.detach(k, false)
			return ""
		})
	}
}

// synced reports whether everything that a node published was answered, and delivered there.
func (s *State) synced(i uint8) bool {
	n := &s.nodes[i]
	for p := n.cursor + 1; p <= s.head; p++ {
		if s.log[p].origin == i+1 {
			return false
		}
	}
	return n.waits == 0 && n.evict.pid == 0
}
