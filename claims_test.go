package socketio_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// lateClaims answers the claims of the first claimed session on demand, in any order. The log lets a test do what a log of
// Postgres does by itself.
type lateClaims struct {
	*recovery.Memory

	late    chan chan struct{} // of each claim that is made and not answered
	oneNode bool               // there is no other node to notify
}

func (l *lateClaims) Bind(recovery.Node) error { return nil }

func (l *lateClaims) Resume(ctx context.Context, c recovery.ResumeRequest) (*recovery.Session, error) {
	s, err := l.Memory.Resume(ctx, c)
	if s != nil {
		s.OwnedElsewhere = !l.oneNode
	}
	answer := make(chan struct{})
	l.late <- answer
	<-answer
	return s, err
}

// withLateClaims runs a test in virtual time with two nodes whose claims are answered on demand.
func withLateClaims(t *testing.T, test func(t *testing.T, log *second, store *lateClaims, a, b *socketio.Server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		memory := adapter.NewMemory(nil)
		log := &second{Memory: memory}
		store := &lateClaims{Memory: recovery.NewMemory(memory), late: make(chan chan struct{}, 10)}
		opts := &socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: store}}
		a, b := newServer(opts), newServer(opts)
		test(t, log, store, a, b)
		for _, s := range []*socketio.Server{a, b} {
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}

// claims sends the CONNECT of a returning client, and returns a function that answers its claim.
func (p *peer) claims(server *socketio.Server, store *lateClaims) (back *peer, answer func()) {
	p.t.Helper()
	back = dial(p.t, server)
	back.offset = p.offset
	back.WriteText("0" + p.ticket())
	late := <-store.late
	return back, func() {
		close(late)
		synctest.Wait()
	}
}

// ended expects that the connection was closed without a message before.
func (p *peer) ended(who string) {
	p.t.Helper()
	synctest.Wait()
	if n := p.Waiting(); n != 0 {
		p.t.Errorf("%s: %d messages, the first %q", who, n, p.ReadText())
		return
	}
	if _, got, err := p.ReadMessage(); err == nil {
		p.t.Errorf("%s received %s", who, got)
	}
}

// serves expects that the connection was recovered and receives emitted events.
func (p *peer) serves(server *socketio.Server, id string) {
	p.t.Helper()
	if p.connects(); p.id != id {
		p.t.Error("not recovered")
	}
	emit(p.t, server, "on")
	p.wantEvents("said on")
}

func TestClaim_EvictedBeforeItIsHeld_IsCut(t *testing.T) {
	t.Parallel()
	withLateClaims(t, func(t *testing.T, _ *second, store *lateClaims, a, b *socketio.Server) {
		p := connected(t, a)
		p.Cut()
		synctest.Wait()
		first, answerFirst := p.claims(a, store)
		second, answerSecond := p.claims(b, store)
		answerSecond() // and a reads SessionMoved
		answerFirst()
		first.ended("the first claim")
		second.serves(b, p.id)
	})
}

func TestClaim_OvertakenByAConnectionThatIsGoneAgain_IsCut(t *testing.T) {
	t.Parallel()
	withLateClaims(t, func(t *testing.T, _ *second, store *lateClaims, a, _ *socketio.Server) {
		store.oneNode = true
		p := connected(t, a)
		p.Cut()
		synctest.Wait()
		first, answerFirst := p.claims(a, store)
		second, answerSecond := p.claims(a, store)
		answerSecond()
		second.connects()
		second.Cut()
		synctest.Wait()
		answerFirst() // it would be served, and its session expire
		first.ended("the first claim")
		back, answer := p.claims(a, store)
		answer()
		back.serves(a, p.id)
	})
}

func TestClaim_OfAClientThatLeavesMeanwhile_EndsTheFormerConnection(t *testing.T) {
	t.Parallel()
	withLateClaims(t, func(t *testing.T, _ *second, store *lateClaims, a, b *socketio.Server) {
		p := connected(t, a)
		back, answer := p.claims(b, store)
		back.Cut()
		synctest.Wait()
		answer()
		p.ended("the former connection")
	})
}

