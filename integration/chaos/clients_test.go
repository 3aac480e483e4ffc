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

// A flock is many clients in Go that come back by themselves, each to a node of its own choice.
type flock struct {
	book  *checker.Book
	birds []*bird
	bulky []*bird // those that get the large events
	lives sync.WaitGroup
	rests sync.WaitGroup // lines that nobody but the server holds any more

	mu      sync.Mutex
	nodes   []string       // where they may go
	refused map[string]int // reasons for which sessions were not recovered
	ids     []string       // of sockets that were connected, some of them in vain

	cuts, recovered, unrecovered atomic.Int64
}

// A bird is a client of a flock.
type bird struct {
	*wire.Client

	flock  *flock
	number int
	roll   *rand.Rand
	wishes chan wish
	ended  chan struct{} // the connection is gone
	fence  atomic.Int64  // the newest that it got
	fuse   atomic.Int64  // after how many events it cuts its connection; 0: never
	known  atomic.Bool   // it had a session
	rest   atomic.Int64  // how long it stays away before it comes back
	slow   atomic.Bool   // it reads slowly when it is back
	fresh  atomic.Bool   // the session is new and lacks the rooms
	left   atomic.Bool   // it has disconnected of its own accord, so that the session may be over

	mu    sync.Mutex
	line  *line
	rooms map[string]bool // those that it wants to be in
}

// A wish is to join or leave a room.
type wish struct {
	do   checker.Do
	room string
}

// newBird starts a client; it lives until ctx ends.
func (f *flock) newBird(ctx context.Context, number int, roll *rand.Rand, rooms ...string) *bird {
	b := &bird{
		flock: f, number: number, roll: roll,
		wishes: make(chan wish, 64), ended: make(chan struct{}, 1), rooms: make(map[string]bool),
	}
	for _, room := range rooms {
		b.rooms[room] = true
	}
	b.Client = wire.New(wire.Options{Event: b.event, Connected: b.connected, Closed: b.closed, Dial: b.dial, Asked: b.asked})
	f.birds = append(f.birds, b)
	f.lives.Go(func() { b.live(ctx) })
	return b
}

// send tells the clients where they may go.
func (f *flock) send(nodes []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nodes = slices.Clone(nodes)
}

func (f *flock) anyNode(roll *rand.Rand) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.nodes[roll.IntN(len(f.nodes))]
}

func (f *flock) anySocket(roll *rand.Rand) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.ids) == 0 {
		return "nobody"
	}
	return f.ids[roll.IntN(len(f.ids))]
}

func (b *bird) live(ctx context.Context) {
	for ctx.Err() == nil {
		if !b.come(ctx) {
			harness.Pause(ctx, time.Duration(b.roll.IntN(200))*time.Millisecond)
			continue
		}
		b.stay(ctx)
		harness.Pause(ctx, time.Duration(b.rest.Swap(0)))
	}
	b.Cut()
}

