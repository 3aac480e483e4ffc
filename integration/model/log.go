package model

// publisherMoves are those of publish.go and append.go. An emit, its append and the reply are one move, unless the
// reply is lost: the function append holds a lock from before it takes a position to its commit, so that no append
// and no reader sees an intermediate state.
func (m *model) publisherMoves(s *State, i uint8, do yield) {
	n := &s.nodes[i]
	if n.late != 0 {
		// Postgres may still execute an abandoned statement, also if the node has died.
		to := *s
		e, room := n.late, n.lateTo
		to.nodes[i].late, to.nodes[i].lateTo = 0, false
		if p := m.append(&to, i, e, room); p != 0 {
			do(Move{opLate, i + 1, e, p}, &to, "")
		}
	}
	if n.health != up {
		return
	}
	if n.taken != 0 {
		to := *s
		to.nodes[i].taken = 0
		to.log[n.taken].kind = event
		do(Move{opCommit, i + 1, s.log[n.taken].event, n.taken}, &to, "")
	}
	if n.waits != 0 {
		to := *s
		e := n.waits
		to.nodes[i].waits = 0
		if p := m.append(&to, i, e, n.room); p != 0 {
			do(Move{opRetry, i + 1, e, p}, &to, "")
		}
	}
	// A node has one batch in flight: later emits wait for its reply.
	if m.emits(s, i) && (n.waits == 0 && n.taken == 0 || m.has(TwoInFlight)) {
		for _, room := range [...]bool{false, true} {
			m.emitMoves(s, i, room, do)
		}
	}
	m.evictMove(s, i, do)
	m.echoMove(s, i, do)
}

// emits reports whether the application of a node emits: each node's, or only that of the first node that is up.
func (m *model) emits(s *State, i uint8) bool {
	return m.AllEmit || i == 0 || s.nodes[0].health != up
}

// append is the function append of the schema. It returns the position of the event, which may be in the log already,
// or zero if the model's log is full.
func (m *model) append(s *State, origin, e uint8, room bool) uint8 {
	for p := s.low + 1; p <= s.head && !m.has(RetryWithoutName); p++ {
		if s.log[p].kind == event && s.log[p].event == e {
			return p
		}
	}
	return s.put(record{kind: event, event: e, origin: origin + 1, room: room})
}

func (s *State) put(r record) uint8 {
	if s.head == maxLog {
		return 0
	}
	s.head++
	s.log[s.head] = r
	return s.head
}

func (m *model) emitMoves(s *State, i uint8, room bool, do yield) {
	start := *s
	budget := start.left.emits(room)
	if *budget == 0 || s.head == maxLog {
		return
	}
	*budget--
	start.events++
	e := start.events

	to := start
	if m.has(NoAppendLock) {
		p := m.append(&to, i, e, room)
		to.log[p].kind = pending
		to.nodes[i].taken = p
		do(Move{opTake, i + 1, e, p}, &to, "")
	} else {
		p := m.append(&to, i, e, room)
		violation := ""
		if m.has(LocalEcho) {
			violation = m.fanOut(&to, i, p)
		}
		do(Move{opEmit, i + 1, e, p}, &to, violation)
	}

	if s.left.Unanswered == 0 || s.nodes[i].late != 0 || s.nodes[i].waits != 0 {
		return
	}
	to = start
	to.left.Unanswered--
	to.nodes[i].waits, to.nodes[i].room = e, room
	stuck := to
	p := m.append(&to, i, e, room)
	do(Move{opUnanswered, i + 1, e, p}, &to, "")
	stuck.nodes[i].late, stuck.nodes[i].lateTo = e, room
	do(Move{opSent, i + 1, e, 0}, &stuck, "")
}

func (b *Budget) emits(room bool) *uint8 {
	if room {
		return &b.RoomEmits
	}
	return &b.Emits
}

