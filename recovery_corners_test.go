package socketio_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// A room that is joined and left before anything was emitted: at the position before the first.
func TestRecovery_RoomLeftBeforeTheFirstEmit_IsNotHeld(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		rooms(io)
		p := connected(t, io)
		p.ask(`["join","red"]`)
		p.ask(`["leave","red"]`)
		p.Cut()
		synctest.Wait()
		emit(t, io.To("red"), "not for it")
		back := p.comeBackUncut(io)
		back.wantEvents()
		s := only(t, io)
		if got := fmt.Sprint(slices.Collect(s.Rooms())); !s.Recovered() || got != fmt.Sprintf("[%s]", p.id) {
			t.Errorf("recovered %v with rooms %s", s.Recovered(), got)
		}
	})
}

// Events that were emitted before a disconnection that is not in the log precede it, also in
// the last part of a replay.
func TestRecovery_LocalDisconnectDuringTheReplay_EventsBeforeItArrive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &slowLog{Memory: adapter.NewMemory(nil), proceed: make(chan struct{}, 9)}
		io := newServer(&socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: recovery.NewMemory(log.Memory)}})
		p := connected(t, io)
		p.Cut()
		synctest.Wait()
		emit(t, io, "1")
		back := dial(t, io)
		back.pid = p.pid
		log.proceed <- struct{}{} // caught up
		back.WriteText("0" + p.ticket())
		back.ReadText() // CONNECT
		synctest.Wait() // in the first part of the replay
		emit(t, io, "2")
		log.proceed <- struct{}{} // in the last part
		synctest.Wait()
		do(t, io.Local().Disconnect(t.Context()))
		close(log.proceed)
		for _, want := range []string{`2["said","1"`, `2["said","2"`, "1"} {
			if text := back.ReadText(); !strings.HasPrefix(text, want) {
				t.Errorf("%q, want %q", text, want)
			}
		}
		do(t, io.Shutdown(t.Context()))
	})
}

// A quiet client, whose offset is trimmed, is cut before it receives what it missed, any
// number of times.
func TestRecovery_QuietClientCutInTheReplay_AgainAndAgain(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		p := connected(t, io)
		emit(t, io, "0")
		p.drain()
		for range 30 { // of events for others, not for this client
			time.Sleep(time.Minute)
			emit(t, io.To("others"), "x")
		}
		p.Cut()
		synctest.Wait()
		want := []string{}
		for i := range 5 {
			emit(t, io, fmt.Sprint(i+1))
			want = append(want, fmt.Sprint("said ", i+1))
			back := dial(t, io)
			back.WriteText("0" + p.ticket())
			back.connects()
			synctest.Wait()
			if r := only(t, io).Recovery(); !r.Recovered {
				t.Fatalf("return %d: %v", i+1, r.Reason)
			}
			back.Cut() // before it has processed anything
			synctest.Wait()
		}
		p.comeBackUncut(io).wantEvents(want...)
	})
}

// An empty private id matches no session, and a missing one is no request to recover.
func TestRecovery_EmptyPrivateID_IsUnknown(t *testing.T) {
	t.Parallel()
	for auth, want := range map[string]error{
		`{"pid":""}`: recovery.ErrUnknown, `{"pid":"x"}`: recovery.ErrUnknown, `{"pid":null}`: nil, `{"pid":7}`: nil, `{}`: nil, ``: nil,
	} {
		bubble(t, nil, func(t *testing.T, io *socketio.Server) {
			p := dial(t, io)
			p.connect(auth)
			if r := only(t, io).Recovery(); !errors.Is(r.Reason, want) || r.Recovered {
				t.Errorf("%s: %+v, want %v", auth, r, want)
			}
		})
	}
}
