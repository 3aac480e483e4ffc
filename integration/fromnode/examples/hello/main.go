// Command hello is the first steps of the tutorial; the same server in Node is integration/js/fromnode/hello.mjs.
package main

import (
	"cmp"
	"context"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/pgsocket/socketio"
)

const (
	Message socketio.Event[string] = "chat message"
	Typing  socketio.Event[string] = "typing"
)

func main() {
	io := socketio.NewServer(nil) // in memory

	io.OnConnect(func(context.Context, *socketio.Socket) error {
		log.Print("a user connected")
		return nil
	})
	Message.On(io, func(ctx context.Context, _ *socketio.Socket, msg string) error {
		return Message.Publish(ctx, io, msg)
	})
	Typing.On(io, func(ctx context.Context, s *socketio.Socket, name string) error {
		return Typing.Publish(ctx, s.Others(), name)
	})
	io.OnDisconnect(func(*socketio.Socket, socketio.Reason) {
		log.Print("user disconnected")
	})

	http.Handle("/socket.io/", io)
	web := &http.Server{Addr: "127.0.0.1:" + cmp.Or(os.Getenv("PORT"), "3000"), ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(web.ListenAndServe())
}
