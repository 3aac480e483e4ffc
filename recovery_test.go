package socketio_test

import (
	"context"
	"encoding/json"
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

func TestRecovery_MissedEvents_OnceAndInOrder(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		rooms(io)
		p := connected(t, io)
		p.ask(`["join","red"]`)
		p.ask(`["join","gone"]`)
		emit(t, io.To("red"), "1")
		emit(t, io, "2")
		p.ask2(`["leave","gone"]`)
		p.drain()
		p.Cut()
		synctest.Wait()
		emit(t, io.To("red"), "3")
		emit(t, io.To("blue"), "not joined")
		emit(t, io.To("gone"), "left")
		emit(t, io.To(socketio.Room(p.id)), "4")
		emit(t, io.Except("red"), "not for red")
		emit(t, io, "5")
		emit(t, io.Volatile(), "volatile")
		emit(t, io.Local(), "local")
		back := p.comeBackUncut(io)
		emit(t, io.To("red"), "6")
		if back.id != p.id || back.pid != p.pid {
			t.Errorf("came back as %s, was %s", back.id, p.id)
		}
		back.wantEvents("said 3", "said 4", "said 5", "said 6")
		s := only(t, io)
		if r := s.Recovery(); !r.Recovered || r.Replayed != 3 || r.Reason != nil {
			t.Errorf("result %+v", r)
		}
		if got := fmt.Sprint(slices.Collect(s.Rooms())); got != fmt.Sprintf("[%s red]", p.id) {
			t.Errorf("rooms %s", got)
		}
	})
}

// ask2 is ask for a peer with events in transit.
func (p *peer) ask2(text string) {
	p.t.Helper()
	p.drain()
	p.ask(text)
}

func TestRecovery_ClientWithoutOffset(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		emit(t, io, "before")
		p := connected(t, io)
		p.Cut()
		emit(t, io, "1")
		back := p.comeBackUncut(io)
		back.wantEvents("said 1")
		back.offset = "" // it was lost in transit again
		again := back.comeBackUncut(io)
		again.wantEvents("said 1")
	})
}

func TestRecovery_TenCutsInARow(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		p := connected(t, io)
		var got, want []string
		for i := range 10 {
			emit(t, io, fmt.Sprint(i, "live"))
			got = append(got, p.drain()...)
			p.Cut()
			emit(t, io, fmt.Sprint(i, "missed"))
			want = append(want, fmt.Sprint("said ", i, "live"), fmt.Sprint("said ", i, "missed"))
			p = p.comeBackUncut(io)
		}
		if got = append(got, p.drain()...); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestRecovery_CutDuringReplay_Continues(t *testing.T) {
	t.Parallel()
	bubble(t, &socketio.Options{QueueMessages: 64}, func(t *testing.T, io *socketio.Server) {
		p := connected(t, io)
		p.Cut()
		var want []string
		for i := range 5000 {
			emit(t, io, fmt.Sprint(i))
			want = append(want, fmt.Sprint("said ", i))
		}
		var got []string
		for cuts := 0; len(got) < len(want); cuts++ {
			back := dial(t, io)
			back.offset, back.pid = p.offset, p.pid
			back.WriteText("0" + p.ticket())
			if text := back.ReadText(); !strings.HasPrefix(text, "0") {
				t.Fatalf("CONNECT comes first, got %s", text)
			}
			for range 700 { // reads a part and leaves
				if len(got) == len(want) {
					break
				}
				var args []string
				if err := json.Unmarshal([]byte(back.ReadText()[1:]), &args); err != nil {
					t.Fatal(err)
				}
				got = append(got, args[0]+" "+args[1])
				p.offset = args[2]
			}
			back.Cut()
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Error("a replay that was cut lost, doubled or reordered events")
		}
	})
}

func TestRecovery_OldConnectionStillOpen_IsDropped(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		rooms(io)
		p := connected(t, io)
		p.ask(`["join","red"]`)
		p.SetPongs(false) // half-open: the client is gone, and the server has not noticed
		back := p.comeBackUncut(io)
		if back.id != p.id {
			t.Fatal("not recovered")
		}
		p.closed()
		s := only(t, io)
		time.Sleep(5 * time.Minute) // long after the old connection would have timed out
		emit(t, io.To("red"), "1")
		back.wantEvents("said 1")
		if s.Context().Err() != nil {
			t.Errorf("the new socket went with the old one: %v", context.Cause(s.Context()))
		}
	})
}

