package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/migrations"
	"github.com/pgsocket/socketio/pgadapter"
)

// A machine is where everything runs.
type machine struct {
	dsn     string
	scratch string            // a directory for built programs
	pg      pgadapter.Options // of every node; the schema is set
	remarks []string          // lines below the table
}

// inSchema runs do with a migrated schema of its own.
func (m *machine) inSchema(ctx context.Context, do func(schema string, conn *pgx.Conn) error) error {
	schema := fmt.Sprintf("bench_%x", rand.Uint32())
	if err := migrations.Up(ctx, m.dsn, &migrations.Options{Schema: schema}); err != nil {
		return err
	}
	config, err := pgx.ParseConfig(m.dsn)
	if err != nil {
		return err
	}
	config.RuntimeParams["search_path"] = schema
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	err = do(schema, conn)
	ctx = context.WithoutCancel(ctx) // remove the schema in any case
	var dropped error
	for range 20 {
		// The statements of a killed node continue in Postgres for a moment, and can block this.
		if _, dropped = conn.Exec(ctx, "drop schema "+schema+" cascade"); dropped == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	return errors.Join(err, dropped, conn.Close(ctx))
}

// A node is a server that listens on loopback.
type node struct {
	io   *socketio.Server
	db   *pgadapter.DB // nil without Postgres
	web  *http.Server
	addr string
}

// quiet discards the log.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func (m *machine) openDB(ctx context.Context, schema string) (*pgadapter.DB, error) {
	opts := m.pg
	opts.Schema, opts.Logger = schema, quiet()
	return pgadapter.Open(ctx, m.dsn, &opts)
}

// startNode starts a node on a schema, or without Postgres if schema is empty.
func (m *machine) startNode(ctx context.Context, schema string, opts socketio.Options) (*node, error) {
	n := &node{}
	opts.Logger = quiet()
	if opts.PingInterval == 0 {
		opts.PingInterval = 10 * time.Minute // heartbeats are not measured
	}
	opts.DrainRate = -1
	if schema != "" {
		db, err := m.openDB(ctx, schema)
		if err != nil {
			return nil, err
		}
		n.db, opts.Adapter = db, db
		if !opts.Recovery.Disabled {
			opts.Recovery.Store = db.Sessions()
		}
	}
	n.io = socketio.NewServer(&opts)
	listener, err := listen(ctx)
	if err != nil {
		return nil, errors.Join(err, n.stop())
	}
	n.addr = listener.Addr().String()
	n.web = &http.Server{Handler: n.io, ReadHeaderTimeout: time.Minute}
	go func() { _ = n.web.Serve(listener) }() // owner: the node; ends with stop
	return n, nil
}

const loopback = "127.0.0.1"

func listen(ctx context.Context) (net.Listener, error) {
	var config net.ListenConfig
	return config.Listen(ctx, "tcp", loopback+":0")
}

func (n *node) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	errs := []error{n.io.Shutdown(ctx)}
	if n.web != nil {
		errs = append(errs, n.web.Close())
	}
	if n.db != nil {
		errs = append(errs, n.db.Close(ctx))
	}
	return errors.Join(errs...)
}

// withNodes runs do with n nodes on a schema of their own.
func (m *machine) withNodes(ctx context.Context, n int, opts socketio.Options, do func(nodes []*node, conn *pgx.Conn) error) error {
	return m.inSchema(ctx, func(schema string, conn *pgx.Conn) error {
		var nodes []*node
		var errs []error
		for range n {
			started, err := m.startNode(ctx, schema, opts)
			if err != nil {
				errs = append(errs, err)
				break
			}
			nodes = append(nodes, started)
		}
		if len(errs) == 0 {
			errs = append(errs, do(nodes, conn))
		}
		for _, started := range nodes {
			errs = append(errs, started.stop())
		}
		return errors.Join(errs...)
	})
}