// The first of two claims of a node succeeds before the second, whose client is gone by then.
func TestClaim_OvertakenByOneOfAClientThatHasLeft_IsCut(t *testing.T) {
	t.Parallel()
	for name, firstHolds := range map[string]bool{"held before": true, "held after": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			withLateClaims(t, func(t *testing.T, _ *second, store *lateClaims, a, _ *socketio.Server) {
				store.oneNode = true
				p := connected(t, a)
				p.Cut()
				synctest.Wait()
				first, answerFirst := p.claims(a, store)
				second, answerSecond := p.claims(a, store)
				if firstHolds {
					answerFirst()
					first.connects()
				}
				second.Cut()
				synctest.Wait()
				answerSecond()
				if !firstHolds {
					answerFirst()
				}
				first.ended("the first claim")
			})
		})
	}
}

func TestClaim_OvertakenByAnotherOfItsNode_EndsTheFormerConnection(t *testing.T) {
	t.Parallel()
	withLateClaims(t, func(t *testing.T, _ *second, store *lateClaims, a, b *socketio.Server) {
		p := connected(t, a)
		first, answerFirst := p.claims(b, store)
		second, answerSecond := p.claims(b, store)
		answerSecond()
		answerFirst()
		p.ended("the former connection")
		first.ended("the first claim")
		second.serves(b, p.id)
	})
}

func TestClaim_UnderWayWhenItsNodeIsReset_IsCut(t *testing.T) {
	t.Parallel()
	for name, happens := range map[string]func(adapter.Local){
		"reset":  func(l adapter.Local) { l.LogGap(adapter.Offset{}, context.Canceled) },
		"rewind": func(l adapter.Local) { l.LogTruncated(adapter.Offset{}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			withLateClaims(t, func(t *testing.T, log *second, store *lateClaims, a, _ *socketio.Server) {
				p := connected(t, a)
				p.Cut()
				synctest.Wait()
				back, answer := p.claims(a, store)
				happens(log.locals[0])
				answer()
				back.ended("the claim")
				again, answer := p.claims(a, store)
				answer()
				again.serves(a, p.id)
			})
		})
	}
}

// A replay covers the records between two positions, which become invalid once the log has lost its end.
func TestReplay_WhenTheLogLosesItsEnd_IsCut(t *testing.T) {
	t.Parallel()
	for name, parts := range map[string]int{"before CONNECT": 0, "in the first part": 1, "in the last part": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				memory := adapter.NewMemory(nil)
				log := &rewound{slowLog: slowLog{Memory: memory, proceed: make(chan struct{})}}
				io := newServer(&socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: recovery.NewMemory(memory)}})
				p := connected(t, io)
				p.Cut()
				synctest.Wait()
				emit(t, io, "1")
				back := dial(t, io)
				back.WriteText("0" + p.ticket())
				for part := range parts {
					log.proceed <- struct{}{}
					synctest.Wait()
					emit(t, io, string(rune('2'+part))) // for the next part
				}
				synctest.Wait()
				_, head := log.Extent()
				log.local.LogTruncated(log.Offset(head))
				log.proceed <- struct{}{}
				back.closed()
				if err := io.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

type rewound struct {
	slowLog

	local adapter.Local
}

func (r *rewound) Bind(local adapter.Local) (adapter.Offset, error) {
	r.local = local
	return r.Memory.Bind(local)
}

// inTheReplay runs a test in virtual time with a client that has returned as back, at the last part of its replay: the
// socket is attached, and the log yields that part when proceed is closed.
func inTheReplay(t *testing.T, test func(t *testing.T, io *socketio.Server, log *rewound, p, back *peer)) {
	t.Helper()
	memory := adapter.NewMemory(nil)
	log := &rewound{slowLog: slowLog{Memory: memory, proceed: make(chan struct{})}}
	bubble(t, &socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: recovery.NewMemory(memory)}}, func(t *testing.T, io *socketio.Server) {
		log.proceed = make(chan struct{})
		p := connected(t, io)
		p.Cut()
		synctest.Wait()
		emit(t, io, "1")
		back := dial(t, io)
		back.WriteText("0" + p.ticket())
		for _, text := range []string{"2", "3"} { // for the next part
			log.proceed <- struct{}{}
			synctest.Wait()
			emit(t, io, text)
		}
		synctest.Wait()
		test(t, io, log, p, back)
	})
}
