package socketio_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
	"github.com/pgsocket/socketio/transport/transporttest"
)

const online socketio.Presence[string] = "online"

var (
	enter = socketio.Request[[2]string, socketio.None]("enter")
	exit  = socketio.Request[string, socketio.None]("gone")
	watch = socketio.Request[string, socketio.None]("watch")
	avert = socketio.Request[string, socketio.None]("unwatch")
)

// presences lets clients enter rooms with a state, leave and watch them.
func presences(io *socketio.Server) {
	enter.On(io, func(ctx context.Context, s *socketio.Socket, v [2]string) (socketio.None, error) {
		return socketio.None{}, online.Enter(ctx, s, socketio.Room(v[0]), v[1])
	})
	exit.On(io, func(ctx context.Context, s *socketio.Socket, room string) (socketio.None, error) {
		return socketio.None{}, online.Leave(ctx, s, socketio.Room(room))
	})
	watch.On(io, func(ctx context.Context, s *socketio.Socket, room string) (socketio.None, error) {
		return socketio.None{}, online.Watch(ctx, s, socketio.Room(room))
	})
	avert.On(io, func(ctx context.Context, s *socketio.Socket, room string) (socketio.None, error) {
		return socketio.None{}, online.Unwatch(ctx, s, socketio.Room(room))
	})
}

// request makes a request, and keeps the events that come before the answer.
func (p *peer) request(text string) {
	p.t.Helper()
	p.WriteText("27" + text)
	for {
		switch got := p.ReadText(); got {
		case "37[]":
			p.drain()
			return
		default:
			p.event(got)
		}
	}
}

// announced waits until the last changes are announced, and checks all events so far.
func (p *peer) announced(want ...string) {
	p.t.Helper()
	time.Sleep(time.Second)
	p.wantEvents(want...)
	p.events = nil
}

func membersOf(t *testing.T, io *socketio.Server, room socketio.Room) string {
	t.Helper()
	var b strings.Builder
	for m, err := range online.Members(t.Context(), io, room) {
		do(t, err)
		fmt.Fprintf(&b, "%s=%s ", m.ID, m.State)
	}
	return b.String()
}

func TestPresence_EnterUpdateLeave_ListThenChanges(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		presences(io)
		a, w, other := connected(t, io), connected(t, io), connected(t, io)
		other.request(`["watch","blue"]`)
		a.request(`["enter",["red","1"]]`)
		if got := membersOf(t, io, "red"); got != a.id+"=1 " {
			t.Errorf("members %q", got)
		}
		time.Sleep(time.Second)
		w.request(`["watch","red"]`)
		w.wantEvents(fmt.Sprintf("online map[members:[map[id:%s state:1]] part:1 parts:1 room:red version:1]", a.id))
		w.events = nil
		w.request(`["watch","red"]`) // it watches already
		w.request(`["enter",["red","me"]]`)
		w.announced(fmt.Sprintf("online map[entered:[map[id:%s state:me]] room:red version:2]", w.id))
		a.request(`["enter",["red","2"]]`)
		w.announced(fmt.Sprintf("online map[room:red updated:[map[id:%s state:2]] version:3]", a.id))
		a.request(`["enter",["red","2"]]`) // nothing changes
		w.announced()
		a.request(`["gone","red"]`)
		a.request(`["gone","red"]`)
		w.announced(fmt.Sprintf("online map[left:[%s] room:red version:4]", a.id))
		if got := membersOf(t, io, "red"); got != w.id+"=me " {
			t.Errorf("members %q", got)
		}
		other.announced("online map[members:[] part:1 parts:1 room:blue version:0]")
	})
}

// A room that changes all the time is announced ten times a second.
func TestPresence_ManyChanges_FewEvents(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		presences(io)
		a, w := connected(t, io), connected(t, io)
		w.request(`["watch","red"]`)
		w.events = nil
		for i := range 500 {
			a.request(fmt.Sprintf(`["enter",["red","%d"]]`, i))
			time.Sleep(2 * time.Millisecond)
		}
		time.Sleep(time.Second)
		if n := len(w.drain()); n < 9 || n > 12 {
			t.Errorf("%d events in a second", n)
		}
		if last := w.events[len(w.events)-1]; !strings.Contains(last, "state:499") {
			t.Errorf("the last event is %s", last)
		}
	})
}

