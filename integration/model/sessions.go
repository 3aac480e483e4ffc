package model

import (
	"errors"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// openMove opens a session: the position is read under the hub's lock, and the row is committed before anything else
// happens to the socket. No other process knows the session before, so moves in between do not matter.
func (m *model) openMove(s *State, k *socket, try try) {
	n := &s.nodes[k.node]
	pid := s.freePID()
	if !n.row || pid == 0 {
		return
	}
	// The client's offset must not be ahead of the beginning of the session: received again in this session, it
	// could not be distinguished from the offset of the former session.
	opened := max(n.cursor, k.offset)
	if m.has(OpenedBehindOffset) {
		opened = n.cursor
	}
	try(opOpen, n.cursor, func(to *State, k *socket) string {
		to.rows[pid] = row{
			there: true, epoch: 1, node: k.node + 1, opened: opened, held: k.offset, covered: n.cursor, known: true,
		}
		to.memos[pid] = sessionMemo{since: n.cursor, opened: opened}
		*k = socket{
			phase: claimedHere, client: k.client, node: k.node, line: k.line, pid: pid, epoch: 1, served: n.cursor, known: k.known,
		}
		return ""
	})
}

func (s *State) freePID() uint8 {
	for pid := uint8(1); pid <= maxPIDs; pid++ {
		if !s.rows[pid].there && s.memos[pid] == (sessionMemo{}) && !s.mentions(pid) {
			return pid
		}
	}
	return 0
}

func (s *State) mentions(pid uint8) bool {
	for i := range s.clients {
		if s.clients[i].known.pid == pid {
			return true
		}
	}
	for j := range s.sockets {
		if s.sockets[j].pid == pid || s.sockets[j].known.pid == pid {
			return true
		}
	}
	return false
}

// claimMoves are those of a claim. A socket that owns the session at this node ends first, and the claim waits until
// that is written. The claim is one transaction with the session's row locked. The eviction is queued in any case.
func (m *model) claimMoves(s *State, j int, do yield) {
	k := &s.sockets[j]
	n := &s.nodes[k.node]
	holder := -1
	for o := range s.sockets {
		old := &s.sockets[o]
		if o == j || old.node != k.node || old.pid != k.pid {
			continue
		}
		if old.awaited {
			return
		}
		if old.owns() {
			holder = o
		}
	}
	if holder >= 0 && !k.asked {
		to := *s
		old := &to.sockets[holder]
		to.closeConn(old)
		m.notice(&to, old)
		old.awaited, to.sockets[j].asked = true, true
		do(k.move(opSupersede, 0), &to, "")
		return
	}
	if !n.row || n.evict.pid != 0 {
		return
	}
	to := *s
	r, taker := &to.rows[k.pid], &to.sockets[j]
	from, last, err := m.prove(s, k)
	if err != nil {
		*taker = socket{phase: opening, client: k.client, node: k.node, line: k.line, offset: k.offset, known: k.known}
		do(k.move(opRefuse, 0), &to, "")
		return
	}
	moved := r.node != 0 && r.node != k.node+1
	if moved && !m.has(MoveAnnouncedLate) {
		to.nodes[k.node].evict.pid, to.nodes[k.node].evict.epoch = k.pid, r.epoch+1
	}
	if r.node != 0 {
		r.covered = r.carried(&s.nodes[r.node-1])
	}
	r.proven, r.lastProven, r.coveredProven = true, last, from
	r.epoch++
	r.node, r.settled = k.node+1, r.settled && m.has(SettledSurvivesClaim)
	*taker = socket{
		phase: claimed, client: k.client, node: k.node, line: k.line, pid: k.pid, epoch: r.epoch,
		served: from, last: last, joined: r.joined, left: r.left, known: k.known, moved: moved && m.has(MoveAnnouncedLate),
	}
	if m.Budget.ConcurrentClaims == 0 { // otherwise moves between claim and ownership are modelled
		m.own(&to, taker)
	}
	do(k.move(opClaim, from), &to, "")
}

func (m *model) ownMove(s *State, j int, do yield) {
	if s.sockets[j].moved && s.nodes[s.sockets[j].node].evict.pid != 0 {
		return
	}
	to := *s
	what := m.own(&to, &to.sockets[j])
	do(s.sockets[j].move(what, 0), &to, "")
}

// own makes the socket the owner of the session at its node, under the hub's lock.
func (m *model) own(s *State, k *socket) op {
	m.endEarlier(s, k)
	if k.late {
		s.closeConn(k)
		s.detach(k, true)
		return opClaimLost
	}
	if k.moved {
		s.nodes[k.node].evict.pid, s.nodes[k.node].evict.epoch = k.pid, k.epoch
	}
	k.phase, k.moved = claimedHere, false
	return opOwn
}

// endEarlier ends the owner of an earlier epoch at the node of k, and lets earlier claims fail.
func (m *model) endEarlier(s *State, k *socket) {
	for o := range s.sockets {
		old := &s.sockets[o]
		switch {
		case old.node != k.node || old.pid != k.pid || old.epoch == k.epoch:
		case old.epoch > k.epoch:
			k.late = k.late || old.owns()
		case old.owns():
			s.dropSuperseded(old)
		case old.phase == claimed:
			old.late = !m.has(LaterEpochIgnored)
		}
	}
}

// prove calls the continuity check of package recovery itself.
func (m *model) prove(s *State, k *socket) (from, last uint8, err error) {
	r := &s.rows[k.pid]
	if !r.there {
		return 0, 0, recovery.ErrUnknown
	}
	covered := r.covered
	if r.node != 0 {
		covered = r.carried(&s.nodes[r.node-1])
	}
	proof := recovery.ContinuityCheck{
		ResumeRequest: recovery.ResumeRequest{Offset: offset(k.offset).String()},
		Opened:        adapter.Position(r.opened), Applied: adapter.Position(covered), InitialOffset: offset(r.held).String(),
		Log: logNumber, Low: adapter.Position(s.low), Head: adapter.Position(s.head),
	}
	if r.known {
		proof.Checkpoints = append(proof.Checkpoints, recovery.Checkpoint{Last: offset(r.last), Covered: adapter.Position(covered)})
	}
	if r.before {
		proof.Checkpoints = append(proof.Checkpoints, recovery.Checkpoint{Last: offset(r.lastBefore), Covered: adapter.Position(r.coveredBefore)})
	}
	if r.proven {
		proof.Checkpoints = append(proof.Checkpoints, recovery.Checkpoint{Last: offset(r.lastProven), Covered: adapter.Position(r.coveredProven)})
	}
	f, l, err := proof.Check(func(p adapter.Position) adapter.Offset { return offset(uint8(p)) })
	if errors.Is(err, recovery.ErrTrimmed) && m.has(TrimmedAccepted) {
		return s.low, k.offset, nil
	}
	return uint8(f), uint8(l.Position), err
}

const logNumber = 1

// offset returns the client's offset for a position, the zero offset for zero.
func offset(p uint8) adapter.Offset {
	if p == 0 {
		return adapter.Offset{}
	}
	return adapter.Offset{Position: adapter.Position(p), Log: logNumber, Check: uint32(p)}
}

// flushMove makes the oldest write of a socket durable: one transaction, in which each statement checks the epoch and
// the node of the session. A write whose reply is lost is repeated, without effect.
func (m *model) flushMove(s *State, k *socket, try try) {
	r := &s.rows[k.pid]
	ours := r.there && r.epoch == k.epoch && r.node == k.node+1
	change := k.joins.set() || k.leaves.set()
	trusted := change && m.has(ChangesWithoutEpoch) || !change && m.has(EndsWithoutEpoch)
	if !ours && (!trusted || !r.there) {
		try(opLost, 0, func(to *State, k *socket) string {
			to.dropSuperseded(k)
			return ""
		})
		return
	}
	try(opFlush, 0, func(to *State, k *socket) string {
		r, memo := &to.rows[k.pid], &to.memos[k.pid]
		switch {
		case k.joins.set():
			r.joined, memo.inSure = k.joins, true
			k.joins = 0
			k.awaits &^= queuedJoin
		case k.leaves.set():
			r.left, memo.outSure = k.leaves, true
			k.leaves = 0
			k.awaits &^= queuedLeave
		case !k.park:
			*r = row{}
			*k = socket{}
		default:
			to.park(r, k)
			*k = socket{}
		}
		return ""
	})
}

// park is session_park.sql.
func (s *State) park(r *row, k *socket) {
	covered := r.carried(&s.nodes[k.node])
	switch same := r.known && r.last == k.endLast; {
	case same:
	case k.endAt < covered:
		r.before, r.lastBefore, r.coveredBefore = true, k.endLast, k.endAt
	default:
		if r.known {
			r.before, r.lastBefore, r.coveredBefore = true, r.last, covered
		}
		r.known, r.last = true, k.endLast
	}
	r.covered, r.settled, r.node = max(covered, k.endAt), false, 0
}
