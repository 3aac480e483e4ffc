package chaos_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pgsocket/socketio/integration/checker"
	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/integration/wire"
)

// A clientSet is many clients in Go that reconnect by themselves, each to a random node.
type clientSet struct {
	recorder    *checker.Recorder
	clients     []*client
	slowClients []*client // those that receive the large events
	running     sync.WaitGroup
	background  sync.WaitGroup // half-open connections, late answers, concurrent claims

	mu        sync.Mutex
	nodes     []string       // where clients may connect
	refused   map[string]int // reasons for which sessions were not recovered
	socketIDs []string       // of all sockets so far, connected or not

	cuts, recovered, unrecovered atomic.Int64
}

// A client is one client of a clientSet.
type client struct {
	*wire.Client

	set          *clientSet
	number       int
	rng          *rand.Rand
	roomChanges  chan roomChange
	closedConn   chan struct{} // the connection has ended
	fence        atomic.Int64  // the newest fence that it received
	cutAfter     atomic.Int64  // the connection is cut after so many events; 0: never
	hasSession   atomic.Bool   // it has had a session
	awayFor      atomic.Int64  // how long it waits before it reconnects
	slowReader   atomic.Bool   // it reads slowly after the next connect
	needsRooms   atomic.Bool   // the session is new and has not joined the rooms
	disconnected atomic.Bool   // it has sent DISCONNECT, so the session may have ended

	mu    sync.Mutex
	conn  *faultyConn
	rooms map[string]bool // that it wants to be in
}

// A roomChange is a join or a leave that a client still has to request.
type roomChange struct {
	op   checker.RoomOp
	room string
}

// start starts a client. It runs until ctx ends.
func (s *clientSet) start(ctx context.Context, number int, rng *rand.Rand, rooms ...string) *client {
	c := &client{
		set: s, number: number, rng: rng,
		roomChanges: make(chan roomChange, 64), closedConn: make(chan struct{}, 1), rooms: make(map[string]bool),
	}
	for _, room := range rooms {
		c.rooms[room] = true
	}
	c.Client = wire.New(wire.Options{Event: c.onEvent, Connected: c.onConnected, Closed: c.onClosed, Dial: c.dial, Asked: c.onProbe})
	s.clients = append(s.clients, c)
	s.running.Go(func() { c.run(ctx) })
	return c
}

// setNodes sets the nodes that clients connect to.
func (s *clientSet) setNodes(nodes []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes = slices.Clone(nodes)
}

func (s *clientSet) randomNode(rng *rand.Rand) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nodes[rng.IntN(len(s.nodes))]
}

func (s *clientSet) randomSocket(rng *rand.Rand) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.socketIDs) == 0 {
		return "none"
	}
	return s.socketIDs[rng.IntN(len(s.socketIDs))]
}

func (c *client) run(ctx context.Context) {
	for ctx.Err() == nil {
		if !c.connect(ctx) {
			harness.Pause(ctx, time.Duration(c.rng.IntN(200))*time.Millisecond)
			continue
		}
		c.serve(ctx)
		harness.Pause(ctx, time.Duration(c.awayFor.Swap(0)))
	}
	c.Cut()
}

