package model

// lifeMoves are those of node.go and sweep.go's bury.
func (m *model) lifeMoves(s *State, i uint8, do yield) {
	n := &s.nodes[i]
	if n.health == up && s.left.Kills > 0 {
		to := *s
		to.left.Kills--
		to.kill(i)
		do(Move{opKill, i + 1, 0, 0}, &to, "")
	}
	if n.health == up && n.row && s.left.Freezes > 0 {
		to := *s
		to.left.Freezes--
		to.nodes[i].health, to.nodes[i].mid = frozen, s.visible(n.cursor)
		do(Move{opFreeze, i + 1, 0, 0}, &to, "")
	}
	if n.health == frozen {
		to := *s
		to.nodes[i].health = up
		if n.row {
			to.nodes[i].mid = 0
		}
		do(Move{opWake, i + 1, 0, 0}, &to, "")
	}
	// Somebody has watched it for the length of its lease.
	if n.health != up && n.row && s.otherNodeUp(i) {
		to := *s
		to.reapDeadNode(i)
		do(Move{opBury, i + 1, 0, 0}, &to, "")
	}
	if n.health == up && !n.row {
		to := *s
		to.nodes[i].row, to.nodes[i].ckpt, to.nodes[i].mid = true, 0, 0
		to.drop(i)
		do(Move{opReborn, i + 1, 0, 0}, &to, "")
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

// kill takes everything that the process had in memory. A statement under way may be executed.
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

// carried is the column covered, as far as the checkpoint of its node carries it.
func (r *row) carried(n *node) uint8 {
	if r.settled {
		return max(r.covered, n.ckpt)
	}
	return r.covered
}

// drop is hub.Reset: all sockets of the node that hold a session are cut, and claims under way fail.
func (s *State) drop(i uint8) {
	for j := range s.sockets {
		k := &s.sockets[j]
		if k.node == i && k.phase == claimed {
			k.late = true
		}
		if k.node == i && k.holds() {
			s.closeConn(k)
			s.detach(k, true)
		}
	}
}

// sweeperMoves are the two halves of sweeper.checkpoint: hub.Checkpoint, under the hub's lock, and the transaction of
// checkpoint_sessions.sql and checkpoint_node.sql. What could not be written is kept for the next.
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
		if k.epoch >= n.unwritten[k.pid].epoch && (k.phase == live || m.has(CheckpointDuringReplay) && k.holds()) {
			now := standing{told: true, epoch: k.epoch, busy: k.last > n.quiet}
			if !now.busy {
				now.last = k.last
			}
			if now != k.told {
				k.told, n.unwritten[k.pid] = now, now
			}
		}
	}
	n.quiet, n.snapped, n.snapAt = n.cursor, true, n.cursor
}

// awaiting reports whether writes that a checkpoint has to wait for are still queued.
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
		if u.told && r.there && r.epoch == u.epoch && r.node == i+1 {
			if r.known && (u.busy || u.last != r.last) {
				r.before, r.lastBefore, r.coveredBefore = true, r.last, r.carried(n)
			}
			r.known, r.last, r.covered, r.settled = !u.busy, u.last, n.snapAt, true
		}
		*u = standing{}
	}
	n.ckpt, n.snapped, n.snapAt = n.snapAt, false, 0
}
