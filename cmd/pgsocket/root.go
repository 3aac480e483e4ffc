package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pgsocket/socketio/internal/pgaddress"
	"github.com/pgsocket/socketio/migrations"
	"github.com/pgsocket/socketio/pgadapter"
)

// run runs the command that args name.
func run(ctx context.Context, args []string) error {
	began := false
	root := newRoot(&began)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	switch {
	case err == nil:
		return nil
	case !began: // cobra refused the arguments
		return fmt.Errorf("%w: %s%s (see %s --help)", errUsage, withoutAddresses(oneLine(err), args), oneDash(cmd, err), cmd.CommandPath())
	}
	return err
}

// oneDash returns a hint for flags with one dash, as other programs in Go have.
func oneDash(cmd *cobra.Command, err error) string {
	missing, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(missing.GetSpecifiedShortnames(), "=")
	if cmd.Flag(name) == nil {
		return ""
	}
	return "; did you mean --" + name + "?"
}

// withoutAddresses replaces the arguments that may contain a password in a text that quotes them.
func withoutAddresses(text string, args []string) string {
	for _, arg := range args {
		if strings.Contains(arg, "://") || strings.Contains(arg, "password") {
			text = strings.ReplaceAll(text, oneLine(errors.New(arg)), "(an address)")
		}
	}
	return text
}

// newRoot returns the command pgsocket. It sets began when a command begins to run.
func newRoot(began *bool) *cobra.Command {
	var db database
	root := &cobra.Command{
		Use:   "pgsocket",
		Short: "manage and inspect a cluster of github.com/pgsocket/socketio",
		Long: `Pgsocket manages the tables of a cluster in Postgres, inspects the cluster, and emits events.

The address of the database is that of --dsn or of the environment variable DATABASE_URL.
Exit codes: 0; 1 when the command failed; 2 for wrong arguments; 128 plus the number of the
signal when interrupted, except tail and status --watch, which exit with 0 then.`,
		Version:       ownVersion().Version,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := db.complete(cmd); err != nil {
				return err
			}
			*began = true
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			*began = false
			return fmt.Errorf("a command is missing: %s", strings.Join(names(cmd.Commands()), ", "))
		},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&db.dsn, "dsn", "", "the `address` of the database, a URL or keywords of libpq (default $DATABASE_URL)")
	flags.StringVar(&db.schema, "schema", migrations.DefaultSchema, "the `name` of the schema")
	flags.DurationVar(&db.wait, connectTimeout, 0, "how long to wait for a Postgres that does not accept the connection yet; 0 is one attempt (default of migrate 30s)")
	root.AddCommand(migrateCommand(&db), statusCommand(&db), tailCommand(&db), emitCommand(&db), doctorCommand(&db), versionCommand())
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	refuseUnknown(root, began)
	return root
}

// refuseUnknown makes wrong arguments of the commands that cobra adds errors, as those of the others are.
func refuseUnknown(root *cobra.Command, began *bool) {
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "completion":
			c.RunE = func(cmd *cobra.Command, _ []string) error {
				*began = false
				return fmt.Errorf("a shell is missing: %s", strings.Join(names(cmd.Commands()), ", "))
			}
		case "help":
			c.Run, c.RunE = nil, func(_ *cobra.Command, args []string) error {
				topic, _, err := root.Find(args)
				if err != nil {
					*began = false
					return err
				}
				topic.InitDefaultHelpFlag()
				return topic.Help()
			}
		}
	}
}

func names(commands []*cobra.Command) []string {
	var all []string
	for _, c := range commands {
		if c.IsAvailableCommand() {
			all = append(all, c.Name())
		}
	}
	return all
}

const (
	connectTimeout = "connect-timeout"
	queryTimeout   = "query-timeout"
	offline        = "offline" // annotation of the commands that need no database
)

// A database is the address of a database and the name of the schema.
type database struct {
	dsn, schema string
	wait        time.Duration // for a Postgres that does not accept connections yet; negative: not at all
	answer      time.Duration // how long one query may take, see limited
}

