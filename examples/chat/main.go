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
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pgsocket/socketio/migrations"
)

// A config is the configuration of a process.
type config struct {
	dsn    string
	schema string
	node   string        // the address of the one node to be; "" for the whole demo
	listen string        // where the one node listens, if that is not its address
	drain  time.Duration // how long it may take to shut down
	nodes  []string      // the addresses of all nodes; none if pages reach them through a proxy only

	migrate, attached bool // see the flags
}

// errUsage reports wrong arguments.
var errUsage = errors.New("wrong arguments")

func main() {
	err := run(os.Args[1:])
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "chat: %v (see chat -help)\n", err)
		os.Exit(2)
	}
	fmt.Fprintln(os.Stderr, "chat:", err)
	os.Exit(1)
}

func run(args []string) error {
	cfg, err := parse(args, os.Getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch {
	case cfg.migrate:
		return createTables(ctx, cfg)
	case cfg.node == "":
		return runCluster(ctx, cfg)
	}
	if cfg.attached {
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

// parse returns the configuration that the arguments and the address of the database give.
func parse(args []string, dsn string) (config, error) {
	cfg := config{dsn: dsn}
	flags := flag.NewFlagSet("chat", flag.ContinueOnError)
	flags.StringVar(&cfg.schema, "schema", migrations.DefaultSchema, "the `name` of the Postgres schema")
	flags.StringVar(&cfg.node, "node", "", "be one node, at this `address`, instead of the whole demo")
	nodes := flags.String("nodes", "127.0.0.1:3001,127.0.0.1:3002,127.0.0.1:3003", "the `addresses` of all nodes")
	flags.StringVar(&cfg.listen, "listen", "", "be one node that listens at this `address`, behind a proxy; -node is then only its name (default that of the host)")
	flags.DurationVar(&cfg.drain, "drain", 5*time.Second, "how long a node may take to shut down")
	flags.BoolVar(&cfg.migrate, "migrate", false, "create or update the tables, and end")
	flags.BoolVar(&cfg.attached, "attached", false, "with -node: end when the standard input ends")
	flags.SetOutput(io.Discard) // an error is returned
	given := make(map[string]bool)
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(os.Stdout)
		flags.Usage()
		return cfg, err
	case err != nil:
		return cfg, fmt.Errorf("%w: %w", errUsage, err)
	case flags.NArg() > 0:
		return cfg, fmt.Errorf("%w: %q is not a flag", errUsage, flags.Arg(0))
	}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if cfg.listen == "" {
		cfg.nodes = strings.Split(*nodes, ",")
	}
	if err := cfg.check(given); err != nil {
		return cfg, fmt.Errorf("%w: %w", errUsage, err)
	}
	if cfg.listen != "" && cfg.node == "" {
		cfg.node, err = os.Hostname()
	}
	return cfg, err
}

// check refuses flags that are empty, contradict each other, or are no addresses.
func (c *config) check(given map[string]bool) error {
	single := given["node"] || given["listen"]
	switch {
	case c.schema == "":
		return errors.New("-schema is empty")
	case given["node"] && c.node == "":
		return errors.New("-node is empty")
	case given["listen"] && c.listen == "":
		return errors.New("-listen is empty")
	case c.drain <= 0:
		return fmt.Errorf("-drain %v is not positive", c.drain)
	case c.migrate && (single || given["nodes"] || c.attached):
		return errors.New("-migrate runs no node: leave out -node, -nodes, -listen and -attached")
	case c.attached && !single:
		return errors.New("-attached is for one node: give -node or -listen")
	case given["listen"] && given["nodes"]:
		return errors.New("-nodes has no effect with -listen, because pages reach the nodes through a proxy")
	case c.dsn == "" && (single || c.migrate):
		return errors.New("DATABASE_URL is not set; only the whole demo starts a Postgres of its own")
	}
	if c.listen != "" {
		return checkAddress("listen", c.listen)
	}
	if c.node != "" {
		if err := checkAddress("node", c.node); err != nil {
			return err
		}
	}
	for _, address := range c.nodes {
		if err := checkAddress("nodes", address); err != nil {
			return err
		}
	}
	return nil
}

func checkAddress(name, address string) error {
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("-%s %q is not an address like 127.0.0.1:3000", name, address)
	}
	return nil
}