// A member leaves when its session expires, and not when its connection is lost: a client
// that recovers was never gone.
func TestPresence_ConnectionLost_MemberUntilExpiry(t *testing.T) {
	t.Parallel()
	bubble(t, &socketio.Options{Recovery: socketio.Recovery{Window: time.Minute}}, func(t *testing.T, io *socketio.Server) {
		presences(io)
		a, w := connected(t, io), connected(t, io)
		w.request(`["watch","red"]`)
		w.events = nil
		a.request(`["enter",["red","1"]]`)
		w.announced(fmt.Sprintf("online map[entered:[map[id:%s state:1]] room:red version:1]", a.id))
		a.Cut()
		time.Sleep(50 * time.Second)
		a = a.comeBackUncut(io)
		if got := membersOf(t, io, "red"); got != a.id+"=1 " {
			t.Errorf("members %q", got)
		}
		a.request(`["enter",["red","1"]]`) // as an OnConnect of the application does
		w.announced()
		a.Cut()
		time.Sleep(2 * time.Minute)
		w.announced(fmt.Sprintf("online map[left:[%s] room:red version:2]", a.id))
		if got := membersOf(t, io, "red"); got != "" {
			t.Errorf("members %q", got)
		}
	})
}

func TestPresence_ClientDisconnects_LeavesAtOnce(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		presences(io)
		a, w := connected(t, io), connected(t, io)
		w.request(`["watch","red"]`)
		a.request(`["enter",["red","1"]]`)
		a.request(`["enter",["blue","1"]]`)
		time.Sleep(time.Second)
		w.drain()
		w.events = nil
		a.WriteText("1")
		w.announced(fmt.Sprintf("online map[left:[%s] room:red version:2]", a.id))
		if got := membersOf(t, io, "blue"); got != "" {
			t.Errorf("members %q", got)
		}
	})
}

// Middleware makes clients members and watchers; for a recovered one nothing changes.
func TestPresence_InMiddleware(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		io.Use(func(ctx context.Context, s *socketio.Socket) error {
			return errors.Join(online.Watch(ctx, s, "red"), online.Enter(ctx, s, "red", "early"))
		})
		p := connected(t, io)
		time.Sleep(time.Second)
		events := strings.Join(p.drain(), "; ")
		list, change := "online map[members:[] part:1 parts:1 room:red version:0]", fmt.Sprintf("online map[entered:[map[id:%s state:early]] room:red version:1]", p.id)
		full := fmt.Sprintf("online map[members:[map[id:%s state:early]] part:1 parts:1 room:red version:1]", p.id)
		if events != list+"; "+change && events != full+"; "+change && events != change+"; "+full && events != full {
			t.Errorf("events %s", events)
		}
		back := p.comeBack(io)
		back.announced()
		if state, in := online.State(only(t, io), "red"); !in || state != "early" {
			t.Errorf("state %q, %v", state, in)
		}
		if got := membersOf(t, io, "red"); got != p.id+"=early " {
			t.Errorf("members %q", got)
		}
	})
}

// The parts of a long list have no offset but the last: a client whose connection breaks
// before it receives the list again.
func TestPresence_LongList_Interrupted(t *testing.T) {
	t.Parallel()
	opts := &socketio.Options{Presence: socketio.PresenceLimits{ListMembers: 2}}
	bubble(t, opts, func(t *testing.T, io *socketio.Server) {
		presences(io)
		for i := range 5 {
			connected(t, io).request(fmt.Sprintf(`["enter",["red","%d"]]`, i))
		}
		time.Sleep(time.Second)
		w := connected(t, io)
		w.WriteText(`27["watch","red"]`)
		w.event(w.ReadText())
		w.event(w.ReadText())
		if len(w.events) != 2 || !strings.Contains(w.events[1], "part:2 parts:3") || w.offset != "" {
			t.Fatalf("received %q, offset %q", w.events, w.offset)
		}
		w.Cut()
		w = w.comeBackUncut(io)
		if got := w.drain(); len(got) != 3 || !strings.Contains(got[0], "part:1 parts:3") || !strings.Contains(got[2], "part:3 parts:3") || w.offset == "" {
			t.Errorf("received %q, offset %q", got, w.offset)
		}
		w = w.comeBack(io)
		w.announced()
	})
}