func TestRecovery_RefusalReasons(t *testing.T) {
	t.Parallel()
	other := adapter.NewMemory(nil)
	ahead := func(o string, by adapter.Position) string {
		p, err := adapter.ParseOffset(o)
		if err != nil {
			t.Fatal(err)
		}
		p.Position += by
		return p.String()
	}
	for want, change := range map[error]func(p *peer){
		recovery.ErrUnknown:   func(p *peer) { p.pid = "x\x00\xff" },
		recovery.ErrForeign:   func(p *peer) { p.offset = other.Offset(1).String() },
		recovery.ErrAhead:     func(p *peer) { p.offset = ahead(p.offset, 100) },
		recovery.ErrMalformed: func(p *peer) { p.offset = "volatile text" },
		recovery.ErrEarly:     func(p *peer) { p.offset = ahead(p.events[len(p.events)-1], 0) },
		recovery.ErrExpired:   func(*peer) { time.Sleep(3 * time.Minute) },
		recovery.ErrTrimmed:   func(*peer) { time.Sleep(6 * time.Minute) },
	} {
		t.Run(want.Error(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				log := adapter.NewMemory(nil)
				window, store := 2*time.Minute, recovery.Store(recovery.NewMemory(log))
				if want == recovery.ErrTrimmed { //nolint:errorlint // a key of the table
					window = time.Hour
					store = struct{ recovery.Store }{store} // does not tell that the log keeps less
				}
				io := newServer(&socketio.Options{Adapter: log, Recovery: socketio.Recovery{
					Store: store, Window: window,
				}})
				emit(t, io, "before")
				emit(t, io, "before")
				early := log.Offset(1).String()
				p := connected(t, io)
				emit(t, io, "1")
				emit(t, io, "2")
				p.drain()
				p.Cut()
				synctest.Wait()
				emit(t, io, "3")
				p.events = append(p.events, early)
				change(p)
				emit(t, io, "4") // lets the log trim
				back := p.comeBackUncut(io)
				s := only(t, io)
				reason := s.Recovery().Reason
				if want == recovery.ErrExpired && errors.Is(reason, recovery.ErrUnknown) { //nolint:errorlint // a key of the table
					reason = recovery.ErrExpired // it has been removed already
				}
				if s.Recovered() || !errors.Is(reason, want) {
					t.Errorf("result %+v, want %v", s.Recovery(), want)
				}
				if back.id == p.id || back.pid == p.pid {
					t.Error("a client that was not recovered must get new ids")
				}
				emit(t, io, "new")
				back.wantEvents("said new")
				if err := io.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// The official client keeps the offset of its old session until the first event
// of the new one.
func TestRecovery_OffsetOfTheFormerSession(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		p := connected(t, io)
		emit(t, io, "old")
		p.drain()
		p.pid = "unknown"
		second := p.comeBack(io)
		second.Cut()
		emit(t, io, "1")
		third := second.comeBackUncut(io)
		if third.id != second.id {
			t.Fatal("not recovered")
		}
		third.wantEvents("said 1")
	})
}

func TestRecovery_IdleClientLongerThanRetention(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]bool{"after one event": true, "before its first event": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, nil, func(t *testing.T, io *socketio.Server) {
				p := connected(t, io)
				if first {
					emit(t, io, "1")
					p.drain()
				}
				time.Sleep(20 * time.Minute)
				emit(t, io.To("others"), "trims the log")
				p.Cut()
				synctest.Wait()
				time.Sleep(time.Minute)
				emit(t, io, "2")
				back := p.comeBackUncut(io)
				back.wantEvents("said 2")
				if back.id != p.id {
					t.Error("not recovered")
				}
			})
		})
	}
}