// evictMove publishes a queued eviction.
func (m *model) evictMove(s *State, i uint8, do yield) {
	e := s.nodes[i].evict
	if e.pid == 0 {
		return
	}
	to := *s
	to.nodes[i].evict.pid, to.nodes[i].evict.epoch = 0, 0
	if p := to.put(record{kind: evict, origin: i + 1, pid: e.pid, epoch: e.epoch}); p != 0 {
		do(Move{opEvict, i + 1, e.pid, p}, &to, "")
	}
}

// echoMove is an event that is not in the log. It advances the client's offset to the cursor.
func (m *model) echoMove(s *State, i uint8, do yield) {
	if s.left.Echoes == 0 {
		return
	}
	to := *s
	to.left.Echoes--
	cursor := to.nodes[i].cursor
	sent := false
	for j := range to.sockets {
		k := &to.sockets[j]
		if k.node != i || k.phase != live { // during a replay it would be buffered, and change nothing
			continue
		}
		sent = true
		k.last = cursor
		if k.line {
			k.known.offset = cursor
		}
	}
	if sent {
		do(Move{opEcho, i + 1, cursor, 0}, &to, "")
	}
}

// tailMoves are those of tail.go. The content of a notification is used only if it continues the cursor, and is then
// equal to what the table has. So there are no notifications in the model.
func (m *model) tailMoves(s *State, i uint8, do yield) {
	n := &s.nodes[i]
	// A node checks its lease first. A node that was suspended after the check delivers the batch that it had read.
	if n.health != up || !n.row && n.mid == 0 {
		return
	}
	if n.cursor < s.low && n.mid == 0 {
		to := *s
		if !m.has(FellBehindInSilence) {
			to.drop(i)
		}
		to.nodes[i].cursor = s.low
		do(Move{opBehind, i + 1, s.low, 0}, &to, "")
		return
	}
	for p := s.visible(n.cursor); p != 0; p = s.visible(p) {
		if !n.row && p != n.mid {
			return
		}
		to := *s
		to.nodes[i].mid = 0
		violation := m.fanOut(&to, i, p)
		to.nodes[i].cursor = p
		do(Move{opDeliver, i + 1, p, 0}, &to, violation)
		if !m.has(NotificationTrusted) {
			return
		}
	}
}

// fanOut is hub.Deliver, under the hub's lock.
func (m *model) fanOut(s *State, i, p uint8) string {
	r := &s.log[p]
	for j := range s.sockets {
		k := &s.sockets[j]
		switch {
		case k.node != i:
		case r.kind == evict:
			switch {
			case r.pid == 0 || k.pid != r.pid || k.epoch >= r.epoch || m.has(EvictionsIgnored):
			case k.owns():
				s.dropSuperseded(k)
			case k.phase == claimed:
				k.late = !m.has(LaterEpochIgnored)
			}
		case !k.attached() || r.room && !k.inRoom:
		case m.has(LocalEcho) && k.last >= p: // it has received the echo
		case k.phase == buffering && !m.has(LiveNotBuffered):
			k.queue |= 1 << p
			k.last = p
		default:
			k.last = p
			if violation := m.send(s, k, p); violation != "" {
				return violation
			}
		}
	}
	return ""
}

// trimMoves empty partitions. Truncating locks out the readers, so it is one move. Nothing is assumed of its time but
// that it comes long after an append: a statement that its publisher gave up is refused by then (the function append
// sees to that), and a publisher without an answer has given up.
func (m *model) trimMoves(s *State, do yield) {
	if s.left.Trims == 0 {
		return
	}
	for p := s.low + 1; p <= s.head; p++ {
		to := *s
		to.left.Trims--
		to.low = p
		for i := range to.nodes {
			n := &to.nodes[i]
			if !m.has(LateAfterTrim) {
				n.late, n.lateTo = 0, false
			}
			if !m.has(RetryAfterTrim) {
				n.waits, n.room = 0, false
			}
		}
		do(Move{opTrim, p, 0, 0}, &to, "")
	}
}
