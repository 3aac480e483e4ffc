package model

// nodeMoves are those of node.go.
func (m *model) nodeMoves(s *State, i uint8, do yield) {
	n := &s.nodes[i]
	if n.health == up && s.left.Kills > 0 {
		to := *s
		to.left.Kills--
		to.kill(i)
		do(Move{opKill, i + 1, 0, 0}, &to, "")
	}
	if n.health == up && n.row && s.left.Suspensions > 0 {
		to := *s
		to.left.Suspensions--
		to.nodes[i].health, to.nodes[i].mid = suspended, s.visible(n.cursor)
		do(Move{opSuspend, i + 1, 0, 0}, &to, "")
	}
	if n.health == suspended {
		to := *s
		to.nodes[i].health = up
		if n.row {
			to.nodes[i].mid = 0
		}
		do(Move{opResume, i + 1, 0, 0}, &to, "")
	}
	// Another node has observed it for the length of its lease.
	if n.health != up && n.row && s.otherNodeUp(i) {
		to := *s
		to.reapDeadNode(i)
		do(Move{opDeclareDead, i + 1, 0, 0}, &to, "")
	}
	if n.health == up && !n.row {
		to := *s
		to.nodes[i].row, to.nodes[i].ckpt, to.nodes[i].mid = true, 0, 0
		to.drop(i)
		do(Move{opReregister, i + 1, 0, 0}, &to, "")
	}
}

func (s *State) otherNodeUp(i uint8) bool {
	for j := range s.nodes {
		if j != int(i) && s.nodes[j].health == up && s.nodes[j].row {
			return true
		}
	}
	return false
}

// kill removes what the process had in memory. A statement on its way may still be executed.
func (s *State) kill(i uint8) {
	n := &s.nodes[i]
	if n.taken != 0 {
		s.log[n.taken] = record{}
	}
	*n = node{health: dead, row: n.row, ckpt: n.ckpt, late: n.late, lateTo: n.lateTo}
	for j := range s.sockets {
		if k := &s.sockets[j]; k.node == i && k.phase != absent {
			s.closeConn(k)
			*k = socket{}
		}
	}
}

// reapDeadNode is node_end.sql, one statement.
func (s *State) reapDeadNode(i uint8) {
	n := &s.nodes[i]
	for pid := range s.rows {
		if r := &s.rows[pid]; r.there && r.node == i+1 {
			r.covered = r.carried(n)
			r.settled, r.node = false, 0
			r.epoch++
		}
	}
	n.row, n.ckpt = false, 0
}

// carried is the column covered, extended by the checkpoint of its node.
func (r *row) carried(n *node) uint8 {
	if r.settled {
		return max(r.covered, n.ckpt)
	}
	return r.covered
}

// drop closes all sockets of the node that own a session, and lets pending claims fail.
func (s *State) drop(i uint8) {
	for j := range s.sockets {
		k := &s.sockets[j]
		if k.node == i && k.phase == claimed {
			k.late = true
		}
		if k.node == i && k.owns() {
			s.closeConn(k)
			s.detach(k, true)
		}
	}
}

// sweeperMoves are the two halves of sweeper.checkpoint: hub.Checkpoint, under the hub's lock, and the transaction of
// checkpoint_sessions.sql and checkpoint_node.sql. What cannot be written is kept for the next one.
func (m *model) sweeperMoves(s *State, i uint8, do yield) {
	n := &s.nodes[i]
	if n.health != up {
		return
	}
	if s.left.Checkpoints > 0 {
		to := *s
		to.left.Checkpoints--
		m.snapshot(&to, i)
		do(Move{opSnap, i + 1, n.cursor, 0}, &to, "")
	}
	if n.snapped && n.row && !s.awaiting(i) {
		to := *s
		to.checkpoint(i)
		do(Move{opCheckpoint, i + 1, n.snapAt, 0}, &to, "")
	}
}

func (m *model) snapshot(s *State, i uint8) {
	n := &s.nodes[i]
	for j := range s.sockets {
		k := &s.sockets[j]
		if k.node != i {
			continue
		}
		if !m.has(CheckpointOvertakesEnd) {
			k.awaits = k.queued()
		}
		if k.epoch >= n.unwritten[k.pid].epoch && (k.phase == live || m.has(CheckpointDuringReplay) && k.owns()) {
			now := checkpointEntry{written: true, epoch: k.epoch, busy: k.last > n.quiet}
			if !now.busy {
				now.last = k.last
			}
			if now != k.written {
				k.written, n.unwritten[k.pid] = now, now
			}
		}
	}
	n.quiet, n.snapped, n.snapAt = n.cursor, true, n.cursor
}

// awaiting reports whether writes are queued that the checkpoint waits for.
func (s *State) awaiting(i uint8) bool {
	for j := range s.sockets {
		if k := &s.sockets[j]; k.node == i && k.awaits != 0 {
			return true
		}
	}
	return false
}

func (s *State) checkpoint(i uint8) {
	n := &s.nodes[i]
	for pid := range n.unwritten {
		u, r := &n.unwritten[pid], &s.rows[pid]
		if u.written && r.there && r.epoch == u.epoch && r.node == i+1 {
			if r.known && (u.busy || u.last != r.last) {
				r.before, r.lastBefore, r.coveredBefore = true, r.last, r.carried(n)
			}
			r.known, r.last, r.covered, r.settled = !u.busy, u.last, n.snapAt, true
		}
		*u = checkpointEntry{}
	}
	n.ckpt, n.snapped, n.snapAt = n.snapAt, false, 0
}
