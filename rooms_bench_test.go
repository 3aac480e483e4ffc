package socketio_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/transport/transporttest"
)

// A socket joins many rooms in one call.
func BenchmarkJoinRooms(b *testing.B) {
	for _, n := range []int{100, 1_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			io := newServer(&socketio.Options{Recovery: socketio.Recovery{Disabled: true}}) // no record that grows with every round
			connected := make(chan *socketio.Socket, 1)
			io.OnConnect(func(_ context.Context, s *socketio.Socket) error { connected <- s; return nil })
			transporttest.Dial(b, io, "/socket.io/?EIO=4&transport=websocket").WriteText("0")
			s := <-connected
			rooms := make([]socketio.Room, n)
			for i := range rooms {
				rooms[i] = socketio.Room(fmt.Sprint("room ", i))
			}
			for b.Loop() {
				if err := s.Join(b.Context(), rooms...); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := s.Leave(b.Context(), rooms...); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}