func TestPresence_Refusals(t *testing.T) {
	t.Parallel()
	opts := optOuts()
	opts.Presence, opts.MaxNamespaceBytes = socketio.PresenceLimits{StateBytes: 10, Rooms: 2}, 2000
	bubble(t, opts, func(t *testing.T, io *socketio.Server) {
		connected(t, io)
		s := only(t, io)
		want := func(what string, err, want error) {
			t.Helper()
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", what, err, want)
			}
		}
		ctx := t.Context()
		want("update", online.Update(ctx, s, "red", "x"), socketio.ErrNotPresent)
		want("large state", online.Enter(ctx, s, "red", "0123456789"), socketio.ErrStateSize)
		want("enter", online.Enter(ctx, s, "red", "x"), nil)
		want("update", online.Update(ctx, s, "red", "y"), nil)
		want("enter", online.Enter(ctx, s, "blue", "x"), nil)
		want("third room", online.Enter(ctx, s, "green", "x"), socketio.ErrTooManyRooms)
		want("no room", online.Enter(ctx, s, "", "x"), socketio.ErrRoomName)
		want("long room", online.Watch(ctx, s, socketio.Room(strings.Repeat("r", 250))), socketio.ErrRoomName)
		want("reserved name", socketio.Presence[string]("connect").Watch(ctx, s, "red"), socketio.ErrReserved)
		want("separator", socketio.Presence[string]("a\x1fb").Watch(ctx, s, "red"), socketio.ErrReserved)
		want("room of watchers", s.Join(ctx, "\x1fonline\x1fred"), socketio.ErrReservedRoom)
		want("room of watchers", earlier.Join(ctx, s, "\x1fonline\x1fred", socketio.Past{}), socketio.ErrReservedRoom)

		long := io.Of("/" + strings.Repeat("n", 1000))
		p := dial(t, io)
		p.WriteText("0" + long.Name() + ",")
		p.ReadText()
		for s := range long.Sockets() {
			want("long namespace", online.Enter(ctx, s, "red", "x"), socketio.ErrNoPresence)
			return
		}
		t.Error("not connected to the namespace")
	})
	bubble(t, opts, func(t *testing.T, io *socketio.Server) {
		connected(t, io)
		s := only(t, io)
		do(t, online.Enter(t.Context(), s, "red", "y"))
		time.Sleep(time.Second)
		plain := &peer{Client: transporttest.Dial(t, io, "/socket.io/?EIO=4&transport=websocket&recovery=off"), t: t}
		plain.WriteText("0")
		plain.connects()
		without, _ := io.Socket(socketio.SocketID(plain.id))
		if err := online.Enter(t.Context(), without, "red", "x"); !errors.Is(err, socketio.ErrNoPresence) {
			t.Errorf("opted out: %v", err)
		}
		do(t, online.Watch(t.Context(), without, "red"))
		if got := plain.ReadText(); !strings.Contains(got, `"state":"y"`) {
			t.Errorf("received %s", got)
		}
	})
	bubble(t, &socketio.Options{Recovery: socketio.Recovery{Disabled: true}}, func(t *testing.T, io *socketio.Server) {
		connected(t, io)
		s := only(t, io)
		if err := errors.Join(online.Enter(t.Context(), s, "red", "x"), nil); !errors.Is(err, socketio.ErrNoPresence) {
			t.Errorf("without recovery: %v", err)
		}
		if err := online.Watch(t.Context(), s, "red"); !errors.Is(err, socketio.ErrNoPresence) {
			t.Errorf("without recovery: %v", err)
		}
	})
}

// A slowLists is a store whose lists are known when the test lets them.
type slowLists struct {
	*recovery.Memory
	begun    atomic.Int64
	released chan struct{}
}

func (l *slowLists) Announced(ctx context.Context, t recovery.PresenceTopic) (recovery.PresenceList, error) {
	list, err := l.Memory.Announced(ctx, t)
	l.begun.Add(1)
	<-l.released
	return list, err
}