func TestRecovery_LocalAndVolatileEvents_KeepTheOffset(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		p := connected(t, io)
		emit(t, io.Local(), "before any record")
		p.drain()
		if p.offset == "" {
			t.Fatal("a local event without an offset would put its own text in the offset's place")
		}
		p = p.comeBack(io)
		emit(t, io, "1")
		emit(t, io.Local(), "local")
		synctest.Wait()
		emit(t, io.Volatile(), "volatile")
		p.drain()
		p.Cut()
		emit(t, io, "2")
		back := p.comeBackUncut(io)
		back.wantEvents("said 2")
	})
}

func TestRecovery_Data(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		p := connected(t, io)
		s := only(t, io)
		if err := errors.Join(mood.Set(t.Context(), s, "good"), socketio.Data[int]("n").Set(t.Context(), s, 3),
			mood.Set(t.Context(), s, "bad"), socketio.Data[int]("n").Delete(t.Context(), s)); err != nil {
			t.Fatal(err)
		}
		p.comeBack(io)
		s = only(t, io)
		if got, ok := mood.Get(s); got != "bad" || !ok {
			t.Errorf("data %q, %t", got, ok)
		}
		if _, ok := socketio.Data[int]("n").Get(s); ok {
			t.Error("deleted data was recovered")
		}
		if _, ok := socketio.Data[int]("mood").Get(s); ok {
			t.Error("data of another type")
		}
	})
}

func TestRecovery_MiddlewaresRunBeforeReplay(t *testing.T) {
	t.Parallel()
	for name, skip := range map[string]bool{"asked again": false, "skipped": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, &socketio.Options{Recovery: socketio.Recovery{SkipMiddlewares: skip}}, func(t *testing.T, io *socketio.Server) {
				var banned bool
				io.Use(func(_ context.Context, s *socketio.Socket) error {
					if banned && !s.Recovered() {
						t.Error("the middleware does not see that the socket was recovered")
					}
					if banned {
						return &socketio.Error{Code: "banned"}
					}
					return nil
				})
				p := connected(t, io)
				p.Cut()
				banned = true
				emit(t, io, "secret")
				if skip {
					p.comeBackUncut(io).wantEvents("said secret")
					return
				}
				back := dial(t, io)
				back.WriteText("0" + p.ticket())
				if got := back.ReadText(); got != `4{"message":"banned","data":{"code":"banned"}}` {
					t.Errorf("answer %s", got)
				}
				banned = false
				later := p.comeBackUncut(io)
				if later.id == p.id {
					t.Error("a refused session was recovered")
				}
				later.wantEvents()
			})
		})
	}
}

// Middleware may start a goroutine that joins rooms at any time: also while the session is being written.
func TestRecovery_JoinWhileOpening(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := adapter.NewMemory(nil)
		store := &blockingStore{Memory: recovery.NewMemory(log), open: make(chan struct{})}
		io := newServer(&socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: store}})
		asked := make(chan *socketio.Socket, 2)
		io.Use(func(_ context.Context, s *socketio.Socket) error {
			asked <- s
			return nil
		})
		p, impatient := dial(t, io), dial(t, io)
		p.WriteText("0")
		s := <-asked
		impatient.WriteText("0")
		synctest.Wait()
		if err := s.Join(t.Context(), "late"); err != nil {
			t.Error(err)
		}
		impatient.Cut()
		synctest.Wait()
		close(store.open)
		p.connects()
		p.Cut()
		synctest.Wait()
		emit(t, io.To("late"), "to the room")
		p.comeBackUncut(io).wantEvents("said to the room")
		if err := io.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		if n := io.Stats().Expired; n != 1 {
			t.Errorf("%d sessions have expired; a client without an answer to CONNECT has none", n)
		}
	})
}

