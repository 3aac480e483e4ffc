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

// audiences are forms of one list of rooms.
func audiences(io *socketio.Server, s *socketio.Socket, rooms ...socketio.Room) map[string]socketio.Audience {
	return map[string]socketio.Audience{
		"server":    io.To(rooms...),
		"namespace": io.Of("/").To(rooms...),
		"all":       io.All().To(rooms...),
		"twice":     io.To(rooms...).To(rooms...),
		"except":    io.Except("elsewhere").To(rooms...),
		"local":     io.Local().To(rooms...),
		"volatile":  io.Volatile().To(rooms...),
		"socket":    s.To(rooms...),
		"others":    s.Others().To(rooms...),
	}
}

func TestAudience_EmptyListOfRooms_IsNobody(t *testing.T) {
	t.Parallel()
	ping := socketio.Request[socketio.None, socketio.None]("ping")
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		p := connected(t, io)
		s := only(t, io)
		connected(t, io)
		none := []socketio.Room{}
		for name, a := range audiences(io, s, none...) {
			emit(t, a, name)
			do(t, said.EmitAsync(a, name).Wait(t.Context()))
			do(t, a.Join(t.Context(), "r"))
			do(t, a.Disconnect(t.Context()))
			for from, err := range a.Fetch(t.Context()) {
				t.Errorf("%s: fetched %v, %v", name, from, err)
			}
			for r, err := range ping.CallAll(t.Context(), a, socketio.None{}) {
				t.Errorf("%s: asked %v, %v", name, r, err)
			}
			if e, err := said.Envelope(io.To(none...), ""); err != nil || !e.Audience.IsNobody() {
				t.Errorf("%s: envelope for %v, %v", name, e.Audience, err)
			}
		}
		do(t, io.All().Leave(t.Context(), "r"))
		emit(t, io.To("r"), "to r")
		emit(t, io.To(none...).To(socketio.Room(p.id)), "to one")
		emit(t, io.To(socketio.Room(p.id)).To(none...), "to one again")
		emit(t, io.All(), "to all")
		p.wantEvents("said to one", "said to one again", "said to all")
	})
}

func TestAudience_RoomThatCannotBeJoined_Fails(t *testing.T) {
	t.Parallel()
	ping := socketio.Request[socketio.None, socketio.None]("ping")
	bubble(t, nil, func(t *testing.T, io *socketio.Server) {
		p := connected(t, io)
		s := only(t, io)
		for _, room := range []socketio.Room{"", "a\x00b", "\xff", socketio.Room(strings.Repeat("x", 256))} {
			all := audiences(io, s, "r", room)
			all["alone"] = io.To(room)
			all["excepted"] = io.Except(room)
			for name, a := range all {
				_, wrapped := said.Envelope(a, "")
				if name == "local" {
					wrapped = socketio.ErrRoomName // refused as local already
				}
				for what, err := range map[string]error{
					"emit": said.Emit(t.Context(), a, ""), "async": said.EmitAsync(a, "").Wait(t.Context()), "envelope": wrapped,
					"join": a.Join(t.Context(), "r"), "leave": a.Leave(t.Context(), "r"), "disconnect": a.Disconnect(t.Context()),
				} {
					if !errors.Is(err, socketio.ErrRoomName) {
						t.Errorf("%s %s %.10q: %v", name, what, room, err)
					}
				}
				for _, err := range a.Fetch(t.Context()) {
					if !errors.Is(err, socketio.ErrRoomName) {
						t.Errorf("%s fetch %.10q: %v", name, room, err)
					}
				}
				for _, err := range ping.CallAll(t.Context(), a, socketio.None{}) {
					if !errors.Is(err, socketio.ErrRoomName) {
						t.Errorf("%s call %.10q: %v", name, room, err)
					}
				}
			}
			for what, err := range map[string]error{
				"join": s.Join(t.Context(), room), "leave": s.Leave(t.Context(), room), "all join": io.All().Join(t.Context(), room),
			} {
				if !errors.Is(err, socketio.ErrRoomName) {
					t.Errorf("%s %.10q: %v", what, room, err)
				}
			}
		}
		p.wantEvents()
	})
}

func TestAudience_MoreRoomsThanARecordHolds_Fails(t *testing.T) {
	t.Parallel()
	rooms := make([]socketio.Room, 65_536)
	for i := range rooms {
		rooms[i] = socketio.Room(fmt.Sprint("room ", i))
	}
	e := socketio.NewEmitter(adapter.NewMemory(nil))
	if err := said.Emit(t.Context(), e.To(rooms[1:]...).To(rooms[1:]...), ""); err != nil {
		t.Error(err)
	}
	if err := said.Emit(t.Context(), e.To(rooms...), ""); !errors.Is(err, socketio.ErrTooManyRooms) {
		t.Error(err)
	}
	if err := said.Emit(t.Context(), e.Except(rooms...), ""); !errors.Is(err, socketio.ErrTooManyRooms) {
		t.Error(err)
	}
}

