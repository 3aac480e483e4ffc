package model

// The bounds of the arrays below, so that a state is comparable. The start of a configuration bounds the rest.
const (
	maxLog     = 8 // records, the position of the first is 1
	maxNodes   = 2
	maxClients = 2
	maxPIDs    = 3 // sessions at a time; the pid of the first is 1
	maxSockets = 5
)

// A State is everything: what Postgres has committed, what the nodes and the clients have in memory, what is on its
// way between them, and what the checks need. It has only numbers and arrays, so that states can be compared.
//
// A position, pid or event that is zero is none.
type State struct {
	// In Postgres.
	log  [maxLog + 1]record
	head uint8
	low  uint8 // the newest position that is trimmed
	rows [maxPIDs + 1]row

	nodes   [maxNodes]node
	sockets [maxSockets]socket
	clients [maxClients]client

	// For the checks: what the application knows of each session.
	memos [maxPIDs + 1]sessionMemo

	left   Budget
	events uint8 // emitted so far; the number of an event is its name
}

type kind uint8

const (
	nothing kind = iota
	event
	evict
	pending // an uncommitted position: only without the append lock
)

// A record is a batch in the log with one packet.
type record struct {
	kind   kind
	event  uint8 // its name; with origin it stands for (origin, seq)
	origin uint8 // the node, 1 or 2
	room   bool  // for clients in the room; otherwise for all
	pid    uint8 // evict
	epoch  uint8
}

// A row is one of sessions and session_rooms. Each session has one interval in the one room.
type row struct {
	there         bool
	epoch         uint8
	node          uint8 // 1 or 2; zero while parked
	opened, held  uint8
	covered       uint8
	known         bool
	last          uint8
	settled       bool
	before        bool // last_before is not null
	lastBefore    uint8
	coveredBefore uint8
	proven        bool // last_proven is not null
	lastProven    uint8
	coveredProven uint8
	joined, left  stamp
}

// A stamp is one more than a position, or zero for never.
type stamp uint8

func at(p uint8) stamp              { return stamp(p + 1) }
func (t stamp) set() bool           { return t != 0 }
func (t stamp) position() uint8     { return uint8(t - 1) }
func (t stamp) before(p uint8) bool { return t != 0 && uint8(t-1) < p }

type health uint8

const (
	up health = iota
	suspended
	dead
)

// A node is a process and its row in the table of nodes.
type node struct {
	health health
	row    bool  // in Postgres
	ckpt   uint8 // in Postgres: nodes.checkpoint
	cursor uint8
	mid    uint8 // what it was delivering when it was suspended, after it had checked its lease

	// The publisher.
	waits  uint8 // the event of an append without a reply
	room   bool  // its audience
	late   uint8 // the event of an abandoned statement that may still be executed
	lateTo bool  // its audience
	evict  struct{ pid, epoch uint8 }
	taken  uint8 // the uncommitted position: only without the append lock

	// The sweeper.
	quiet     uint8
	snapped   bool // a checkpoint was taken and is not written
	snapAt    uint8
	unwritten [maxPIDs + 1]checkpointEntry
}

type checkpointEntry struct {
	written bool
	epoch   uint8
	busy    bool
	last    uint8
}

type phase uint8

const (
	absent      phase = iota
	claiming          // has sent pid and offset
	opening           // needs a new session
	claimed           // the claim is committed, and the node does not own the session yet
	claimedHere       // owns a session; CONNECT is not answered
	replaying
	buffering // attached: live events wait behind the rest of the replay
	live
	ended // detached; writes are queued
)

// A socket is a Socket of a node, with its connection and its queued writes.
type socket struct {
	phase  phase
	client uint8
	node   uint8
	line   bool // the connection works, see the package comment
	pid    uint8
	epoch  uint8
	offset uint8 // as the client sent it

	known   clientState // what the client knows by this connection, while line is set
	asked   bool        // claiming: the socket that owned the session here is ending
	late    bool        // claimed: the node has learned of a later epoch
	moved   bool        // claimed: from another node, which learns of it when the session is owned; only with MoveAnnouncedLate
	served  uint8       // end of the replay so far
	goal    uint8       // end of the replay: the cursor at its beginning, then that at the attachment
	last    uint8
	queue   uint16 // buffered live events, by position
	inRoom  bool
	joined  stamp // of the claimed row
	left    stamp
	written checkpointEntry

	// Queued writes, made in this order.
	joins, leaves stamp
	ends          bool
	park          bool
	endAt         uint8
	endLast       uint8
	awaited       bool  // a claim waits for the result
	awaits        uint8 // writes that a checkpoint waits for
}

// The bits of socket.awaits.
const (
	queuedJoin = 1 << iota
	queuedLeave
	queuedEnd
)

