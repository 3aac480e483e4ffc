package socketio_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/transport/transporttest"
)

// inRooms returns a socket that is in n rooms, of a server with recovery.
func inRooms(b *testing.B, n int) *socketio.Socket {
	b.Helper()
	io := newServer(&socketio.Options{MaxRooms: 1 << 20})
	connected := make(chan *socketio.Socket, 1)
	io.OnConnect(func(_ context.Context, s *socketio.Socket) error { connected <- s; return nil })
	transporttest.Dial(b, io, "/socket.io/?EIO=4&transport=websocket").WriteText("0")
	s := <-connected
	rooms := make([]socketio.Room, n)
	for i := range rooms {
		rooms[i] = socketio.Room(fmt.Sprint("room ", i))
	}
	if err := io.To(socketio.Room(s.ID())).Join(b.Context(), rooms...); err != nil {
		b.Fatal(err)
	}
	return s
}

// A socket that is in n rooms joins one more and leaves it.
func BenchmarkJoinInManyRooms(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000, 50_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := inRooms(b, n)
			for b.Loop() {
				if err := s.Join(b.Context(), "one more"); err != nil {
					b.Fatal(err)
				}
				if err := s.Leave(b.Context(), "one more"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A socket that is in n rooms is disconnected, the rooms of another in place.
func BenchmarkDisconnectInManyRooms(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000, 50_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				s := inRooms(b, n)
				b.StartTimer()
				if err := s.Disconnect(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
