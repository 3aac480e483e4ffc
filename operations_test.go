package socketio_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestOperations_TakeEffectInLogOrderOnEveryNode(t *testing.T) {
	t.Parallel()
	twoNodes(t, func(t *testing.T, _ *second, a, b *socketio.Server) {
		p, q := connected(t, a), connected(t, b)
		emit(t, a.To("r"), "before")
		do(t, a.All().Join(t.Context(), "r", "s"))
		emit(t, b.To("r"), "both")
		do(t, b.To(socketio.Room(p.id)).Leave(t.Context(), "r"))
		emit(t, a.To("r"), "one")
		do(t, a.To("r").Join(t.Context(), "only q"))
		do(t, a.To("s").Leave(t.Context(), "s"))
		emit(t, b.To("s"), "nobody")
		emit(t, a.To("only q"), "q")
		p.wantEvents("said both")
		q.wantEvents("said both", "said one", "said q")
	})
}

func TestOperations_Local(t *testing.T) {
	t.Parallel()
	twoNodes(t, func(t *testing.T, _ *second, a, b *socketio.Server) {
		p, q := connected(t, a), connected(t, b)
		do(t, a.Local().Join(t.Context(), "r"))
		emit(t, b.To("r"), "1")
		p.wantEvents("said 1")
		q.wantEvents()
		p = p.comeBack(b)
		emit(t, a.To("r"), "2")
		p.wantEvents("said 2")
	})
}

func TestOperations_ClientAway(t *testing.T) {
	t.Parallel()
	twoNodes(t, func(t *testing.T, _ *second, a, b *socketio.Server) {
		p := connected(t, a)
		do(t, a.To(socketio.Room(p.id)).Join(t.Context(), "r"))
		p.Cut()
		synctest.Wait()
		emit(t, b.To("r"), "1")
		do(t, b.To("r").Join(t.Context(), "s"))
		emit(t, b.To("s"), "2")
		do(t, b.To("s").Leave(t.Context(), "r"))
		emit(t, b.To("r"), "not any more")
		p = p.comeBackUncut(b)
		p.wantEvents("said 1", "said 2")
		if got := slices.Sorted(only(t, b).Rooms()); !slices.Contains(got, "s") || len(got) != 2 {
			t.Errorf("rooms %v", got)
		}
		emit(t, a.To("s"), "3")
		p = p.comeBack(a) // the applied operations are stored
		emit(t, a.To("s"), "4")
		p.wantEvents("said 4")
	})
}

// The node that applied the operation is killed before it has written the change: the
// next owner of the session finds the operation in the log.
func TestOperations_NotWrittenToTheStore_AreAppliedOnResume(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		memory := adapter.NewMemory(nil)
		log := &second{Memory: memory}
		store := &forgetful{unbound{recovery.NewMemory(memory)}}
		a := newServer(&socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: store}})
		b := newServer(&socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: &store.unbound}})
		p := connected(t, a)
		do(t, a.All().Join(t.Context(), "r"))
		emit(t, a.To("r"), "1")
		p.wantEvents("said 1")
		q := p.comeBackUncut(b)
		emit(t, a.To("r"), "2")
		q.wantEvents("said 2")
		do(t, a.Shutdown(t.Context()))
		do(t, b.Shutdown(t.Context()))
	})
}

// forgetful loses changes, like a node that is killed.
type forgetful struct{ unbound }

func (f *forgetful) Change(recovery.Key, recovery.Change) *adapter.Receipt {
	return adapter.NewOutcome().Receipt(0)
}

