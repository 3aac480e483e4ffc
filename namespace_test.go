package socketio_test

import (
	"maps"
	"testing"
	"testing/synctest"

	"github.com/pgsocket/socketio"
)

func TestNamespace_SocketsAndRooms(t *testing.T) {
	t.Parallel()
	twoNodes(t, func(t *testing.T, _ *second, here, there *socketio.Server) {
		rooms(here)
		rooms(there)
		a, b, far := connected(t, here), connected(t, here), connected(t, there)
		a.ask(`["join","both"]`)
		b.ask(`["join","both"]`)
		b.ask(`["join","one"]`)
		far.ask(`["join","both"]`)
		if got, want := maps.Collect(here.Rooms()), map[socketio.Room]int{"both": 2, "one": 1}; !maps.Equal(got, want) {
			t.Errorf("rooms %v, want %v", got, want)
		}
		if s, ok := here.Socket(socketio.SocketID(a.id)); !ok || string(s.ID()) != a.id {
			t.Error("a socket of this node is not found")
		}
		for _, id := range []string{far.id, "nobody", ""} {
			if _, ok := here.Socket(socketio.SocketID(id)); ok {
				t.Errorf("%q is found", id)
			}
		}
		b.Cut()
		synctest.Wait()
		if _, ok := here.Socket(socketio.SocketID(b.id)); ok {
			t.Error("a socket is found that is gone")
		}
		if got, want := maps.Collect(here.Rooms()), map[socketio.Room]int{"both": 1}; !maps.Equal(got, want) {
			t.Errorf("rooms %v, want %v", got, want)
		}
	})
}
