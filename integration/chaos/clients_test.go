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

// A clientSet is many clients in Go that come back by themselves, each to a node of its own choice.
type clientSet struct {
	recorder    *checker.Recorder
	clients     []*client
	slowClients []*client // those that get the large events
	running     sync.WaitGroup
	background  sync.WaitGroup // lines that nobody but the server holds any more

	mu        sync.Mutex
	nodes     []string       // where they may go
	refused   map[string]int // reasons for which sessions were not recovered
	socketIDs []string       // of sockets that were connected, some of them in vain

	cuts, recovered, unrecovered atomic.Int64
}

// A client is a client of a flock.
type client struct {
	*wire.Client

	set          *clientSet
	number       int
	rng          *rand.Rand
	roomChanges  chan roomChange
	closedConn   chan struct{} // the connection is gone
	fence        atomic.Int64  // the newest that it got
	cutAfter     atomic.Int64  // after how many events it cuts its connection; 0: never
	hasSession   atomic.Bool   // it had a session
	awayFor      atomic.Int64  // how long it stays away before it comes back
	slowReader   atomic.Bool   // it reads slowly when it is back
	needsRooms   atomic.Bool   // the session is new and lacks the rooms
	disconnected atomic.Bool   // it has disconnected of its own accord, so that the session may be over

	mu    sync.Mutex
	conn  *faultyConn
	rooms map[string]bool // those that it wants to be in
}

// A roomChange is to join or leave a room.
type roomChange struct {
	op   checker.RoomOp
	room string
}

// start starts a client; it lives until ctx ends.
func (f *clientSet) start(ctx context.Context, number int, rng *rand.Rand, rooms ...string) *client {
	b := &client{
		set: f, number: number, rng: rng,
		roomChanges: make(chan roomChange, 64), closedConn: make(chan struct{}, 1), rooms: make(map[string]bool),
	}
	for _, room := range rooms {
		b.rooms[room] = true
	}
	b.Client = wire.New(wire.Options{Event: b.onEvent, Connected: b.onConnected, Closed: b.onClosed, Dial: b.dial, Asked: b.onProbe})
	f.clients = append(f.clients, b)
	f.running.Go(func() { b.run(ctx) })
	return b
}

// setNodes tells the clients where they may go.
func (f *clientSet) setNodes(nodes []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nodes = slices.Clone(nodes)
}

func (f *clientSet) randomNode(rng *rand.Rand) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.nodes[rng.IntN(len(f.nodes))]
}

func (f *clientSet) randomSocket(rng *rand.Rand) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.socketIDs) == 0 {
		return "nobody"
	}
	return f.socketIDs[rng.IntN(len(f.socketIDs))]
}

func (b *client) run(ctx context.Context) {
	for ctx.Err() == nil {
		if !b.connect(ctx) {
			harness.Pause(ctx, time.Duration(b.rng.IntN(200))*time.Millisecond)
			continue
		}
		b.serve(ctx)
		harness.Pause(ctx, time.Duration(b.awayFor.Swap(0)))
	}
	b.Cut()
}

