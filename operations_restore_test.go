package socketio_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// restorePoints are the moments of the restore of a session, in order, at which a record of the log may be delivered to its
// new node, with the number of steps that the log has made by then, see steppedLog.
var restorePoints = []restorePoint{
	{"away", -1},
	{"before the catch-up read", 0},
	{"during the catch-up read", 0},
	{"at the end of the catch-up read", 1},
	{"in middleware", 2},
	{"in the first part of the replay", 2},
	{"at the switch to attached", 3},
	{"in the last part of the replay", 4},
	{"at the end of the replay", 5},
	{"behind the replay", 6},
	{"live", 6},
}

type restorePoint struct {
	name  string
	steps int
}

// restoreTests are the operations that are delivered at each point, and what becomes of the session.
var restoreTests = map[string]struct {
	operate func(context.Context, socketio.Audience) error
	events  []string // of those that are emitted around the operation
	rooms   []socketio.Room
}{
	"Join": {
		func(ctx context.Context, a socketio.Audience) error { return a.Join(ctx, "new") },
		[]string{"said held, before", "said held, after", "said new, after"},
		[]socketio.Room{"held", "new"},
	},
	"Leave": {
		func(ctx context.Context, a socketio.Audience) error { return a.Leave(ctx, "held") },
		[]string{"said held, before"},
		nil,
	},
	"Disconnect": {
		func(ctx context.Context, a socketio.Audience) error { return a.Disconnect(ctx) },
		[]string{"said held, before"},
		nil,
	},
}

// An operation takes effect once, at its position, at whatever moment of a restore it is delivered: for the events of the
// client, for the rooms of its socket, and in the store.
func TestOperations_AtEachPointOfARestore(t *testing.T) {
	t.Parallel()
	for operation, tt := range restoreTests {
		for _, point := range restorePoints {
			t.Run(operation+"/"+point.name, func(t *testing.T) {
				t.Parallel()
				restoring(t, point, func(r *restore) {
					r.around(tt.operate)
					if operation == "Disconnect" {
						r.around(tt.operate) // no effect any more
					}
					r.proceed()
					if operation != "Disconnect" {
						r.back.connects()
						r.back.wantEvents(append(r.missed, tt.events...)...)
						r.wantSession(r.b, tt.rooms)
						r.back = r.back.comeBack(r.a)
						r.back.wantEvents()
						r.wantSession(r.a, tt.rooms)
						if n := r.store.changes.Load(); n != 1 {
							t.Errorf("%d changes in the store", n)
						}
						return
					}
					if point.name == "away" || point.name == "before the catch-up read" {
						r.back.connects()
						r.back.wantEvents()
						r.wantNewSession(r.b, r.back)
						return
					}
					r.wantDisconnected(append(r.missed, tt.events...))
				})
			})
		}
	}
}

// A node is killed after it has delivered an operation and before it has written anything of it: another node applies
// the operation, or refuses the session.
func TestOperations_AtEachPointOfARestore_NodeKilled(t *testing.T) {
	t.Parallel()
	for operation, tt := range restoreTests {
		for _, point := range restorePoints[1:] {
			t.Run(operation+"/"+point.name, func(t *testing.T) {
				t.Parallel()
				restoring(t, point, func(r *restore) {
					r.store.killed.Store(true)
					r.around(tt.operate)
					r.back.Cut()
					r.proceed()
					again := r.p.comeBackUncut(r.a)
					if operation == "Disconnect" {
						again.wantEvents()
						r.wantNewSession(r.a, again)
						return
					}
					again.wantEvents(append(r.missed, tt.events...)...)
					r.wantSession(r.a, tt.rooms)
				})
			})
		}
	}
}

// Middleware that runs while an operation is delivered sees it.
func TestOperations_InMiddleware_ChangeItsSocket(t *testing.T) {
	t.Parallel()
	restoring(t, restorePoint{"in middleware", 2}, func(r *restore) {
		r.around(restoreTests["Join"].operate)
		if !r.socket.In("held") || !r.socket.In("new") {
			t.Errorf("rooms %q", slices.Collect(r.socket.Rooms()))
		}
		r.around(restoreTests["Leave"].operate)
		if r.socket.In("held") {
			t.Errorf("rooms %q", slices.Collect(r.socket.Rooms()))
		}
		r.proceed()
	})
}

