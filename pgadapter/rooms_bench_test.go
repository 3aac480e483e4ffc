package pgadapter

import (
	"fmt"
	"testing"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
)

// A session in n rooms joins one more and leaves it.
func BenchmarkRoomsOfASession(b *testing.B) {
	for _, n := range []int{10, 1000, 50_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			db := newBench(b).open(b, nil)
			s := session("p")
			for i := range n {
				s.Rooms = append(s.Rooms, recovery.RoomInterval{Room: fmt.Sprint("room ", i), Joined: 1})
			}
			store := db.Sessions()
			if err := store.Open(s).Wait(b.Context()); err != nil {
				b.Fatal(err)
			}
			at := adapter.Position(2)
			for b.Loop() {
				for _, c := range []recovery.Change{{At: at, Join: []string{"one more"}}, {At: at + 1, Leave: []string{"one more"}}} {
					if err := store.Change(s.Key, c).Wait(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
				at += 2
			}
		})
	}
}
