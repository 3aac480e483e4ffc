// Pgsocket manages the schema of a cluster and inspects the cluster.
//
//	pgsocket migrate up        create or update the tables
//	pgsocket migrate down      remove them
//	pgsocket migrate version   print their version
//	pgsocket migrate force n   record their version, after a manual repair
//	pgsocket status            nodes, sessions, log
//	pgsocket tail              print events as they are emitted
//	pgsocket emit              emit an event
//
// It exits with 0, with 1 when the command failed, and with 2 for wrong arguments.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/pgsocket/socketio/migrations"
	"github.com/pgsocket/socketio/pgadapter"
)

// A command is a subcommand of pgsocket.
type command struct {
	name    string
	usage   string // what follows the name and the flags
	about   string
	prepare func(*flag.FlagSet) action // defines the flags of the command
}

// An action runs a command.
type action func(ctx context.Context, db database, args []string) error

// errUsage reports wrong arguments.
var errUsage = errors.New("wrong arguments")

func commands() []command {
	return []command{migrateCommand(), statusCommand(), tailCommand(), emitCommand()}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "pgsocket:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "pgsocket:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage())
		return fmt.Errorf("%w: a command is missing", errUsage)
	}
	if slices.Contains([]string{"help", "-h", "-help", "--help"}, args[0]) {
		fmt.Print(usage())
		return nil
	}
	all := commands()
	i := slices.IndexFunc(all, func(c command) bool { return c.name == args[0] })
	if i < 0 {
		fmt.Fprint(os.Stderr, usage())
		return fmt.Errorf("%w: no command %q", errUsage, args[0])
	}
	return all[i].run(ctx, args[1:])
}

func (c command) run(ctx context.Context, args []string) error {
	var db database
	flags := flag.NewFlagSet(c.name, flag.ContinueOnError)
	flags.StringVar(&db.dsn, "dsn", "", "the `address` of the database (default $DATABASE_URL)")
	flags.StringVar(&db.schema, "schema", migrations.DefaultSchema, "the `name` of the schema")
	act := c.prepare(flags)
	flags.Usage = func() {
		line := strings.TrimSpace("usage: pgsocket " + c.name + " [flags] " + c.usage)
		fmt.Fprintf(os.Stderr, "%s\n\n%s\n\nflags:\n", line, c.about)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return errUsage // the flag package has printed the reason
	}
	// The default is not given to the flag, whose help would print a password.
	db.dsn = cmp.Or(db.dsn, os.Getenv("DATABASE_URL"))
	if db.dsn == "" {
		return fmt.Errorf("%w: the address of the database is missing; use -dsn or DATABASE_URL", errUsage)
	}
	err := act(ctx, db, flags.Args())
	if errors.Is(err, errUsage) {
		flags.Usage()
	}
	return err
}

func usage() string {
	var b strings.Builder
	b.WriteString("usage: pgsocket command [flags] [arguments]\n\n")
	for _, c := range commands() {
		fmt.Fprintf(&b, "  %-8s %s\n", c.name, c.about)
	}
	b.WriteString("\npgsocket command -h prints its flags.\n")
	return b.String()
}

// A database is the address of a database and the name of the schema.
type database struct{ dsn, schema string }

// open joins the cluster as a node without clients, for the duration of a command. It
// requests the shortest retention, so that the retention of the other nodes applies.
func (d database) open(ctx context.Context, name string) (*pgadapter.DB, error) {
	return pgadapter.Open(ctx, d.dsn, &pgadapter.Options{
		Schema: d.schema, NodeName: name, TailBytes: 1 << 20,
		Retention: time.Minute,
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
}

// closeDB leaves the cluster, also when ctx has ended.
func closeDB(ctx context.Context, db *pgadapter.DB) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return db.Close(ctx)
}