// A restore is the return of a client from node a, where it was in the room "held", to node b.
type restore struct {
	t       *testing.T
	log     *steppedLog
	store   *mortal // of b
	a, b    *socketio.Server
	p, back *peer            // the client at a, and at b
	missed  []string         // the events since it left a
	socket  *socketio.Socket // in middleware
	resumed chan struct{}    // closed for middleware to continue
	live    atomic.Bool      // OnConnect has run at b
}

// restoring runs a test in virtual time, in which a client's return has come to the given point.
func restoring(t *testing.T, point restorePoint, test func(*restore)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		memory := adapter.NewMemory(nil)
		store := unbound{recovery.NewMemory(memory)}
		r := &restore{
			t: t, log: &steppedLog{second: second{Memory: memory}, step: make(chan struct{})}, store: &mortal{unbound: store}, resumed: make(chan struct{}),
		}
		opts := socketio.Options{Adapter: r.log, Recovery: socketio.Recovery{Store: &store}, QueueBytes: 16_000}
		r.a = newServer(&opts)
		opts.Recovery.Store = r.store
		r.b = newServer(&opts)
		r.b.Use(func(_ context.Context, s *socketio.Socket) error {
			if point.name == "in middleware" {
				r.socket = s
				<-r.resumed
			}
			return nil
		})
		r.b.OnConnect(func(context.Context, *socketio.Socket) error { r.live.Store(true); return nil })
		r.log.lag.Store(point.name == "before the catch-up read") // b then waits for the position that the client has reached at a
		r.p = connected(t, r.a)
		do(t, only(t, r.a).Join(t.Context(), "held"))
		emit(t, r.a, "received")
		r.p.drain()
		r.p.Cut()
		synctest.Wait()
		r.miss("missed")
		r.back = dial(t, r.b)
		r.back.pid, r.back.offset = r.p.pid, r.p.offset
		if point.steps >= 0 {
			r.advance(point)
		}
		hung := time.AfterFunc(24*time.Hour, func() { panic("the test waits for something that does not come") })
		defer hung.Stop()
		test(r)
		do(t, r.a.Shutdown(t.Context()))
		do(t, r.b.Shutdown(t.Context()))
	})
}

// advance has the client return, up to the point.
func (r *restore) advance(point restorePoint) {
	r.log.stepping.Store(true)
	r.back.WriteText("0" + r.p.ticket())
	for step := range point.steps {
		synctest.Wait()
		switch behind := point.name == "behind the replay"; {
		case step == 3: // in the first part of the replay: for the last one
			r.miss(strings.Repeat("x", 15_000))
			r.miss(strings.Repeat("y", 15_000))
		case step == 4 && behind:
			r.back.Pause()
		case step == 5 && behind: // more than the connection takes while the client is paused
			for range 12 {
				r.miss(strings.Repeat("z", 1000))
			}
		}
		r.log.step <- struct{}{}
	}
	synctest.Wait()
	sockets := slices.Collect(r.b.Sockets())
	if attached, live := len(sockets) > 0, r.live.Load(); attached != (point.steps >= 4) || live != (point.name == "live") {
		r.t.Errorf("at another point: attached %v, live %v", attached, live)
	}
}

// miss emits an event to the client.
func (r *restore) miss(text string) {
	r.missed = append(r.missed, "said "+text)
	emit(r.t, r.a.To(socketio.Room(r.p.id)), text)
}

// around has the operation made on the client's audience, between emits to both rooms.
func (r *restore) around(operate func(context.Context, socketio.Audience) error) {
	r.t.Helper()
	emit(r.t, r.a.To("held"), "held, before")
	emit(r.t, r.a.To("new"), "new, before")
	do(r.t, operate(r.t.Context(), r.a.To(socketio.Room(r.p.id))))
	emit(r.t, r.a.To("held"), "held, after")
	emit(r.t, r.a.To("new"), "new, after")
	synctest.Wait()
}

// proceed lets the restore complete.
func (r *restore) proceed() {
	if !r.log.stepping.Swap(false) { // away
		r.back.WriteText("0" + r.p.ticket())
	}
	r.log.deliverKept()
	close(r.log.step)
	close(r.resumed)
	r.back.Resume()
	synctest.Wait()
}