// queued returns which writes are queued.
func (k *socket) queued() uint8 {
	var q uint8
	if k.joins.set() {
		q |= queuedJoin
	}
	if k.leaves.set() {
		q |= queuedLeave
	}
	if k.ends {
		q |= queuedEnd
	}
	return q
}

func (k *socket) attached() bool { return k.phase == buffering || k.phase == live }
func (k *socket) owns() bool     { return k.phase >= claimedHere && k.phase <= live }

// A client is the official JavaScript client: pid and offset outlive its connections, and the offset its sessions.
// With a budget for it, it may have two connections for a time. Each continues from what the client knew.
type client struct {
	online bool        // has a connection
	known  clientState // while it has no connection
	buffer uint16      // received before CONNECT, by event; kept when the connection breaks
	again  bool        // an event was buffered twice
}

// A clientState is what a client knows of its session.
type clientState struct {
	pid    uint8
	offset uint8
	got    uint16 // of this session, by event; for the checks
	latest uint8  // of this session, the newest position; for the checks
}

// knows reports whether a client can recover a session.
func (s *State) knows(client, pid uint8) bool {
	if s.clients[client].known.pid == pid {
		return true
	}
	for j := range s.sockets {
		if k := &s.sockets[j]; k.line && k.client == client && k.known.pid == pid {
			return true
		}
	}
	return false
}

// A sessionMemo is what the application knows of a session. Where it does not know, both results are right.
type sessionMemo struct {
	since        uint8 // connected from here on
	opened       uint8 // and receives events from here on, which may be later
	joined, left stamp
	inSure       bool // Join returned nil
	outSure      bool // Leave returned nil
}

// must reports whether the client must receive the record at p.
func (m *sessionMemo) must(r *record, p uint8) bool {
	if r.kind != event || p <= m.opened {
		return false
	}
	return !r.room || m.inSure && m.joined.before(p) && !m.left.before(p)
}

// may reports whether the client may receive the record at p.
func (m *sessionMemo) may(r *record, p uint8) bool {
	if p <= m.since {
		return false
	}
	return !r.room || m.joined.before(p) && (!m.outSure || !m.left.before(p))
}

// visible returns the first record after p that a reader sees, zero if there is none.
func (s *State) visible(p uint8) uint8 {
	for q := p + 1; q <= s.head; q++ {
		if s.log[q].kind != pending && s.log[q].kind != nothing {
			return q
		}
	}
	return 0
}

// normalize makes equivalent states equal: it removes sessions that no client can recover, and sorts the sockets.
func (s *State) normalize() {
	for i := range s.sockets {
		// A client learns its session from CONNECT: without that, and without a connection, it can never recover it.
		if k := &s.sockets[i]; k.phase != absent && !k.line && (k.phase == opening || !s.knows(k.client, k.pid)) {
			*k = socket{}
		}
	}
	var used [maxPIDs + 1]bool
	for i := range s.clients {
		used[s.clients[i].known.pid] = true
	}
	for i := range s.sockets {
		used[s.sockets[i].pid], used[s.sockets[i].known.pid] = true, true
	}
	for pid := 1; pid <= maxPIDs; pid++ {
		if !used[pid] {
			s.forget(uint8(pid))
		}
	}
	for i := range s.nodes {
		n := &s.nodes[i]
		if n.health == dead && !n.row {
			*n = node{health: dead, late: n.late, lateTo: n.lateTo}
		}
	}
	for i := 1; i < maxSockets; i++ {
		for j := i; j > 0 && s.sockets[j].after(&s.sockets[j-1]); j-- {
			s.sockets[j], s.sockets[j-1] = s.sockets[j-1], s.sockets[j]
		}
	}
}

// after orders sockets, in any order. Sockets that are equal in it are interchangeable.
func (k *socket) after(o *socket) bool {
	a := [...]uint8{uint8(k.phase), k.client, k.node, k.pid, k.epoch}
	b := [...]uint8{uint8(o.phase), o.client, o.node, o.pid, o.epoch}
	for i := range a {
		if a[i] != b[i] {
			return a[i] > b[i]
		}
	}
	return k.line && !o.line
}

// forget removes all traces of a session.
func (s *State) forget(pid uint8) {
	s.rows[pid], s.memos[pid] = row{}, sessionMemo{}
	for i := range s.nodes {
		n := &s.nodes[i]
		n.unwritten[pid] = checkpointEntry{}
		if n.evict.pid == pid {
			n.evict.pid, n.evict.epoch = 0, 0
		}
	}
	for p := range s.log {
		if s.log[p].pid == pid {
			s.log[p].pid, s.log[p].epoch = 0, 0
		}
	}
}
