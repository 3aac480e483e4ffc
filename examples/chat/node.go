package main

import (
	"cmp"
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

	return serve(ctx, cfg, c.io, db)
}

// serve serves the page, the socket and the probes until ctx ends, and then shuts down.
func serve(ctx context.Context, cfg config, io *socketio.Server, db *pgadapter.DB) error {
	files, err := fs.Sub(page, "page")
	if err != nil {
		return errors.Join(err, db.Close(ctx))
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", cmp.Or(cfg.listen, cfg.node))
	if err != nil {
		return errors.Join(err, db.Close(ctx))
	}
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", clientbundle.Beside(io))
	mux.Handle("/", http.FileServerFS(files))
	mux.HandleFunc("/livez", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if ctx.Err() != nil {
			http.Error(w, "shutting down", http.StatusServiceUnavailable)
			return
		}
		// Without Postgres too: all nodes share it. If it took all of them out of the
		// balancer, polling clients would lose their connections, which work.
		if err := db.Health(); err != nil {
			fmt.Fprintln(w, "ready, but", err) //nolint:errcheck // the prober is gone
		}
	})
	web := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- web.Serve(listener) }() // ends with web, below
	fmt.Println("ready")                          // for the parent process

	select {
	case <-ctx.Done():
	case err = <-served:
	}
	// First the server, which parks its sessions and ends the open polls; then HTTP,
	// which answers probes meanwhile; then the adapter, which stores the sessions.
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.drain)
	defer cancel()
	return errors.Join(err, io.Shutdown(limit), web.Shutdown(limit), db.Close(limit))
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