// wantSession checks that the server's one socket was recovered and is in the rooms, and its own.
func (r *restore) wantSession(server *socketio.Server, rooms []socketio.Room) {
	r.t.Helper()
	s := only(r.t, server)
	if !s.Recovered() || string(s.ID()) != r.p.id {
		r.t.Errorf("recovered %v, %v, id %s", s.Recovered(), s.Recovery().Reason, s.ID())
	}
	want := append([]socketio.Room{socketio.Room(s.ID())}, rooms...)
	if got := slices.Collect(s.Rooms()); !slices.Equal(got, want) {
		r.t.Errorf("rooms %q, want %q", got, want)
	}
}

// wantNewSession checks that the client could not recover its session, because that is over.
func (r *restore) wantNewSession(server *socketio.Server, client *peer) {
	r.t.Helper()
	s := only(r.t, server)
	if s.Recovered() || !errors.Is(s.Recovery().Reason, recovery.ErrOver) || client.id == r.p.id {
		r.t.Errorf("recovered %v, %v, id %s", s.Recovered(), s.Recovery().Reason, client.id)
	}
	if len(slices.Collect(s.Rooms())) != 1 {
		r.t.Errorf("rooms %q", slices.Collect(s.Rooms()))
	}
}

// wantDisconnected checks that the client has received the events of its session, and then DISCONNECT, and that the session is over.
func (r *restore) wantDisconnected(events []string) {
	r.t.Helper()
	r.back.connects()
	if r.back.id != r.p.id {
		r.t.Errorf("not recovered: id %s", r.back.id)
	}
	for _, want := range events {
		if text, prefix := r.back.ReadText(), fmt.Sprintf(`2["said",%q,`, strings.TrimPrefix(want, "said ")); !strings.HasPrefix(text, prefix) {
			r.t.Errorf("got %.100q, want %.100q", text, prefix)
		}
	}
	if text := r.back.ReadText(); text != "1" {
		r.t.Errorf("got %.100q, want DISCONNECT", text)
	}
	synctest.Wait()
	if n := r.b.Stats().Disconnects[socketio.ReasonServerDisconnect]; n != 1 || r.back.Waiting() > 0 {
		r.t.Errorf("%d disconnected, %d messages more", n, r.back.Waiting())
	}
	again := r.p.comeBackUncut(r.a)
	again.wantEvents()
	if s := only(r.t, r.a); s.Recovered() || !errors.Is(s.Recovery().Reason, recovery.ErrUnknown) {
		r.t.Errorf("recovered %v, %v", s.Recovered(), s.Recovery().Reason)
	}
}

// A steppedLog is a log of two nodes whose reads are made in two steps, for each of which it takes a token: before the
// first record, and after the last.
type steppedLog struct {
	second

	stepping atomic.Bool
	step     chan struct{}
}

func (l *steppedLog) Read(ctx context.Context, from, to adapter.Position) iter.Seq2[[]adapter.Delivery, error] {
	if !l.stepping.Load() || from >= to {
		return l.second.Read(ctx, from, to)
	}
	return func(yield func([]adapter.Delivery, error) bool) {
		<-l.step
		for batch, err := range l.second.Read(ctx, from, to) {
			if !yield(batch, err) {
				return
			}
		}
		<-l.step
	}
}

// deliverKept delivers all that the second node lacks, at once.
func (l *steppedLog) deliverKept() {
	l.lag.Store(false)
	if len(l.kept) > 0 {
		l.locals[1].Deliver(slices.Concat(l.kept...))
	}
}

// A mortal is a store whose node can be killed: nothing is written from then on.
type mortal struct {
	unbound

	killed  atomic.Bool
	changes atomic.Int64 // of rooms
}

func (m *mortal) Change(k recovery.Key, c recovery.Change) *adapter.Receipt {
	if m.killed.Load() {
		return adapter.Completed(nil)
	}
	if !c.Empty() {
		m.changes.Add(1)
	}
	return m.unbound.Change(k, c)
}

func (m *mortal) End(k recovery.Key, e recovery.Release) *adapter.Receipt {
	if m.killed.Load() {
		return adapter.Completed(nil)
	}
	return m.unbound.End(k, e)
}
