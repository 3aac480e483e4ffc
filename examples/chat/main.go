// Chat is a chat on three nodes that share one Postgres, with a page to talk on
// and to break things from.
//
//	go run ./examples/chat
//
// starts all of it: the Postgres of DATABASE_URL or a private one, and three
// nodes, each a process that may be killed. The page keeps no history but what
// it was sent; that nothing is missing on it after its line was cut, or its node
// killed, is the work of connection state recovery.
//
// Read chat.go first: it is the application. Node.go makes a server of it,
// cluster.go starts three of those, and page holds what the browser gets.
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
)

// A config says what to run.
type config struct {
	dsn    string
	schema string
	node   string   // the address of the one node to be; "" for the whole demo
	nodes  []string // the addresses of all nodes
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
	attached := flag.Bool("attached", false, "with -node: end when the standard input ends")
	flag.Parse()
	cfg.nodes = strings.Split(*nodes, ",")

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if cfg.node == "" {
		return runCluster(ctx, cfg)
	}
	if *attached {
		// A terminal's Ctrl-C reaches all processes; whoever started us decides.
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