// complete sets the defaults that are not those of flags: the help would print the
// address, with its password.
func (d *database) complete(cmd *cobra.Command) error {
	if without(cmd, offline) {
		return nil
	}
	d.dsn = cmp.Or(d.dsn, os.Getenv("DATABASE_URL"))
	if d.dsn == "" {
		return errors.New("the address of the database is missing; give it as --dsn postgres://user@host/database or in DATABASE_URL")
	}
	if d.schema == "" {
		return fmt.Errorf("--schema is empty; the default is %s", migrations.DefaultSchema)
	}
	if cmd.Flags().Lookup(queryTimeout) != nil && d.answer <= 0 {
		return fmt.Errorf("--%s %v is not positive", queryTimeout, d.answer)
	}
	if d.wait < 0 {
		return fmt.Errorf("--%s %v is negative; 0 is one attempt", connectTimeout, d.wait)
	}
	if d.wait == 0 {
		d.wait = -1
	}
	if !cmd.Flags().Changed(connectTimeout) && cmd.HasParent() && cmd.Parent().Name() == "migrate" {
		d.wait = pgaddress.DefaultWait // a deployment may start before Postgres
	}
	return nil
}

// without reports whether the command or a parent has the annotation, or is one that cobra
// adds, or runs nothing.
func without(cmd *cobra.Command, annotation string) bool {
	if !cmd.HasParent() || !cmd.Parent().HasParent() && cmd.HasSubCommands() {
		return true
	}
	for c := cmd; c != nil; c = c.Parent() {
		if _, ok := c.Annotations[annotation]; ok || c.Name() == "completion" || c.Name() == "help" || strings.HasPrefix(c.Name(), cobra.ShellCompRequestCmd) {
			return true
		}
	}
	return false
}

// connect connects to the database. Statements are not prepared, which works through any
// pooler; they name the schema themselves, because a pooler may ignore search_path.
func (d *database) connect(ctx context.Context) (conn *pgx.Conn, err error) {
	config, err := pgaddress.Parse(d.dsn)
	if err != nil {
		return nil, err
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "pgsocket"
	}
	err = d.waitFor(ctx, func(ctx context.Context) error {
		conn, err = pgx.ConnectConfig(ctx, config)
		return err
	})
	return conn, err
}

// waitFor calls try until Postgres accepts the connection, as long as --connect-timeout says.
func (d *database) waitFor(ctx context.Context, try func(context.Context) error) error {
	return (&pgaddress.Waiter{Timeout: d.wait, Logger: logger()}).Wait(ctx, try)
}

// queryTimeoutFlag adds the flag of the commands that call limited.
func (d *database) queryTimeoutFlag(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&d.answer, queryTimeout, 10*time.Second, "how long Postgres may take to answer one query")
}

// limited calls ask with a context that ends after --query-timeout: a connection whose other
// end is gone may never report it.
func (d *database) limited(ctx context.Context, ask func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, d.answer)
	defer cancel()
	err := ask(limited)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		return fmt.Errorf("no answer from Postgres in %v (--%s)", d.answer, queryTimeout)
	}
	return err
}

// query returns a statement of a file for the schema.
func (d *database) query(file string) string {
	return strings.ReplaceAll(file, "/*schema.*/", pgx.Identifier{d.schema}.Sanitize()+".")
}

// join joins the cluster as a node without a server, for the duration of a command. It
// requests the shortest retention, so that the retention of the other nodes applies.
func (d *database) join(ctx context.Context, name, listenDSN string) (*pgadapter.DB, error) {
	return pgadapter.Open(ctx, d.dsn, &pgadapter.Options{
		Schema: d.schema, NodeName: name, ListenDSN: listenDSN, TailBytes: 1 << 20,
		Retention: time.Minute, ConnectTimeout: d.wait, Logger: nodeLogger(),
	})
}

// logger returns the logger of warnings, such as those about a lost connection.
func logger() *slog.Logger { return slog.New(slog.NewTextHandler(os.Stderr, nil)) }

// nodeLogger is logger for a node that the user of a command has asked for: it leaves out the line that the node has joined.
func nodeLogger() *slog.Logger { return slog.New(withoutJoining{logger().Handler()}) }

type withoutJoining struct{ slog.Handler }

func (h withoutJoining) Handle(ctx context.Context, line slog.Record) error {
	if line.Message == "node joined the cluster" {
		return nil
	}
	return h.Handler.Handle(ctx, line)
}

// leaveTimeout is how long a command that was interrupted may take to leave the cluster.
const leaveTimeout = 5 * time.Second

// leave calls leaving, also when ctx has ended.
func leave(ctx context.Context, leaving func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	return leaving(ctx)
}