func TestRecovery_OnExpired_Once(t *testing.T) {
	t.Parallel()
	var expired []string
	opts := &socketio.Options{Recovery: socketio.Recovery{OnExpired: func(e *socketio.ExpiredSession) {
		who, _ := mood.From(e)
		expired = append(expired, fmt.Sprint(e.ID, e.Namespace, e.Rooms, who))
	}}}
	bubble(t, opts, func(t *testing.T, io *socketio.Server) {
		rooms(io)
		p := connected(t, io)
		if err := mood.Set(t.Context(), only(t, io), "bored"); err != nil {
			t.Fatal(err)
		}
		left := connected(t, io)
		p.ask(`["join","red"]`)
		left.WriteText("1")
		p.Cut()
		time.Sleep(time.Hour)
		synctest.Wait()
		if want := fmt.Sprintf("[%s/[red]bored]", p.id); fmt.Sprint(expired) != want {
			t.Errorf("got %v, want %s", expired, want)
		}
	})
}

func TestRecovery_ShutdownParksSessions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := adapter.NewMemory(nil)
		node := &second{Memory: log}
		store := recovery.NewMemory(log)
		first := newServer(&socketio.Options{Adapter: node, Recovery: socketio.Recovery{Store: &unbound{store}}})
		next := newServer(&socketio.Options{Adapter: node, Recovery: socketio.Recovery{Store: &unbound{store}}})
		p := connected(t, first)
		emit(t, first, "1")
		p.drain()
		if err := first.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.closed()
		emit(t, next, "2")
		back := p.comeBackUncut(next)
		back.wantEvents("said 2")
		if err := next.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// A node that is behind the client's former node must catch up before it attaches the
// socket: otherwise it would deliver events again.
func TestRecovery_NodeBehindTheClient_Waits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := adapter.NewMemory(nil)
		node := &second{Memory: log}
		store := recovery.NewMemory(log)
		ahead := newServer(&socketio.Options{Adapter: node, Recovery: socketio.Recovery{Store: &unbound{store}}})
		rooms(ahead)
		behind := newServer(&socketio.Options{Adapter: node, Recovery: socketio.Recovery{Store: &unbound{store}}})
		node.lag.Store(true)
		p := connected(t, ahead)
		emit(t, ahead.To("late"), "before the room was joined")
		emit(t, ahead, "1")
		p.ask2(`["join","late"]`)
		p.drain()
		back := dial(t, behind)
		back.offset, back.pid = p.offset, p.pid
		back.WriteText("0" + p.ticket())
		time.Sleep(time.Second)
		synctest.Wait()
		if n := back.Waiting(); n != 0 {
			t.Errorf("%d messages from a node that is behind", n)
		}
		node.catchUp()
		if text := back.ReadText(); !strings.HasPrefix(text, "0") {
			t.Fatal(text)
		}
		emit(t, ahead.To("late"), "2")
		synctest.Wait()
		node.catchUp()
		back.wantEvents("said 2")
		// The former owner drops the socket when it reads SessionMoved in the log.
		p.closed()
		for _, s := range []*socketio.Server{ahead, behind} {
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestRecovery_LogGap_CutsAllConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := adapter.NewMemory(nil)
		node := &second{Memory: log}
		io := newServer(&socketio.Options{Adapter: node, Recovery: socketio.Recovery{Store: recovery.NewMemory(log)}})
		var reason socketio.Reason
		io.OnDisconnect(func(_ *socketio.Socket, r socketio.Reason) { reason = r })
		p := connected(t, io)
		emit(t, io, "1")
		p.drain()
		node.locals[0].LogGap(log.Offset(1), errors.New("frozen"))
		p.closed()
		synctest.Wait()
		if reason != socketio.ReasonNodeReset {
			t.Errorf("reason %q", reason)
		}
		emit(t, io, "2")
		p.comeBackUncut(io).wantEvents("said 2")
		if err := io.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Events that a replay has not sent yet must not count as delivered, or a client whose
// node dies at that moment would never receive them.
func TestRecovery_CheckpointDuringReplay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &slowLog{Memory: adapter.NewMemory(nil), proceed: make(chan struct{}, 2)}
		store := &watched{Memory: recovery.NewMemory(log.Memory)}
		io := newServer(&socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: store}})
		p := connected(t, io)
		p.Cut()
		synctest.Wait()
		emit(t, io, "1")
		back := dial(t, io)
		back.pid = p.pid
		log.proceed <- struct{}{} // to see what operations did to the session
		back.WriteText("0" + p.ticket())
		back.ReadText() // CONNECT
		synctest.Wait() // in the first part of the replay
		emit(t, io, "2")
		log.proceed <- struct{}{}
		synctest.Wait() // attached, and in the last part
		if _, progress := store.node.Checkpoint(0); len(progress) != 0 {
			t.Errorf("progress %+v before the replay was over", progress)
		}
		log.proceed <- struct{}{}
		back.wantEvents("said 1", "said 2")
		if _, progress := store.node.Checkpoint(0); len(progress) != 1 || !progress[0].Busy {
			t.Errorf("progress %+v after the replay", progress)
		}
		for range 2 { // of a store that may have lost them
			_, progress := store.node.Checkpoint(recovery.All)
			if len(progress) != 1 || progress[0].Busy || progress[0].Last.String() != back.offset {
				t.Errorf("progress %+v anew", progress)
			}
		}
		if err := io.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A client connects to the same node twice, and the second claim is answered first. The server cannot know which
