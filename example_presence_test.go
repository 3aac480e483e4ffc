package socketio_test

import (
	"context"
	"fmt"

	"github.com/pgsocket/socketio"
)

// Clients see who is in the lobby: they enter and watch it when they connect.
func ExamplePresence() {
	type User struct {
		Name string `json:"name"`
	}
	const Online socketio.Presence[User] = "presence"

	io := socketio.NewServer(nil)
	defer func() { _ = io.Shutdown(context.Background()) }()

	io.OnConnect(func(ctx context.Context, s *socketio.Socket) error { // also for a recovered socket: then nothing changes
		if err := Online.Watch(ctx, s, "lobby"); err != nil {
			return err
		}
		return Online.Enter(ctx, s, "lobby", User{Name: "Ann"})
	})

	for m, err := range Online.Members(context.Background(), io, "lobby") {
		fmt.Println(m.State.Name, err)
	}
	fmt.Println("nobody else")
	// Output: nobody else
}
