package main

import (
	"context"
	_ "embed" // for the statements
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"
)

//go:embed status.sql
var statusSQL string

//go:embed status_nodes.sql
var statusNodesSQL string

func statusCommand(db *database) *cobra.Command {
	var again, asJSON bool
	interval := 2 * time.Second
	cmd := &cobra.Command{
		Use:   "status",
		Short: "print nodes, sessions and the state of the log",
		Long: `Print the nodes of the cluster, its sessions and the state of its log.

NODE is the name of a node, HOST and PID its host name and process id, UP the time since it
registered, SEEN the time since its last heartbeat. BEHIND is the number of batches in the log
after the position that it had read at that heartbeat: what was appended since counts, so under
load a node that keeps up shows the batches of up to two seconds. It lags if the number grows
from one heartbeat to the next. SESSIONS are the clients that are connected to it, VERSION is
that of its program, ID that of its row in the table nodes: it changes when the node registers
again.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("interval") && !again {
				return fmt.Errorf("%w: --interval is given without --watch", errUsage)
			}
			s := &statusPrinter{db: db, screen: newScreen(os.Stdout), json: asJSON}
			defer s.close(cmd.Context())
			if again {
				return s.watch(cmd.Context(), interval)
			}
			state, err := s.ask(cmd.Context())
			if err != nil {
				return err
			}
			return s.print(state)
		},
	}
	cmd.Flags().BoolVar(&again, "watch", false, "print again and again, until interrupted; on a terminal in place")
	cmd.Flags().DurationVar(&interval, "interval", interval, "the time between two prints of --watch, at least 100ms")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print an object in JSON, one a line with --watch")
	db.queryTimeoutFlag(cmd)
	return cmd
}

// A clusterState is what status prints. Ages are in seconds.
type clusterState struct {
	Schema   string       `json:"schema"`
	Version  int          `json:"schema_version"`
	Log      logState     `json:"log"`
	Outbox   outboxState  `json:"outbox"`
	Sessions sessionState `json:"sessions"`
	Nodes    []nodeState  `json:"nodes"`
}

type logState struct {
	Low   int64    `json:"low"`  // position of the newest record that was removed
	High  int64    `json:"high"` // position of the newest record
	Age   *seconds `json:"age"`  // of the newest record; null if none is kept
	Bytes int64    `json:"bytes"`
	batch int64    // of the newest position
}

type outboxState struct {
	Waiting int64    `json:"waiting"`
	Oldest  *seconds `json:"oldest"`
}

type sessionState struct {
	Live    int64 `json:"live"`
	Parked  int64 `json:"parked"`
	Expired int64 `json:"expired"`
}

type nodeState struct {
	Name     string  `json:"name"`
	ID       string  `json:"id"`
	Server   string  `json:"server,omitempty"`
	Host     string  `json:"host,omitempty"`
	PID      int     `json:"pid,omitempty"`
	Version  string  `json:"version,omitempty"`
	Behind   int64   `json:"batches_behind"` // batches appended since the node was seen count
	Up       seconds `json:"up"`
	Seen     seconds `json:"seen"`
	Lease    seconds `json:"lease"`
	Sessions int64   `json:"sessions"`
	batch    int64   // up to which the node had read the log when it was seen
}

// A seconds is a time that Postgres returns in microseconds and that JSON contains in seconds.
type seconds time.Duration

// Scan implements sql.Scanner for microseconds.
func (s *seconds) Scan(v any) error {
	microseconds, ok := v.(int64)
	if !ok {
		return fmt.Errorf("%T is no number of microseconds", v)
	}
	*s = seconds(time.Duration(microseconds) * time.Microsecond)
	return nil
}

// MarshalJSON implements json.Marshaler.
func (s seconds) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(s).Seconds()) }

func (s seconds) round(to time.Duration) string { return time.Duration(s).Round(to).String() }

// A statusPrinter asks for the state of the cluster and prints it.
type statusPrinter struct {
	db     *database
	screen *screen
	json   bool
	conn   *pgx.Conn
}

func (s *statusPrinter) close(ctx context.Context) {
	if s.conn != nil {
		_ = leave(ctx, s.conn.Close) // nothing depends on it
	}
}

// ask returns the state of the cluster. It connects again if the connection is broken.
func (s *statusPrinter) ask(ctx context.Context) (state *clusterState, err error) {
	if s.conn == nil || s.conn.IsClosed() {
		if s.conn, err = s.db.connect(ctx); err != nil {
			return nil, err
		}
	}
	err = s.db.limited(ctx, func(ctx context.Context) error {
		state, err = readState(ctx, s.conn, s.db)
		return err
	})
	if isDenied(err) {
		return nil, fmt.Errorf("the role lacks privileges on schema %q; the owner gives it those that status needs with allow_read: %w", s.db.schema, err)
	}
	if err != nil {
		return nil, explain(s.db.schema, err)
	}
	return state, nil
}

func readState(ctx context.Context, conn *pgx.Conn, db *database) (*clusterState, error) {
	s := &clusterState{Schema: db.schema, Nodes: []nodeState{}}
	err := conn.QueryRow(ctx, db.query(statusSQL)).Scan(&s.Version, &s.Log.Low, &s.Log.High, &s.Log.batch, &s.Log.Age, &s.Log.Bytes,
		&s.Sessions.Live, &s.Sessions.Parked, &s.Sessions.Expired, &s.Outbox.Waiting, &s.Outbox.Oldest)
	if err != nil {
		return nil, err
	}
	rows, err := conn.Query(ctx, db.query(statusNodesSQL))
	if err != nil {
		return nil, err
	}
	nodes, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (n nodeState, err error) {
		err = r.Scan(&n.Name, &n.ID, &n.Server, &n.Host, &n.PID, &n.Version, &n.batch, &n.Up, &n.Seen, &n.Lease, &n.Sessions)
		n.Behind = max(s.Log.batch-n.batch, 0)
		return n, err
	})
	s.Nodes = append(s.Nodes, nodes...)
	return s, err
}

const (
	undefinedTable  = "42P01"
	undefinedColumn = "42703"
	missingRight    = "42501"
)

// isDenied reports whether the role lacks a right.
func isDenied(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == missingRight
}

// explain adds what to do to the errors of an unusable schema.
func explain(schema string, err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("table meta of schema %q has lost its only row; pgsocket migrate up restores it", schema)
	}
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return err
	}
	switch pg.Code {
	case undefinedTable:
		return fmt.Errorf("schema %q has no pgsocket tables; pgsocket migrate up creates them", schema)
	case undefinedColumn:
		return fmt.Errorf("schema %q has tables of another version; pgsocket migrate version prints it: %w", schema, err)
	case missingRight:
		return fmt.Errorf("the role lacks privileges on schema %q; pgsocket doctor prints which: %w", schema, err)
	}
	return fmt.Errorf("schema %q: %w", schema, err)
}

func (s *statusPrinter) print(state *clusterState) error {
	if s.json {
		return s.screen.writeJSON(state)
	}
	var b strings.Builder
	s.write(&b, 0, state)
	_, err := s.screen.out.WriteString(b.String())
	return err
}

// write writes the state as text, in lines of at most width columns if width is not 0.
func (s *statusPrinter) write(b *strings.Builder, width int, state *clusterState) {
	last := "nothing kept"
	if state.Log.Age != nil {
		last = "written " + state.Log.Age.round(time.Second) + " ago"
	}
	outbox := cell{text: "nothing waits"}
	if state.Outbox.Waiting > 0 {
		outbox.text = fmt.Sprintf("%d events wait", state.Outbox.Waiting)
		if state.Outbox.Oldest != nil {
			outbox.text += ", the oldest for " + state.Outbox.Oldest.round(time.Millisecond)
		}
		outbox.color = yellow
	}
	s.screen.table(b, width, [][]cell{
		{{"schema", bold}, {text: fmt.Sprintf("%s, version %d", printable(state.Schema), state.Version)}},
		{{"log", bold}, {text: fmt.Sprintf("position %d, %s; kept after %d; %.1f MB", state.Log.High, last, state.Log.Low, float64(state.Log.Bytes)/1e6)}},
		{{"outbox", bold}, outbox},
		{{"sessions", bold}, {text: fmt.Sprintf("%d live, %d parked, %d to be removed", state.Sessions.Live, state.Sessions.Parked, state.Sessions.Expired)}},
		{{"nodes", bold}, {text: strconv.Itoa(len(state.Nodes))}},
	})
	if len(state.Nodes) == 0 {
		return
	}
	b.WriteString("\n")
	var rows [][]cell
	header := []cell{}
	for _, name := range nodeColumns {
		header = append(header, cell{name, bold})
	}
	rows = append(rows, header)
	for _, n := range state.Nodes {
		rows = append(rows, n.row())
	}
	s.screen.table(b, width, rows)
}

// nodeColumns are the columns of the table of nodes, which the help explains.
var nodeColumns = []string{"NODE", "HOST", "PID", "UP", "SEEN", "BEHIND", "SESSIONS", "VERSION", "ID"} //nolint:gochecknoglobals // a constant

// behindMuch is the number of batches behind which a node is shown in color: more than a
// heartbeat's worth of a busy cluster.
const behindMuch = 1000

func (n *nodeState) row() []cell {
	seen := cell{n.Seen.round(100*time.Millisecond) + " ago", green}
	if n.Seen > n.Lease {
		seen.color = red
	}
	behind := cell{text: strconv.FormatInt(n.Behind, 10)}
	if n.Behind > behindMuch {
		behind.color = yellow
	}
	pid := "?"
	if n.PID != 0 {
		pid = strconv.Itoa(n.PID)
	}
	return []cell{
		{printable(n.Name), cyan},
		{text: orUnknown(n.Host)},
		{text: pid},
		{text: n.Up.round(time.Second)},
		seen, behind,
		{text: strconv.FormatInt(n.Sessions, 10)},
		{text: orUnknown(n.Version)},
		{n.ID, dim},
	}
}

func orUnknown(text string) string {
	if text == "" {
		return "?"
	}
	return printable(text)
}