// come connects to a node; it returns false if that did not work.
func (b *bird) come(ctx context.Context) bool {
	select {
	case <-b.ended: // of the connection before
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	if err := b.Connect(ctx, b.flock.anyNode(b.roll)); err != nil {
		b.flock.book.Note(b.number, "did not connect: %v", err)
		return false
	}
	return true
}

// stay does what the client wishes until the connection ends.
func (b *bird) stay(ctx context.Context) {
	if b.fresh.Load() {
		b.mu.Lock()
		rooms := slices.Sorted(maps.Keys(b.rooms))
		b.mu.Unlock()
		if !b.move(ctx, checker.Join, rooms...) {
			b.hang()
			return
		}
		b.fresh.Store(false)
	}
	for {
		select {
		case w := <-b.wishes:
			b.mu.Lock()
			if w.do == checker.Join {
				b.rooms[w.room] = true
			} else {
				delete(b.rooms, w.room)
			}
			b.mu.Unlock()
			if !b.move(ctx, w.do, w.room) {
				b.again(w)
				b.hang()
				return
			}
		case <-b.ended:
			return
		case <-ctx.Done():
			return
		}
	}
}

// again keeps a wish for the next connection, before those that came later: two of them may be about one room.
func (b *bird) again(first wish) {
	later := []wish{first}
	for {
		select {
		case w := <-b.wishes:
			later = append(later, w)
			continue
		default:
		}
		break
	}
	for _, w := range later {
		select {
		case b.wishes <- w:
		default: // it has enough to do
		}
	}
}

// move joins or leaves rooms; it returns false if the client does not know that it has.
func (b *bird) move(ctx context.Context, do checker.Do, rooms ...string) bool {
	if len(rooms) == 0 {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	b.flock.book.Add(checker.Record{What: checker.Asked, Client: b.number, Do: do, Rooms: rooms})
	var at harness.Span
	if err := b.Call(ctx, &at, string(do), rooms); err != nil || at.End == 0 {
		b.flock.book.Note(b.number, "does not know if it did %s %q: %v", do, rooms, err)
		return false
	}
	b.flock.book.Add(checker.Record{What: checker.Done, Client: b.number, Do: do, Rooms: rooms})
	return true
}

// hang ends the connection and waits until it has ended.
func (b *bird) hang() {
	b.Cut()
	<-b.ended
}

func (b *bird) closed(err error) {
	b.flock.book.Note(b.number, "connection ended: %v", err)
	select {
	case b.ended <- struct{}{}:
	default:
	}
}

func (b *bird) connected(id string, recovered bool) {
	f := b.flock
	f.book.Add(checker.Record{What: checker.Connected, Client: b.number, Socket: id, Recovered: recovered})
	f.mu.Lock()
	f.ids = append(f.ids, id)
	f.mu.Unlock()
	left := b.left.Swap(false)
	if recovered {
		f.recovered.Add(1)
		return
	}
	b.fresh.Store(true)
	if !b.known.Swap(true) || left {
		return
	}
	f.unrecovered.Add(1)
	go b.why() // ends with the call's time
}

// untold is the reason of whose connection broke before it could ask.
const untold = "not told"

// why asks for the reason for which the session was not recovered.
func (b *bird) why() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var me harness.SocketState
	if err := b.Call(ctx, &me, "whoami"); err != nil || me.Recovered { // or the answer is that of a later connection
		me.Reason = untold
	}
	b.flock.mu.Lock()
	defer b.flock.mu.Unlock()
	b.flock.refused[me.Reason]++
}

func (b *bird) event(data json.RawMessage) {
	id, ok := harness.ParseTick(string(data))
	if !ok {
		return
	}
	b.flock.book.Add(checker.Record{What: checker.Got, Client: b.number, Event: id})
	if id.Publisher() == harness.FencePublisher {
		b.fence.Store(int64(id.Seq()))
	}
	if b.fuse.Load() > 0 && b.fuse.Add(-1) == 0 {
		b.cut("reset")
	}
}

// cut breaks the connection: "reset" and "close" are what they say, "half" leaves the server alone with it.
func (b *bird) cut(how string) {
	b.mu.Lock()
	l := b.line
	b.mu.Unlock()
	if l == nil || !b.known.Load() {
		return
	}
	b.flock.cuts.Add(1)
	b.flock.book.Note(b.number, "cut (%s)", how)
	if how == "close" {
		l.polite.Store(true)
		b.Close()
		return
	}
	l.end(how)
}

// stall makes the client read nothing for a while.
func (b *bird) stall(d time.Duration) {
	b.mu.Lock()
	l := b.line
	b.mu.Unlock()
	if l != nil {
		b.flock.book.Note(b.number, "reads nothing for %v", d)
		l.until.Store(time.Now().Add(d).UnixNano())
	}
}

func (b *bird) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, fmt.Errorf("%T is not TCP", conn)
	}
	l := &line{TCPConn: tcp, flock: b.flock, over: make(chan struct{})}
	if b.slow.Swap(false) {
		l.slow = time.Now().Add(3 * time.Second)
	}
	b.mu.Lock()
	b.line = l
	b.mu.Unlock()
	return l, nil
}

// A line is a connection that can be broken in several ways.
type line struct {
	*net.TCPConn

	flock  *flock
	slow   time.Time    // no more than some 800 kB a second are read before
	until  atomic.Int64 // nothing is read before
	polite atomic.Bool  // it is closed without a reset
	once   sync.Once
	over   chan struct{} // closed when the client has let go of it
}

var errCut = errors.New("the line is cut")

// silence is what a client bears, as the official one does with its heartbeat.
const silence = 6 * time.Second

// Read reads, unless the client is slow just now.
func (l *line) Read(p []byte) (int, error) {
	if d := time.Until(time.Unix(0, l.until.Load())); d > 0 {
		select {
		case <-time.After(d):
		case <-l.over:
			return 0, errCut
		}
	}
	if time.Now().Before(l.slow) {
		p = p[:min(len(p), 1<<10)]
		harness.Pause(context.Background(), time.Millisecond)
	}
	_ = l.SetReadDeadline(time.Now().Add(silence)) // a connection that is closed says so below
	n, err := l.TCPConn.Read(p)
	select {
	case <-l.over:
		return 0, errCut
	default:
		return n, err
	}
}

// Close is a reset, unless the line was ended otherwise before.
func (l *line) Close() error {
	l.end("reset")
	return nil
}

func (l *line) end(how string) {
	l.once.Do(func() {
		close(l.over)
		if how == "half" {
			_ = l.SetReadDeadline(time.Unix(1, 0)) // wakes the reader
			l.flock.rests.Go(func() {
				harness.Pause(context.Background(), 3*time.Second) // the server is left alone with it
				_ = l.TCPConn.Close()
			})
			return
		}
		if !l.polite.Load() {
			_ = l.SetLinger(0)
		}
		_ = l.TCPConn.Close()
	})
}
