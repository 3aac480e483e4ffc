// Frameworks serves a Socket.IO server next to a page, through a router of your choice:
// net/http, chi, gin or echo. A server is an http.Handler; the router must pass it every
// method and all paths below its own.
//
//	go run . -router chi
//
// Any middleware of the router works, with two exceptions: timeouts, because a poll stays
// open until there is a message, and a ResponseWriter that cannot be hijacked, as with
// http.TimeoutHandler, because WebSocket needs that. The server compresses polls itself.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pgsocket/socketio"
)

// greeting is the body of the ordinary route of each router.
const greeting = "hello\n"

// Echo answers with its argument.
const Echo socketio.Request[string, string] = "echo"

// newServer is the same for every router; with Postgres it would have an Adapter
// and a Store, see the example chat.
func newServer() *socketio.Server {
	server := socketio.NewServer(nil)
	Echo.On(server, func(_ context.Context, _ *socketio.Socket, text string) (string, error) { return text, nil })
	return server
}

func main() {
	router := flag.String("router", "net/http", "net/http, chi, gin or echo")
	address := flag.String("listen", "127.0.0.1:3000", "where to serve")
	flag.Parse()
	if err := run(*router, *address); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(router, address string) error {
	chat, admin := newServer(), newServer()
	handler, ok := map[string]http.Handler{
		"net/http": netHTTP(chat, admin),
		"chi":      withChi(chat),
		"gin":      withGin(chat),
		"echo":     withEcho(chat),
	}[router]
	if !ok {
		return fmt.Errorf("there is no router %q", router)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	fmt.Println("serving on", listener.Addr())
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() {
		// The clients first: net/http does not close hijacked connections, and waits
		// for polls.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_ = errors.Join(chat.Shutdown(ctx), admin.Shutdown(ctx), server.Close()) // the process ends anyway
	})
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
