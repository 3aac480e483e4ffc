package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/clientbundle"
	"github.com/pgsocket/socketio/pgadapter"
)

// page contains the files for the browser, except the official client.
//
//go:embed page
var page embed.FS

// runNode is one node of the cluster, until ctx ends.
func runNode(ctx context.Context, cfg config) error {
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil)).With(slog.String("on", cfg.node))

	db, err := pgadapter.Open(ctx, cfg.dsn, &pgadapter.Options{
		Schema: cfg.schema, NodeName: cfg.node, Logger: logger, Lease: lease,
	})
	if err != nil {
		return err
	}
	pool, err := pgxpool.New(ctx, cfg.dsn)
	if err != nil {
		return errors.Join(err, db.Close(ctx))
	}
	defer pool.Close()
	c := &chat{posts: counter{pool, cfg.schema}, node: cfg.node, nodes: cfg.nodes, log: logger}
	c.io = socketio.NewServer(&socketio.Options{
		Adapter:  db,
		Recovery: socketio.Recovery{Store: db.Sessions(), OnExpired: c.lost},
		Logger:   logger,
	})
	c.register()

	err = serve(ctx, cfg.node, c.io)

	// First the server, which parks its sessions; then the adapter, which stores
	// them.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(err, c.io.Shutdown(ctx), db.Close(ctx))
}

// serve serves the page and the socket on one address, until ctx ends.
func serve(ctx context.Context, address string, io http.Handler) error {
	files, err := fs.Sub(page, "page")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", clientbundle.Beside(io))
	mux.Handle("/", http.FileServerFS(files))

	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	fmt.Println("ready") // for the parent process
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() }) // the sockets are closed already
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// answers reports whether the node at an address answers HTTP requests. A process that
// was killed or stopped does not.
func answers(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, "http://"+address, http.NoBody)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	return response.Body.Close() == nil
}
