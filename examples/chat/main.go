// Chat is a chat on three nodes that share one Postgres, with a page to write on and to
// cause failures from.
//
//	go run ./examples/chat
//
// starts all of it: a private Postgres unless DATABASE_URL is set, and three nodes,
// each a process that may be killed. The page has no history except the events that
// it was sent. Connection state recovery ensures that none is missing after its
// connection was cut, or its node killed.
//
// Read chat.go first: it is the application. Posts.go numbers the posts in the
// transactions that emit them, node.go runs the application on a server, cluster.go
// starts three of those, and the directory page contains the page.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// A config is the configuration of a process.
type config struct {
	dsn    string
	schema string
	node   string        // the address of the one node to be; "" for the whole demo
	listen string        // where the one node listens, if that is not its address
	drain  time.Duration // how long it may take to shut down
	nodes  []string      // the addresses of all nodes; none if pages reach them through a proxy only
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

func run() error {
	cfg := config{dsn: os.Getenv("DATABASE_URL")}
	flag.StringVar(&cfg.schema, "schema", "socketio", "the `name` of the Postgres schema")
	flag.StringVar(&cfg.node, "node", "", "be one node, at this `address`, instead of the whole demo")
	nodes := flag.String("nodes", "127.0.0.1:3001,127.0.0.1:3002,127.0.0.1:3003", "the `addresses` of all nodes")
	flag.StringVar(&cfg.listen, "listen", "", "with -node: listen at this `address`, behind a proxy; -node is then only a name")
	flag.DurationVar(&cfg.drain, "drain", 5*time.Second, "how long a node may take to shut down")
	migrate := flag.Bool("migrate", false, "create or update the tables, and end")
	attached := flag.Bool("attached", false, "with -node: end when the standard input ends")
	flag.Parse()
	if cfg.listen == "" {
		cfg.nodes = strings.Split(*nodes, ",")
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *migrate {
		return createTables(ctx, cfg)
	}
	if cfg.node == "" {
		return runCluster(ctx, cfg)
	}
	if *attached {
		// A terminal's Ctrl-C reaches all processes; the parent process decides.
		signal.Ignore(os.Interrupt)
		var end context.CancelFunc
		ctx, end = context.WithCancel(ctx)
		defer end()
		go func() { // ends with the standard input, or with the process
			_, _ = io.Copy(io.Discard, os.Stdin)
			end()
		}()
	}
	return runNode(ctx, cfg)
}