// connect connects to a node; it returns false if that did not work.
func (b *client) connect(ctx context.Context) bool {
	select {
	case <-b.closedConn: // of the connection before
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	if err := b.Connect(ctx, b.set.randomNode(b.rng)); err != nil {
		b.set.recorder.Note(b.number, "did not connect: %v", err)
		return false
	}
	return true
}

// serve does what the client wishes until the connection ends.
func (b *client) serve(ctx context.Context) {
	if b.needsRooms.Load() {
		b.mu.Lock()
		rooms := slices.Sorted(maps.Keys(b.rooms))
		b.mu.Unlock()
		if !b.changeRooms(ctx, checker.Join, rooms...) {
			b.cutAndWait()
			return
		}
		b.needsRooms.Store(false)
	}
	for {
		select {
		case w := <-b.roomChanges:
			b.mu.Lock()
			if w.op == checker.Join {
				b.rooms[w.room] = true
			} else {
				delete(b.rooms, w.room)
			}
			b.mu.Unlock()
			if !b.changeRooms(ctx, w.op, w.room) {
				b.requeue(w)
				b.cutAndWait()
				return
			}
		case <-b.closedConn:
			return
		case <-ctx.Done():
			return
		}
	}
}

// requeue keeps a wish for the next connection, before those that came later: two of them may be about one room.
func (b *client) requeue(first roomChange) {
	later := []roomChange{first}
	for {
		select {
		case w := <-b.roomChanges:
			later = append(later, w)
			continue
		default:
		}
		break
	}
	for _, w := range later {
		select {
		case b.roomChanges <- w:
		default: // it has enough to do
		}
	}
}

// changeRooms joins or leaves rooms; it returns false if the client does not know that it has.
func (b *client) changeRooms(ctx context.Context, do checker.RoomOp, rooms ...string) bool {
	if len(rooms) == 0 {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	b.set.recorder.Add(checker.Record{Kind: checker.Requested, Client: b.number, Op: do, Rooms: rooms})
	var at harness.Span
	if err := b.Call(ctx, &at, string(do), rooms); err != nil || at.End == 0 {
		b.set.recorder.Note(b.number, "does not know if it did %s %q: %v", do, rooms, err)
		return false
	}
	b.set.recorder.Add(checker.Record{Kind: checker.Confirmed, Client: b.number, Op: do, Rooms: rooms})
	return true
}

// cutAndWait ends the connection and waits until it has ended.
func (b *client) cutAndWait() {
	b.Cut()
	<-b.closedConn
}

func (b *client) onClosed(err error) {
	b.set.recorder.Note(b.number, "connection ended: %v", err)
	select {
	case b.closedConn <- struct{}{}:
	default:
	}
}

func (b *client) onConnected(id string, recovered bool) {
	f := b.set
	f.recorder.Add(checker.Record{Kind: checker.Connected, Client: b.number, Socket: id, Recovered: recovered})
	f.mu.Lock()
	f.socketIDs = append(f.socketIDs, id)
	f.mu.Unlock()
	left := b.disconnected.Swap(false)
	if recovered {
		f.recovered.Add(1)
		return
	}
	b.needsRooms.Store(true)
	if !b.hasSession.Swap(true) || left {
		return
	}
	f.unrecovered.Add(1)
	go b.askReason() // ends with the call's time
}

// reasonUnknown is the reason of whose connection broke before it could ask.
const reasonUnknown = "not told"

// askReason asks for the reason for which the session was not recovered.
func (b *client) askReason() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var me harness.SocketState
	if err := b.Call(ctx, &me, "whoami"); err != nil || me.Recovered { // or the answer is that of a later connection
		me.Reason = reasonUnknown
	}
	b.set.mu.Lock()
	defer b.set.mu.Unlock()
	b.set.refused[me.Reason]++
}

func (b *client) onEvent(data json.RawMessage) {
	id, ok := harness.ParseTick(string(data))
	if !ok {
		return
	}
	b.set.recorder.Add(checker.Record{Kind: checker.Received, Client: b.number, Event: id})
	if id.Publisher() == harness.FencePublisher {
		b.fence.Store(int64(id.Seq()))
	}
	if b.cutAfter.Load() > 0 && b.cutAfter.Add(-1) == 0 {
		b.cut("reset")
	}
}

// cut breaks the connection: "reset" and "close" are what they say, "half" leaves the server alone with it.
func (b *client) cut(how string) {
	b.mu.Lock()
	l := b.conn
	b.mu.Unlock()
	if l == nil || !b.hasSession.Load() {
		return
	}
	b.set.cuts.Add(1)
	b.set.recorder.Note(b.number, "cut (%s)", how)
	if how == "close" {
		l.cleanClose.Store(true)
		b.Close()
		return
	}
	l.end(how)
}

// stallReads makes the client read nothing for a while.
func (b *client) stallReads(d time.Duration) {
	b.mu.Lock()
	l := b.conn
	b.mu.Unlock()
	if l != nil {
		b.set.recorder.Note(b.number, "reads nothing for %v", d)
		l.stalledUntil.Store(time.Now().Add(d).UnixNano())
	}
}

func (b *client) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, fmt.Errorf("%T is not TCP", conn)
	}
	l := &faultyConn{TCPConn: tcp, set: b.set, ended: make(chan struct{})}
	if b.slowReader.Swap(false) {
		l.slowUntil = time.Now().Add(3 * time.Second)
	}
	b.mu.Lock()
	b.conn = l
	b.mu.Unlock()
	return l, nil
}

// A faultyConn is a connection that can be broken in several ways.
type faultyConn struct {
	*net.TCPConn

	set          *clientSet
	slowUntil    time.Time    // no more than some 800 kB a second are read before
	stalledUntil atomic.Int64 // nothing is read before
	cleanClose   atomic.Bool  // it is closed without a reset
	once         sync.Once
	ended        chan struct{} // closed when the client has let go of it
}

var errCut = errors.New("the line is cut")

// readTimeout is what a client bears, as the official one does with its heartbeat.
const readTimeout = 6 * time.Second

// Read reads, unless the client is slow just now.
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
	_ = l.SetReadDeadline(time.Now().Add(readTimeout)) // a connection that is closed says so below
	n, err := l.TCPConn.Read(p)
	select {
	case <-l.ended:
		return 0, errCut
	default:
		return n, err
	}
}

// Close is a reset, unless the line was ended otherwise before.
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
				harness.Pause(context.Background(), 3*time.Second) // the server is left alone with it
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
