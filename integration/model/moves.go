package model

import "fmt"

// A Budget bounds how often things happen, so that the number of states is finite.
type Budget struct {
	Emits            uint8 // to everybody
	RoomEmits        uint8 // to the room
	Echoes           uint8 // local events, which are not in the log and carry the cursor's offset
	Joins            uint8
	Leaves           uint8
	Disconnects      uint8 // Socket.Disconnect: the session ends, and the client connects again
	Cuts             uint8
	ConcurrentClaims uint8 // a client connects while it is connected
	Kills            uint8
	Suspensions      uint8
	Trims            uint8
	Unanswered       uint8 // appends whose reply is lost
	Checkpoints      uint8
}

// A Config is the size of a model, with its faults.
type Config struct {
	Nodes, Clients int
	Connected      bool // the first client is connected to the first node, and nothing has happened yet
	AllEmit        bool // otherwise only the first node that is up
	Budget         Budget
	Faults         Faults
}

// A model explores a Config.
type model struct {
	Config
}

func (m *model) start() State {
	s := State{left: m.Budget}
	for i := range m.Nodes {
		s.nodes[i].row = true
	}
	for i := m.Nodes; i < maxNodes; i++ {
		s.nodes[i].health = dead
	}
	if m.Connected {
		s.rows[1] = row{there: true, epoch: 1, node: 1, known: true}
		s.clients[0].online = true
		s.sockets[0] = socket{phase: live, node: 0, line: true, pid: 1, epoch: 1, known: clientState{pid: 1}}
	}
	return s
}

// A yield takes a move, the state after it, and a violation of the move itself.
type yield func(by Move, to *State, violation string)

// moves tries all possible moves.
func (m *model) moves(s *State, do yield) {
	for i := range m.Clients {
		m.clientMoves(s, uint8(i), do)
	}
	for i := range m.Nodes {
		m.publisherMoves(s, uint8(i), do)
		m.tailMoves(s, uint8(i), do)
		m.sweeperMoves(s, uint8(i), do)
		m.nodeMoves(s, uint8(i), do)
	}
	for i := range s.sockets {
		if s.sockets[i].phase != absent {
			m.socketMoves(s, i, do)
		}
	}
	m.trimMoves(s, do)
}

// A Move is one step, with its node and client.
type Move struct {
	what op
	a, b uint8
	c    uint8
}

type op uint8

const (
	opConnect op = iota + 1
	opCut
	opNotice
	opSupersede
	opClaim
	opOwn
	opClaimLost
	opRefuse
	opOpen
	opConnected
	opReplay
	opReplayFails
	opAttach
	opGoLive
	opJoin
	opLeave
	opDisconnect
	opFlush
	opLost
	opEmit
	opUnanswered
	opSent
	opRetry
	opLate
	opTake
	opCommit
	opEcho
	opEvict
	opDeliver
	opBehind
	opSnap
	opCheckpoint
	opTrim
	opKill
	opSuspend
	opResume
	opDeclareDead
	opReregister
)

// String returns the move in words.
func (v Move) String() string {
	texts := [...]string{
		opConnect:     "client %[1]d connects to node %[2]d with offset %[3]d",
		opCut:         "the connection of client %[1]d breaks, and the client notices",
		opNotice:      "node %[2]d notices that the connection of client %[1]d is broken; the end is queued",
		opSupersede:   "client %[1]d claims its session at node %[2]d, whose old socket ends",
		opClaim:       "node %[2]d claims the session of client %[1]d: replay from %[3]d",
		opOwn:         "node %[2]d owns the session of client %[1]d",
		opClaimLost:   "node %[2]d finds a later claim than that of client %[1]d",
		opRefuse:      "node %[2]d refuses to recover client %[1]d",
		opOpen:        "node %[2]d opens a session for client %[1]d at %[3]d",
		opConnected:   "node %[2]d sends CONNECT to client %[1]d, replayed up to %[3]d",
		opReplay:      "node %[2]d replays to client %[1]d up to %[3]d",
		opReplayFails: "node %[2]d cannot continue the replay for client %[1]d and closes the connection",
		opAttach:      "node %[2]d attaches client %[1]d at %[3]d, buffering live events",
		opGoLive:      "node %[2]d flushes the buffered events of client %[1]d",
		opJoin:        "client %[1]d joins the room at node %[2]d at %[3]d",
		opLeave:       "client %[1]d leaves the room at node %[2]d at %[3]d",
		opDisconnect:  "node %[2]d disconnects client %[1]d and ends the session",
		opFlush:       "node %[2]d makes a change of the session of client %[1]d durable",
		opLost:        "node %[2]d finds that client %[1]d's session is not its own anymore",
		opEmit:        "node %[1]d emits event %[2]d at position %[3]d",
		opUnanswered:  "node %[1]d emits event %[2]d, which is appended at %[3]d, and the reply is lost",
		opSent:        "node %[1]d emits event %[2]d, and the statement is delayed",
		opRetry:       "node %[1]d appends event %[2]d again and receives %[3]d",
		opLate:        "the delayed statement of node %[1]d is executed: event %[2]d at %[3]d",
		opTake:        "node %[1]d takes position %[3]d for event %[2]d",
		opCommit:      "node %[1]d commits event %[2]d at position %[3]d",
		opEcho:        "node %[1]d sends a local event with offset %[2]d",
		opEvict:       "node %[1]d publishes the eviction of session %[2]d at position %[3]d",
		opDeliver:     "node %[1]d delivers position %[2]d",
		opBehind:      "node %[1]d has fallen behind and continues from %[2]d",
		opSnap:        "node %[1]d takes a checkpoint at %[2]d",
		opCheckpoint:  "node %[1]d writes the checkpoint of %[2]d",
		opTrim:        "the log is trimmed up to %[1]d",
		opKill:        "node %[1]d is killed",
		opSuspend:     "node %[1]d is suspended",
		opResume:      "node %[1]d is resumed",
		opDeclareDead: "node %[1]d is declared dead; its sessions are parked",
		opReregister:  "node %[1]d finds that its row is missing, closes its connections and registers again",
	}
	return fmt.Sprintf(texts[v.what]+"%.0[4]s", v.a, v.b, v.c, "")
}

func (k *socket) move(what op, c uint8) Move { return Move{what, k.client + 1, k.node + 1, c} }
