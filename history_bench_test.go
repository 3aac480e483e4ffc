package socketio_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/recovery"
	"github.com/pgsocket/socketio/transport/transporttest"
)

// BenchmarkHistory_Join joins rooms with 50 events each, among 100,000 events of other rooms.
func BenchmarkHistory_Join(b *testing.B) {
	const rooms, events = 2000, 50
	log := adapter.NewMemory(&adapter.MemoryOptions{MaxBytes: 256 << 20})
	io := newServer(&socketio.Options{Adapter: log, Recovery: socketio.Recovery{Store: recovery.NewMemory(log)}})
	defer func() { _ = io.Shutdown(context.Background()) }()
	room := func(i int) socketio.Room { return socketio.Room(fmt.Sprint("room ", i)) }
	for range events {
		for i := range rooms {
			if err := said.Emit(b.Context(), io.To(room(i)), "a text of about one hundred bytes, as people write it in chats when they have something to tell others"); err != nil {
				b.Fatal(err)
			}
		}
	}
	join.On(io, func(ctx context.Context, s *socketio.Socket, name string) (socketio.None, error) {
		return socketio.None{}, earlier.Join(ctx, s, socketio.Room(name), socketio.Past{Last: events})
	})
	leave.On(io, func(ctx context.Context, s *socketio.Socket, name string) (socketio.None, error) {
		return socketio.None{}, s.Leave(ctx, socketio.Room(name))
	})
	p := transporttest.Dial(b, io, "/socket.io/?EIO=4&transport=websocket")
	p.WriteText("0")
	p.ReadText()
	i := 0
	for b.Loop() {
		name := string(room(i % rooms))
		i++
		p.WriteText(`21["join","` + name + `"]`)
		if text := p.ReadText(); len(text) < 5000 {
			b.Fatal(text)
		}
		p.ReadText()
		p.WriteText(`22["leave","` + name + `"]`)
		p.ReadText()
	}
}