// connection is alive: it closes the first one without creating a new session.
func TestRecovery_SupersededClaim_IsCut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := adapter.NewMemory(nil)
		store := &slowClaims{Memory: recovery.NewMemory(log), slow: make(chan struct{})}
		io := newServer(&socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: store}})
		p := connected(t, io)
		p.Cut()
		synctest.Wait()
		first, second := dial(t, io), dial(t, io)
		first.WriteText("0" + p.ticket())
		synctest.Wait()
		second.WriteText("0" + p.ticket())
		second.connects()
		if second.id != p.id {
			t.Error("the second connection was not recovered")
		}
		close(store.slow)
		if _, got, err := first.ReadMessage(); err == nil {
			t.Errorf("the first connection received %s", got)
		}
		emit(t, io, "on")
		second.wantEvents("said on")
		if err := io.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// slowClaims is a store whose first claim is answered late.
type slowClaims struct {
	*recovery.Memory

	claims atomic.Int64
	slow   chan struct{}
}

func (c *slowClaims) Resume(ctx context.Context, claim recovery.ResumeRequest) (*recovery.Session, error) {
	s, err := c.Memory.Resume(ctx, claim)
	if c.claims.Add(1) == 1 {
		<-c.slow
	}
	return s, err
}

// slowLog reads on demand.
type slowLog struct {
	*adapter.Memory

	proceed chan struct{}
}

func (l *slowLog) Read(ctx context.Context, from, to adapter.Position) iter.Seq2[[]adapter.Delivery, error] {
	if from < to {
		<-l.proceed
	}
	return l.Memory.Read(ctx, from, to)
}

// watched is a store that exposes its node.
type watched struct {
	*recovery.Memory

	node recovery.Node
}

func (w *watched) Bind(n recovery.Node) error {
	w.node = n
	return w.Memory.Bind(n)
}

// The last event before the connection died was lost, and the one before that is
// trimmed: the log still has all that the client missed.
func TestRecovery_IdleClientOnDeadConnection(t *testing.T) {
	t.Parallel()
	for name, back := range map[string]time.Duration{"back before it is noticed": 0, "back after the ping timeout": time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, nil, func(t *testing.T, io *socketio.Server) {
				p := connected(t, io)
				emit(t, io, "1")
				p.drain()
				time.Sleep(20 * time.Minute)
				p.SetPongs(false)
				p.Pause()
				emit(t, io, "2")
				time.Sleep(back)
				emit(t, io, "3")
				again := p.comeBackUncut(io)
				again.wantEvents("said 2", "said 3")
				if again.id != p.id {
					t.Errorf("not recovered: %v", only(t, io).Recovery().Reason)
				}
			})
		})
	}
}