func TestOperations_DisconnectAudience(t *testing.T) {
	t.Parallel()
	twoNodes(t, func(t *testing.T, _ *second, a, b *socketio.Server) {
		var reasons []socketio.Reason
		b.OnDisconnect(func(_ *socketio.Socket, r socketio.Reason) { reasons = append(reasons, r) })
		p, q, stays := connected(t, a), connected(t, b), connected(t, b)
		do(t, a.To(socketio.Room(p.id), socketio.Room(q.id)).Join(t.Context(), "r"))
		p.drain()
		p.Cut()
		synctest.Wait()
		emit(t, a.To("r"), "last")
		do(t, a.To("r").Disconnect(t.Context()))
		if text := q.ReadText(); !strings.HasPrefix(text, `2["said","last"`) {
			t.Error(text)
		}
		if text := q.ReadText(); text != "1" {
			t.Error(text)
		}
		synctest.Wait()
		if !slices.Equal(reasons, []socketio.Reason{socketio.ReasonServerDisconnect}) {
			t.Errorf("reasons %q", reasons)
		}
		// The one that was away gets a new session.
		back := p.comeBackUncut(a)
		back.wantEvents()
		if s := only(t, a); s.Recovered() || !errors.Is(s.Recovery().Reason, recovery.ErrOver) || string(s.ID()) == p.id {
			t.Errorf("recovered %v, %v, id %s", s.Recovered(), s.Recovery().Reason, s.ID())
		}
		emit(t, a, "to all")
		back.wantEvents("said to all")
		stays.wantEvents("said to all")
	})
}

// Operations and events between the claim of a session and its attachment take effect
// once, in order.
func TestOperations_DuringRestore(t *testing.T) {
	t.Parallel()
	for _, end := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			log := &slowLog{Memory: adapter.NewMemory(nil), proceed: make(chan struct{}, 9)}
			io := newServer(&socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: recovery.NewMemory(log.Memory)}})
			p := connected(t, io)
			self := io.To(socketio.Room(p.id))
			p.Cut()
			synctest.Wait()
			emit(t, self, "1")
			back := dial(t, io)
			back.pid = p.pid
			back.WriteText("0" + p.ticket())
			synctest.Wait() // claimed
			do(t, self.Join(t.Context(), "r"))
			emit(t, io.To("r"), "2")
			log.proceed <- struct{}{} // caught up
			back.ReadText()           // CONNECT
			synctest.Wait()
			emit(t, io.To("s"), "not yet")
			do(t, io.To("r").Join(t.Context(), "s"))
			emit(t, io.To("s"), "3")
			log.proceed <- struct{}{} // in the last part of the replay
			synctest.Wait()
			do(t, io.To("s").Leave(t.Context(), "r"))
			emit(t, io.To("r"), "not any more")
			emit(t, io.To("s"), "4")
			if end {
				do(t, io.To("s").Disconnect(t.Context()))
			}
			emit(t, io.To("s"), "5")
			close(log.proceed)
			if !end {
				back.wantEvents("said 1", "said 2", "said 3", "said 4", "said 5")
			} else {
				for _, want := range []string{`2["said","1"`, `2["said","2"`, `2["said","3"`} {
					if text := back.ReadText(); !strings.HasPrefix(text, want) {
						t.Errorf("%q, want %q", text, want)
					}
				}
				for text := ""; text != "1"; { // the buffered messages may or may not be sent
					text = back.ReadText()
				}
			}
			do(t, io.Shutdown(t.Context()))
		})
	}
}

// An audience that is disconnected between the claim of a session and its
// attachment: the client receives the earlier events, and DISCONNECT.
func TestOperations_DisconnectDuringRestore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &slowLog{Memory: adapter.NewMemory(nil), proceed: make(chan struct{}, 9)}
		io := newServer(&socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: recovery.NewMemory(log.Memory)}})
		connects := 0
		io.OnConnect(func(context.Context, *socketio.Socket) error { connects++; return nil })
		p := connected(t, io)
		self := io.To(socketio.Room(p.id))
		p.Cut()
		synctest.Wait()
		emit(t, self, "1")
		back := dial(t, io)
		back.pid = p.pid
		log.proceed <- struct{}{}
		back.WriteText("0" + p.ticket())
		back.ReadText() // CONNECT
		synctest.Wait() // in the first part of the replay
		emit(t, self, "2")
		do(t, self.Disconnect(t.Context()))
		emit(t, self, "3")
		close(log.proceed)
		for _, want := range []string{`2["said","1"`, `2["said","2"`, "1"} {
			if text := back.ReadText(); !strings.HasPrefix(text, want) {
				t.Errorf("%q, want %q", text, want)
			}
		}
		synctest.Wait()
		if connects != 1 || back.Waiting() != 0 {
			t.Errorf("%d connects, %d messages waiting", connects, back.Waiting())
		}
		do(t, io.Shutdown(t.Context()))
	})
}