func TestSocketJoin_RoomOfAnotherSocket(t *testing.T) {
	t.Parallel()
	twoNodes(t, func(t *testing.T, _ *second, a, b *socketio.Server) {
		rooms(a)
		victim, other := connected(t, b), connected(t, a)
		if answer := other.ask(`["join","` + victim.id + `"]`); !strings.Contains(answer, "error") {
			t.Errorf("joined: %s", answer)
		}
		s := only(t, a)
		if err := s.Join(t.Context(), "r", socketio.Room(victim.id)); !errors.Is(err, socketio.ErrSocketRoom) {
			t.Errorf("joined: %v", err)
		}
		do(t, s.Join(t.Context(), socketio.Room(s.ID())))
		do(t, s.Join(t.Context(), "customer-orders-2024")) // as long as an id
		emit(t, a.To(socketio.Room(victim.id)), "for one")
		other.wantEvents()
		// By the application.
		do(t, a.To(socketio.Room(other.id)).Join(t.Context(), socketio.Room(victim.id)))
		emit(t, a.To(socketio.Room(victim.id)), "for two")
		other.wantEvents("said for two")
		do(t, s.Leave(t.Context(), socketio.Room(victim.id)))
		emit(t, a.To(socketio.Room(victim.id)), "for one")
		other.wantEvents("said for two")
	})
}

// A client that returns without an offset receives the same events again: live delivery
// and replay agree on the audience.
func TestAudience_LiveAndReplay_Agree(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				io := newServer(nil)
				defer func() { do(t, io.Shutdown(t.Context())) }()
				m := &mixer{rnd: rand.New(rand.NewPCG(seed, 4)), io: io}
				for range 4 {
					m.peers = append(m.peers, connected(t, io))
				}
				for i := range 400 {
					m.step(t, i)
				}
				total := 0
				for i, p := range m.peers {
					live := slices.Clone(p.drain())
					total += len(live)
					p.Cut()
					synctest.Wait()
					p.offset = ""
					back := p.comeBackUncut(io)
					if back.id != p.id {
						t.Fatalf("peer %d was not recovered", i)
					}
					if got := back.drain(); !slices.Equal(got, live) {
						t.Fatalf("peer %d\nlive   %q\nreplay %q", i, live, got)
					}
				}
				if total == 0 {
					t.Error("nothing was delivered")
				}
			})
		})
	}
}

// A mixer performs random operations of an application.
type mixer struct {
	rnd   *rand.Rand
	io    *socketio.Server
	peers []*peer
}

func (m *mixer) socket(t *testing.T) *socketio.Socket {
	t.Helper()
	s, ok := m.io.Socket(socketio.SocketID(m.peers[m.rnd.IntN(len(m.peers))].id))
	if !ok {
		t.Fatal("no such socket")
	}
	return s
}

// rooms returns up to three rooms, ids of sockets among them; there are enough rooms
// for an index.
func (m *mixer) rooms() []socketio.Room {
	var rooms []socketio.Room
	for range m.rnd.IntN(4) {
		if m.rnd.IntN(4) == 0 {
			rooms = append(rooms, socketio.Room(m.peers[m.rnd.IntN(len(m.peers))].id))
		} else {
			rooms = append(rooms, socketio.Room(fmt.Sprint("room ", m.rnd.IntN(60))))
		}
	}
	return rooms
}

func (m *mixer) audience(t *testing.T) socketio.Audience {
	t.Helper()
	a := m.io.All()
	if m.rnd.IntN(4) == 0 {
		a = m.socket(t).Others()
	}
	if m.rnd.IntN(3) > 0 {
		a = a.To(m.rooms()...)
	}
	if m.rnd.IntN(2) == 0 {
		a = a.Except(m.rooms()...)
	}
	return a
}

func (m *mixer) step(t *testing.T, i int) {
	t.Helper()
	ctx := t.Context()
	own := func(r socketio.Room) bool { return !strings.HasPrefix(string(r), "room ") }
	change := [...]func(context.Context, ...socketio.Room) error{
		m.socket(t).Join, m.socket(t).Leave, m.audience(t).Join, m.audience(t).Leave, m.audience(t).Local().Join,
	}
	switch n := m.rnd.IntN(10); n {
	case 0:
		do(t, change[0](ctx, slices.DeleteFunc(m.rooms(), own)...))
	case 1, 2, 3:
		do(t, change[n](ctx, m.rooms()...))
	case 4:
		many := make([]socketio.Room, 40)
		for k := range many {
			many[k] = socketio.Room(fmt.Sprint("room ", m.rnd.IntN(60)))
		}
		do(t, change[m.rnd.IntN(len(change))](ctx, many...))
	default:
		emit(t, m.audience(t), fmt.Sprint(i))
	}
}

// Records of other programs in the log have invalid room names.
func TestAudience_EmptyNameInTheLog_IsNoRoom(t *testing.T) {
	t.Parallel()
	log := adapter.NewMemory(nil)
	bubble(t, &socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: recovery.NewMemory(log)}}, func(t *testing.T, io *socketio.Server) {
		p := connected(t, io)
		for i, a := range []adapter.Audience{
			{Except: []string{""}}, {Rooms: []string{""}}, {Rooms: []string{"", p.id}}, {Rooms: []string{p.id}, Except: []string{""}}, adapter.Nobody(),
		} {
			payload := []byte(fmt.Sprintf(`["said","%d"]`, i))
			if _, err := log.Publish(t.Context(), &adapter.Envelope{Namespace: "/", Audience: a, Payload: payload}); err != nil {
				t.Fatal(err)
			}
		}
		p.wantEvents("said 0", "said 2", "said 3")
		p.offset = ""
		p.Cut()
		synctest.Wait()
		p = p.comeBackUncut(io)
		p.wantEvents("said 0", "said 2", "said 3")
	})
}
