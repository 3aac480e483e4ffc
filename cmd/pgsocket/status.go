package main

import (
	"context"
	_ "embed" // for the statements
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsocket/socketio/internal/pgaddress"
)

//go:embed status.sql
var statusSQL string

//go:embed status_nodes.sql
var statusNodesSQL string

func statusCommand() command {
	return command{
		name:    "status",
		about:   "print nodes, sessions and the state of the log",
		prepare: func(*flag.FlagSet) action { return status },
	}
}

const undefinedTable = "42P01"

// A state is the row of status.sql.
type state struct {
	version               int
	low, high             int64  // positions: the newest one that was removed, and the newest
	batch                 int64  // of the newest position
	age                   *int64 // in microseconds, of the newest batch
	bytes                 int64
	live, parked, expired int64
}

// A nodeState is a row of status_nodes.sql.
type nodeState struct {
	name     string
	batch    int64 // up to which the node had read the log when it was seen
	up, seen int64 // in microseconds: since when it is up, and was seen last
	sessions int64
}

func status(ctx context.Context, db database, args []string) error {
	if len(args) != 0 {
		return fmt.Errorf("%w: status takes none", errUsage)
	}
	config, err := pgaddress.Parse(db.dsn)
	if err != nil {
		return err
	}
	config.RuntimeParams["search_path"] = pgx.Identifier{db.schema}.Sanitize() + ", pg_temp"
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) // closes the connection properly, also after ctx ended

	var s state
	err = conn.QueryRow(ctx, statusSQL).
		Scan(&s.version, &s.low, &s.high, &s.batch, &s.age, &s.bytes, &s.live, &s.parked, &s.expired)
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == undefinedTable {
		return fmt.Errorf("schema %q has no pgsocket tables; pgsocket migrate up creates them", db.schema)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("table meta of schema %q has lost its only row; pgsocket migrate up restores it", db.schema)
	}
	if err != nil {
		return fmt.Errorf("schema %q: %w", db.schema, err)
	}
	rows, err := conn.Query(ctx, statusNodesSQL)
	if err != nil {
		return err
	}
	nodes, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (n nodeState, err error) {
		err = r.Scan(&n.name, &n.batch, &n.up, &n.seen, &n.sessions)
		return n, err
	})
	if err != nil {
		return err
	}
	return printStatus(db.schema, s, nodes)
}

func printStatus(schema string, s state, nodes []nodeState) error {
	var b strings.Builder
	fmt.Fprintf(&b, "schema\t%s, version %d\n", schema, s.version)
	last := "nothing kept"
	if s.age != nil {
		last = fmt.Sprintf("written %v ago", duration(*s.age).Round(time.Second))
	}
	fmt.Fprintf(&b, "log\tposition %d, %s; kept after %d; %.1f MB\n", s.high, last, s.low, float64(s.bytes)/1e6)
	fmt.Fprintf(&b, "sessions\t%d live, %d parked, %d to be removed\n", s.live, s.parked, s.expired)
	fmt.Fprintf(&b, "nodes\t%d\n", len(nodes))
	if len(nodes) > 0 {
		b.WriteString("\nNODE\tUP\tSEEN\tBATCHES BEHIND\tSESSIONS\n")
	}
	for _, n := range nodes {
		// Batches appended since the node was seen count as behind: the row has no newer position.
		fmt.Fprintf(&b, "%s\t%v\t%v ago\t%d\t%d\n",
			n.name, duration(n.up).Round(time.Second), duration(n.seen).Round(100*time.Millisecond), max(s.batch-n.batch, 0), n.sessions)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	_, err := w.Write([]byte(b.String()))
	return errors.Join(err, w.Flush())
}

func duration(microseconds int64) time.Duration {
	return time.Duration(microseconds) * time.Microsecond
}