// Random operations, emits, cuts and returns on two nodes; each client must receive
// exactly its events.
func TestOperations_AgreeWithModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			twoNodes(t, func(t *testing.T, _ *second, a, b *socketio.Server) {
				rooms(a)
				rooms(b)
				w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), nodes: []*socketio.Server{a, b}}
				for range 5 {
					w.clients = append(w.clients, &tracked{peer: connected(t, w.node()), rooms: map[string]bool{}})
				}
				for range 400 {
					w.step()
				}
				for _, c := range w.clients {
					w.check(c)
				}
			})
		})
	}
}

type world struct {
	t       *testing.T
	rnd     *rand.Rand
	nodes   []*socketio.Server
	clients []*tracked
	said    int
}

// A tracked is a client with its expected events.
type tracked struct {
	*peer

	rooms map[string]bool
	want  []string // since it was last checked
	away  bool
	over  bool // its session was ended
}

func (w *world) node() *socketio.Server { return w.nodes[w.rnd.IntN(len(w.nodes))] }

func (w *world) room() string { return string("abc"[w.rnd.IntN(3)]) }

// audience returns a random audience and its members.
func (w *world) audience() (socketio.Audience, []*tracked) {
	var in, out []string
	for range w.rnd.IntN(3) {
		in = append(in, w.room())
	}
	if w.rnd.IntN(3) == 0 {
		in = append(in, w.clients[w.rnd.IntN(len(w.clients))].id)
	}
	if w.rnd.IntN(3) == 0 {
		out = append(out, w.room())
	}
	a := w.node().All()
	for _, r := range in {
		a = a.To(socketio.Room(r))
	}
	for _, r := range out {
		a = a.Except(socketio.Room(r))
	}
	var members []*tracked
	rule := adapter.Audience{Rooms: in, Except: out}
	for _, c := range w.clients {
		if !c.over && rule.IncludesFunc(func(r string) bool { return r == c.id || c.rooms[r] }) {
			members = append(members, c)
		}
	}
	return a, members
}

func (w *world) step() {
	w.t.Helper()
	c := w.clients[w.rnd.IntN(len(w.clients))]
	switch n := w.rnd.IntN(100); {
	case n < 40:
		a, members := w.audience()
		w.said++
		emit(w.t, a, fmt.Sprint(w.said))
		for _, m := range members {
			m.want = append(m.want, fmt.Sprint("said ", w.said))
		}
	case n < 55:
		a, members := w.audience()
		room := w.room()
		do(w.t, a.Join(w.t.Context(), socketio.Room(room)))
		for _, m := range members {
			m.rooms[room] = true
		}
	case n < 70:
		a, members := w.audience()
		room := w.room()
		do(w.t, a.Leave(w.t.Context(), socketio.Room(room)))
		for _, m := range members {
			delete(m.rooms, room)
		}
	case n < 72:
		do(w.t, w.node().To(socketio.Room(c.id)).Disconnect(w.t.Context()))
		if !c.over {
			c.over = true
		}
	case n < 85 && !c.away:
		if w.rnd.IntN(2) == 0 && !c.over {
			w.check(c)
		}
		if !c.over {
			c.Cut()
			synctest.Wait()
		}
		c.away = true
	default:
		w.check(c)
	}
	synctest.Wait()
}

// check reconnects the client if it was away, and compares its events.
func (w *world) check(c *tracked) {
	w.t.Helper()
	synctest.Wait()
	if c.over {
		// Its events of the former session do not matter: it is a new client now.
		fresh := connected(w.t, w.node())
		if c.away {
			fresh = c.comeBackUncut(w.node())
		}
		if fresh.id == c.id {
			w.t.Fatal("recovered, though it was disconnected")
		}
		c.peer, c.rooms, c.want, c.away, c.over = fresh, map[string]bool{}, nil, false, false
		return
	}
	if c.away {
		id := c.id
		c.peer, c.away = c.comeBackUncut(w.node()), false
		if c.id != id {
			w.t.Fatal("not recovered")
		}
	}
	c.wantEvents(c.want...)
	c.events, c.want = nil, nil
}