// Sockets that watch while a list is being read share the next read: what was announced before
// they joined may be missing in the one that runs.
func TestPresence_ListsReadOnceForAllThatWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := adapter.NewMemory(nil)
		store := &slowLists{Memory: recovery.NewMemory(log), released: make(chan struct{})}
		io := newServer(&socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: store}})
		presences(io)
		member, first := connected(t, io), connected(t, io)
		first.WriteText(`27["watch","red"]`)
		synctest.Wait()
		member.request(`["enter",["red","1"]]`)
		time.Sleep(time.Second)
		others := make([]*peer, 5)
		for i := range others {
			others[i] = connected(t, io)
			others[i].WriteText(`27["watch","red"]`)
		}
		synctest.Wait()
		close(store.released)
		synctest.Wait()
		change := fmt.Sprintf("[map[id:%s state:1]]", member.id)
		wants := func(p *peer, want ...string) {
			t.Helper()
			for _, w := range want {
				p.event(p.ReadText())
				if got := p.events[len(p.events)-1]; got != w {
					t.Errorf("got %s, want %s", got, w)
				}
			}
			p.Cut()
		}
		wants(first, "online map[members:[] part:1 parts:1 room:red version:0]", "online map[entered:"+change+" room:red version:1]")
		for _, p := range others {
			wants(p, "online map[members:"+change+" part:1 parts:1 room:red version:1]")
		}
		if n := store.begun.Load(); n != 2 {
			t.Errorf("%d reads for %d watchers", n, 1+len(others))
		}
		do(t, io.Shutdown(t.Context()))
	})
}

// When the log has lost its end, the store may have lost what members have changed and what watchers
// were told. Their connections are cut, so that their clients ask again. Others stay.
func TestPresence_LogLosesItsEnd_MembersAndWatchersAreCut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &losable{}
		store := recovery.NewMemory(adapter.NewMemory(nil))
		io := newServer(&socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: store}})
		presences(io)
		member, watcher, other := connected(t, io), connected(t, io), connected(t, io)
		member.request(`["enter",["red","1"]]`)
		watcher.request(`["watch","red"]`)
		emit(t, io, "lost")
		synctest.Wait()
		log.lose(1)
		synctest.Wait()
		if io.Connections() != 1 || only(t, io).ID() != socketio.SocketID(other.id) {
			t.Errorf("%d connections", io.Connections())
		}
		do(t, io.Shutdown(t.Context()))
	})
}

// An application that goes through the rooms of a socket, for example to emit to each, does not see those of
// watchers.
func TestPresence_RoomsOfWatchers_NotShown(t *testing.T) {
	t.Parallel()
	var expired []socketio.Room
	opts := &socketio.Options{Recovery: socketio.Recovery{OnExpired: func(e *socketio.ExpiredSession) { expired = e.Rooms }}}
	bubble(t, opts, func(t *testing.T, io *socketio.Server) {
		presences(io)
		var changes []socketio.RoomEvent
		io.OnRoom(func(e socketio.RoomEvent) { changes = append(changes, e) })
		var early []socketio.Room
		io.Use(func(ctx context.Context, s *socketio.Socket) error {
			err := errors.Join(s.Join(ctx, "mine"), online.Watch(ctx, s, "red"))
			early = slices.Collect(s.Rooms())
			return err
		})
		w := connected(t, io)
		w.request(`["watch","blue"]`)
		w = w.comeBack(io)
		mine := fmt.Sprint([]string{w.id, "mine"})
		if got := fmt.Sprint(early); got != mine {
			t.Errorf("rooms in middleware %q", got)
		}
		if got := fmt.Sprint(slices.Collect(only(t, io).Rooms())); got != mine {
			t.Errorf("rooms %q", got)
		}
		for s, err := range io.All().Fetch(t.Context()) {
			if got := fmt.Sprint(slices.Collect(s.Rooms())); got != mine || err != nil {
				t.Errorf("rooms fetched %q, %v", got, err)
			}
		}
		w.Cut()
		time.Sleep(time.Hour)
		if got := fmt.Sprint(expired); got != "[mine]" {
			t.Errorf("rooms expired %q", got)
		}
		for _, c := range changes {
			if c.Room != "mine" {
				t.Errorf("change of %q", c.Room)
			}
		}
	})
}
