package model

// The bounds of the arrays below, so that a state is comparable. The start of a configuration bounds the rest.
const (
	maxLog     = 8 // records, the position of the first is 1
	maxNodes   = 2
	maxClients = 2
	maxPIDs    = 3 // sessions at a time; the pid of the first is 1
	maxSockets = 5
)

// A State is all that there is: what Postgres has committed, what the nodes and the clients have in memory, what is on
// its way between them, and what the judge remembers. Only numbers and arrays, so that states can be compared.
//
// A position, pid or event that is zero is none.
type State struct {
	// What Postgres has.
	log  [maxLog + 1]record
	head uint8
	low  uint8 // the newest position that is trimmed
	rows [maxPIDs + 1]row

	nodes   [maxNodes]node
	sockets [maxSockets]socket
	clients [maxClients]client

	// What the judge remembers of each session.
	memos [maxPIDs + 1]sessionMemo

	left   Budget
	events uint8 // emitted so far; an event is named by its number
}

type kind uint8

const (
	nothing kind = iota
	event
	evict
	pending // a position that was taken and is not committed: only without the append lock
)

// A record of the log. One batch has one packet.
type record struct {
	kind   kind
	event  uint8 // its name; with origin it stands for (origin, seq)
	origin uint8 // the node, 1 or 2
	room   bool  // for who is in the room, else for everybody
	pid    uint8 // evict
	epoch  uint8
}

// A row of sessions and session_rooms, where each session has one stay in the one room.
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

// A stamp is one more than the position at which something happened, zero if it did not.
type stamp uint8

func at(p uint8) stamp              { return stamp(p + 1) }
func (t stamp) set() bool           { return t != 0 }
func (t stamp) position() uint8     { return uint8(t - 1) }
func (t stamp) before(p uint8) bool { return t != 0 && uint8(t-1) < p }

type health uint8

const (
	up health = iota
	frozen
	dead
)

// A node is a process, and its row of nodes.
type node struct {
	health health
	row    bool  // in Postgres
	ckpt   uint8 // in Postgres: nodes.checkpoint
	cursor uint8
	mid    uint8 // what it was about to deliver when it was frozen, after its look at its lease

	// The publisher.
	waits  uint8 // the event whose append was not answered
	room   bool  // its audience
	late   uint8 // the event of a statement that its publisher gave up, and that may be executed yet
	lateTo bool  // its audience
	evict  struct{ pid, epoch uint8 }
	taken  uint8 // the position that is not committed yet: only without the append lock

	// The sweeper.
	quiet     uint8
	snapped   bool // a checkpoint was taken and is not written
	snapAt    uint8
	unwritten [maxPIDs + 1]standing
}

type standing struct {
	told  bool
	epoch uint8
	busy  bool
	last  uint8
}

type phase uint8

const (
	absent      phase = iota
	claiming          // has presented pid and offset
	opening           // needs a new session
	claimed           // the claim is committed, and the node does not hold the session yet
	claimedHere       // holds a session, CONNECT is not answered
	replaying
	buffering // attached: live events wait behind the rest of the replay
	live
	ended // detached; writes of it wait
)

// A socket is a Socket of a node, with its connection and what the node has queued for the store.
type socket struct {
	phase  phase
	client uint8
	node   uint8
	line   bool // what is sent arrives, see the package comment
	pid    uint8
	epoch  uint8
	offset uint8 // as the client presented it

	known  clientState // what the client knows by this connection, while it has a line
	asked  bool        // claiming: the socket that held the session here lets go
	late   bool        // claimed: the node has learned of a later epoch
	moved  bool        // claimed: from another node, which is told when the session is held; only without MoveAnnouncedLate
	served uint8       // how far the replay has come
	goal   uint8       // how far it goes: the cursor when it began, then that at the attachment
	last   uint8
	queue  uint16 // held live events, by position
	inRoom bool
	joined stamp // of the record that was claimed
	left   stamp
	told   standing

	// Queued writes, made in this order.
	joins, leaves stamp
	ends          bool
	park          bool
	endAt         uint8
	endLast       uint8
	awaited       bool  // a claim waits for the outcome
	awaits        uint8 // those for which a checkpoint waits
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
func (k *socket) holds() bool    { return k.phase >= claimedHere && k.phase <= live }

// A client is the official client in JavaScript: pid and offset outlive its connections, and the offset its sessions. It
// may have two connections for a time, if there is a budget for it; each then goes on from what the client knew.
type client struct {
	online bool        // has a connection that it believes in
	known  clientState // while it has none
	buffer uint16      // received before CONNECT, by event; kept when the line breaks
	again  bool        // something was put into the buffer twice
}

// A clientState is what a client knows of its session.
type clientState struct {
	pid    uint8
	offset uint8
	got    uint16 // of this session, by event; the judge's
	latest uint8  // of this session, the position; the judge's
}

// knows reports whether a client can come back to a session.
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

// A sessionMemo is what the application was told of a session. Where it was not told, both answers are right.
type sessionMemo struct {
	since        uint8 // connected from here on
	opened       uint8 // and addressed from here on, which may be later
	joined, left stamp
	inSure       bool // Join returned nil
	outSure      bool // Leave returned nil
}

// must reports whether the client has to get the record at p.
func (m *sessionMemo) must(r *record, p uint8) bool {
	if r.kind != event || p <= m.opened {
		return false
	}
	return !r.room || m.inSure && m.joined.before(p) && !m.left.before(p)
}

// may reports whether the client may get the record at p.
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

// normalize makes states equal that differ in nothing that matters: it forgets sessions that nobody can come back to, and
// puts sockets into an order.
func (s *State) normalize() {
	for i := range s.sockets {
		// A client learns of its session by CONNECT: without that, and without a line, nobody ever comes back to it.
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

// after orders sockets; which order does not matter. Of those that are equal by it each is in the other's way.
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
		n.unwritten[pid] = standing{}
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