// connect connects to a random node, and reports whether that worked.
func (c *client) connect(ctx context.Context) bool {
	select {
	case <-c.closedConn: // of the former connection
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	if err := c.Connect(ctx, c.set.randomNode(c.rng)); err != nil {
		c.set.recorder.Note(c.number, "connect failed: %v", err)
		return false
	}
	return true
}

// serve joins and leaves rooms until the connection ends.
func (c *client) serve(ctx context.Context) {
	if c.needsRooms.Load() {
		c.mu.Lock()
		rooms := slices.Sorted(maps.Keys(c.rooms))
		c.mu.Unlock()
		if !c.changeRooms(ctx, checker.Join, rooms...) {
			c.cutAndWait()
			return
		}
		c.needsRooms.Store(false)
	}
	for {
		select {
		case w := <-c.roomChanges:
			c.mu.Lock()
			if w.op == checker.Join {
				c.rooms[w.room] = true
			} else {
				delete(c.rooms, w.room)
			}
			c.mu.Unlock()
			if !c.changeRooms(ctx, w.op, w.room) {
				c.requeue(w)
				c.cutAndWait()
				return
			}
		case <-c.closedConn:
			return
		case <-ctx.Done():
			return
		}
	}
}

// requeue keeps a room change for the next connection, before later ones: two of them may be about the same room.
func (c *client) requeue(first roomChange) {
	later := []roomChange{first}
	for {
		select {
		case w := <-c.roomChanges:
			later = append(later, w)
			continue
		default:
		}
		break
	}
	for _, w := range later {
		select {
		case c.roomChanges <- w:
		default: // enough are pending
		}
	}
}

// changeRooms joins or leaves rooms, and reports whether the node confirmed it.
func (c *client) changeRooms(ctx context.Context, do checker.RoomOp, rooms ...string) bool {
	if len(rooms) == 0 {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c.set.recorder.Add(checker.Record{Kind: checker.Requested, Client: c.number, Op: do, Rooms: rooms})
	var at harness.Span
	if err := c.Call(ctx, &at, string(do), rooms); err != nil || at.End == 0 {
		c.set.recorder.Note(c.number, "unconfirmed: %s %q: %v", do, rooms, err)
		return false
	}
	c.set.recorder.Add(checker.Record{Kind: checker.Confirmed, Client: c.number, Op: do, Rooms: rooms})
	return true
}

// cutAndWait cuts the connection and waits until it has ended.
func (c *client) cutAndWait() {
	c.Cut()
	<-c.closedConn
}

func (c *client) onClosed(err error) {
	c.set.recorder.Note(c.number, "connection ended: %v", err)
	select {
	case c.closedConn <- struct{}{}:
	default:
	}
}

func (c *client) onConnected(id string, recovered bool) {
	s := c.set
	s.recorder.Add(checker.Record{Kind: checker.Connected, Client: c.number, Socket: id, Recovered: recovered})
	s.mu.Lock()
	s.socketIDs = append(s.socketIDs, id)
	s.mu.Unlock()
	left := c.disconnected.Swap(false)
	if recovered {
		s.recovered.Add(1)
		return
	}
	c.needsRooms.Store(true)
	if !c.hasSession.Swap(true) || left {
		return
	}
	s.unrecovered.Add(1)
	go c.askReason() // ends with the timeout of the call
}

// reasonUnknown is the reason of a client whose connection ended before it could ask.
const reasonUnknown = "unknown"

// askReason asks the node why the session was not recovered.
func (c *client) askReason() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var me harness.SocketState
	if err := c.Call(ctx, &me, "whoami"); err != nil || me.Recovered { // or the answer is from a later connection
		me.Reason = reasonUnknown
	}
	c.set.mu.Lock()
	defer c.set.mu.Unlock()
	c.set.refused[me.Reason]++
}

func (c *client) onEvent(data json.RawMessage) {
	id, ok := harness.ParseTick(string(data))
	if !ok {
		return
	}
	c.set.recorder.Add(checker.Record{Kind: checker.Received, Client: c.number, Event: id})
	if id.Publisher() == harness.FencePublisher {
		c.fence.Store(int64(id.Seq()))
	}
	if c.cutAfter.Load() > 0 && c.cutAfter.Add(-1) == 0 {
		c.cut("reset")
	}
}

// cut breaks the connection: "reset" with a TCP reset, "close" with a close frame, "half" so that the server does not
// notice.
func (c *client) cut(how string) {
	c.mu.Lock()
	l := c.conn
	c.mu.Unlock()
	if l == nil || !c.hasSession.Load() {
		return
	}
	c.set.cuts.Add(1)
	c.set.recorder.Note(c.number, "cut (%s)", how)
	if how == "close" {
		l.cleanClose.Store(true)
		c.Close()
		return
	}
	l.end(how)
}

// stallReads stops the client from reading for a while.
func (c *client) stallReads(d time.Duration) {
	c.mu.Lock()
	l := c.conn
	c.mu.Unlock()
	if l != nil {
		c.set.recorder.Note(c.number, "reads stalled for %v", d)
		l.stalledUntil.Store(time.Now().Add(d).UnixNano())
	}
}

func (c *client) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, fmt.Errorf("%T is not TCP", conn)
	}
	l := &faultyConn{TCPConn: tcp, set: c.set, ended: make(chan struct{})}
	if c.slowReader.Swap(false) {
		l.slowUntil = time.Now().Add(3 * time.Second)
	}
	c.mu.Lock()
	c.conn = l
	c.mu.Unlock()
	return l, nil
}

// A faultyConn is a connection that can be broken in several ways.
type faultyConn struct {
	*net.TCPConn

	set          *clientSet
	slowUntil    time.Time    // until then it reads at most 800 kB per second
	stalledUntil atomic.Int64 // until then it reads nothing
	cleanClose   atomic.Bool  // close without a reset
	once         sync.Once
	ended        chan struct{} // closed when the client has closed the connection
}

var errCut = errors.New("the connection is cut")

// readTimeout is how long a client waits for a packet, like the official client with its heartbeat.
const readTimeout = 6 * time.Second

// Read implements net.Conn, slowly or not at all while the connection is slowed down or stalled.
func (l *faultyConn) Read(p []byte) (int, error) {
	if d := time.Until(time.Unix(0, l.stalledUntil.Load())); d > 0 {
		select {
		case <-time.After(d):
		case <-l.ended:
			return 0, errCut
		}
	}
	if time.Now().Before(l.slowUntil) {
		p = p[:min(len(p), 1<<10)]
		harness.Pause(context.Background(), time.Millisecond)
	}
	_ = l.SetReadDeadline(time.Now().Add(readTimeout)) // fails on a closed connection, as the read below does
	n, err := l.TCPConn.Read(p)
	select {
	case <-l.ended:
		return 0, errCut
	default:
		return n, err
	}
}

// Close resets the connection, unless it was ended in another way before.
func (l *faultyConn) Close() error {
	l.end("reset")
	return nil
}

func (l *faultyConn) end(how string) {
	l.once.Do(func() {
		close(l.ended)
		if how == "half" {
			_ = l.SetReadDeadline(time.Unix(1, 0)) // wakes the reader
			l.set.background.Go(func() {
				harness.Pause(context.Background(), 3*time.Second) // meanwhile the server writes to a half-open connection
				_ = l.TCPConn.Close()
			})
			return
		}
		if !l.cleanClose.Load() {
			_ = l.SetLinger(0)
		}
		_ = l.TCPConn.Close()
	})
}
