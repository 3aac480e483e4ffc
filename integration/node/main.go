// Node is one node of a cluster under test: a Socket.IO server on Postgres, or in memory without -dsn, that accepts
// commands over HTTP.
//
// It prints one line of JSON when it serves, {"addr":"127.0.0.1:40123"}, logs to its standard error, and shuts down
// cleanly when its standard input ends or on SIGTERM.
package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	_ "net/http/pprof" // for goroutines and profiles
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/pgadapter"
	"github.com/pgsocket/socketio/recovery"
)

type config struct {
	name, listen, dsn, listenDSN, schema string
	retention, lease, window             time.Duration
	pingInterval, pingTimeout            time.Duration
	tailBytes, queueEvents, queueBytes   int
	connectsAtOnce                       int
	skipMiddlewares, debug, probe        bool
	middlewareFails                      int
	orders                               string
}

func parseFlags() *config {
	c := &config{}
	flag.StringVar(&c.name, "name", "node", "the name of the node in answers and in Postgres")
	flag.StringVar(&c.listen, "listen", "127.0.0.1:0", "where to serve")
	flag.StringVar(&c.dsn, "dsn", "", "the address of Postgres; without it the node keeps everything in memory")
	flag.StringVar(&c.listenDSN, "listen-dsn", "", "the address for the connection that listens; default: as -dsn")
	flag.StringVar(&c.schema, "schema", "socketio", "the schema of the cluster")
	flag.DurationVar(&c.retention, "retention", 0, "how long events are kept")
	flag.DurationVar(&c.lease, "lease", 0, "the lease of a node")
	flag.DurationVar(&c.window, "window", 0, "the recovery window")
	flag.DurationVar(&c.pingInterval, "ping-interval", 0, "the time between two heartbeats")
	flag.DurationVar(&c.pingTimeout, "ping-timeout", 0, "how long a client has to answer one")
	flag.IntVar(&c.tailBytes, "tail-bytes", 0, "the memory for recent events")
	flag.IntVar(&c.queueEvents, "queue-events", 0, "how many events may wait to be appended")
	flag.IntVar(&c.queueBytes, "queue-bytes", 0, "how many bytes may wait to be written to one connection")
	flag.IntVar(&c.connectsAtOnce, "connects-at-once", 0, "how many sockets may be connected at a time")
	flag.BoolVar(&c.skipMiddlewares, "skip-middlewares", false, "skip middlewares for recovered sockets")
	flag.BoolVar(&c.probe, "probe", false, "send probes to every socket, and compare the acknowledgements")
	flag.IntVar(&c.middlewareFails, "middleware-fails", 0, "percentage of connections that fail in a middleware")
	flag.StringVar(&c.orders, "orders", "", "take orders: once, or with a fault: separate, unkeyed; see orders.go")
	flag.BoolVar(&c.debug, "debug", false, "log more")
	flag.Parse()
	return c
}

func main() {
	c := parseFlags()
	level := slog.LevelWarn
	if c.debug {
		level = slog.LevelDebug
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})).With(slog.String("node", c.name)))
	if err := run(c); err != nil {
		slog.Error("node failed", slog.Any("error", err))
		os.Exit(1)
	}
}

func run(c *config) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() { // ends with the process; standard input ends when the tests do
		_, _ = io.Copy(io.Discard, bufio.NewReader(os.Stdin))
		stop()
	}()

	n, err := open(ctx, c)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: n.routes(), ReadHeaderTimeout: 20 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }() // ends with Close below
	if err := json.NewEncoder(os.Stdout).Encode(map[string]string{"addr": listener.Addr().String()}); err != nil {
		return err
	}
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err = n.server.Shutdown(ctx)
	if n.db != nil {
		err = errors.Join(err, n.db.Close(ctx))
	}
	return errors.Join(err, server.Close())
}

// open connects to Postgres, if there is a DSN, and creates the server with its handlers.
func open(ctx context.Context, c *config) (*node, error) {
	n := &node{name: c.name, started: time.Now(), serverEventSeen: make(chan struct{})}
	opts := &socketio.Options{PingInterval: c.pingInterval, PingTimeout: c.pingTimeout, QueueBytes: c.queueBytes, ConnectsAtOnce: c.connectsAtOnce}
	opts.Recovery.Window = c.window
	opts.Recovery.SkipMiddlewares = c.skipMiddlewares
	opts.Recovery.OnExpired = n.expired
	if c.dsn != "" {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		how := &pgadapter.Options{
			Schema: c.schema, NodeName: c.name, ListenDSN: c.listenDSN, Retention: c.retention, Lease: c.lease,
			TailBytes: c.tailBytes, QueueEvents: c.queueEvents,
		}
		var db *pgadapter.DB
		var err error
		for range 5 { // tests terminate connections; a deployment would restart the node
			if db, err = pgadapter.Open(ctx, c.dsn, how); err == nil {
				break
			}
			time.Sleep(200 * time.Millisecond)
		}
		if err != nil {
			return nil, fmt.Errorf("open: %w", err)
		}
		n.db = db
		opts.Adapter, opts.Recovery.Store = db, db.Sessions()
		if c.retention != 0 && c.retention < 2*cmp.Or(c.window, 2*time.Minute) {
			// Tests of clients that return after the log was trimmed: the store does not tell that it keeps less.
			opts.Recovery.Store = struct{ recovery.Store }{db.Sessions()}
		}
	}
	n.server = socketio.NewServer(opts)
	n.register()
	if c.orders != "" {
		if err := n.takeOrders(ctx, c); err != nil {
			return nil, err
		}
	}
	if c.middlewareFails > 0 {
		n.failMiddleware(c.middlewareFails)
	}
	if c.probe {
		n.server.OnConnect(n.probe)
		n.server.OnDisconnect(n.left)
	}
	return n, nil
}
