package main

import (
	"context"
	_ "embed" // for the statements
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/pgadapter"
)

//go:embed tail_times.sql
var tailTimesSQL string

//go:embed tail_since.sql
var tailSinceSQL string

func tailCommand(db *database) *cobra.Command {
	var f filter
	var since, listenDSN string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "print events of all nodes as they are emitted, until interrupted",
		Long: `Print the events and operations of all nodes as they are emitted, until interrupted.

A line has the time at which Postgres appended the event, its position in the log, the
namespace, the audience, and the event with its arguments. Control characters in it are
escaped. While it runs the command is a node of the cluster, without a server.`,
		Example: `  pgsocket tail --room lobby --since 5m
  pgsocket tail --namespace /admin --event login --json | jq .args`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			from, err := parseSince(since, time.Now())
			if err != nil {
				return err
			}
			p := &printer{db: db, screen: newScreen(os.Stdout), filter: f, json: asJSON}
			return p.tail(cmd.Context(), listenDSN, from)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.namespace, "namespace", "", "only events of the namespace with this `name`")
	flags.StringArrayVar(&f.rooms, "room", nil, "only events that reach a socket which is in this `room` alone; may be repeated")
	flags.StringArrayVar(&f.events, "event", nil, "only events with this `name`; may be repeated")
	flags.StringVar(&since, "since", "", "first print what was emitted since a `time`: 5m, or 2006-01-02T15:04:05Z; as far as it is kept")
	flags.StringVar(&listenDSN, "listen-dsn", "", "the `address` for LISTEN, if the other one is that of a transaction pooler")
	flags.BoolVar(&asJSON, "json", false, "print objects in JSON, one a line")
	db.queryTimeoutFlag(cmd)
	return cmd
}

// parseSince returns the time that a duration before now, or a time, stands for; zero for none.
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago > 0 {
		return now.Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, fmt.Errorf("%w: --since %q is neither a duration like 5m nor a time like 2006-01-02T15:04:05Z", errUsage, text)
	}
	return at, nil
}

// A filter selects events. Its zero value selects all.
type filter struct {
	namespace     string
	rooms, events []string
}

// A printer prints records of the log.
type printer struct {
	db     *database
	screen *screen
	filter filter
	json   bool

	conn *pgx.Conn // asks for the times of batches
	said string    // the last problem that was reported
}

// tail prints until ctx ends or the output is closed.
func (p *printer) tail(ctx context.Context, listenDSN string, since time.Time) error {
	signal.Ignore(syscall.SIGPIPE) // a closed pipe is an error of the write
	joined, err := p.db.join(ctx, "pgsocket tail", listenDSN)
	if err != nil {
		return err
	}
	err = p.follow(ctx, joined, since)
	err = errors.Join(err, leave(ctx, joined.Close))
	if p.conn != nil {
		err = errors.Join(err, leave(ctx, p.conn.Close))
	}
	if errors.Is(err, syscall.EPIPE) {
		return nil // as with tail | head
	}
	return err
}

// lookInterval is the time between two looks at the position of the node, which asks no one.
const lookInterval = 50 * time.Millisecond

// follow prints what the node has read of the log since a time, or since now. The node is not
// bound to a server, because calls of the cluster would wait for the answers of that server.
func (p *printer) follow(ctx context.Context, log *pgadapter.DB, since time.Time) (err error) {
	if p.conn, err = p.db.connect(ctx); err != nil {
		return err
	}
	from, err := p.start(ctx, log.Stats().Position, since)
	if err != nil {
		return err
	}
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	for {
		if from, err = p.printRange(ctx, log, from, log.Stats().Position); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// start returns the position after which records are printed.
func (p *printer) start(ctx context.Context, now adapter.Position, since time.Time) (adapter.Position, error) {
	if since.IsZero() {
		return now, nil
	}
	var from adapter.Position
	var complete bool
	err := p.db.limited(ctx, func(ctx context.Context) error {
		return p.conn.QueryRow(ctx, p.db.query(tailSinceSQL), since.UnixMicro()).Scan(&from, &complete)
	})
	if err != nil {
		return 0, explain(p.db.schema, err)
	}
	if !complete {
		p.report("not everything since then is kept; this is what is kept")
	}
	return min(from, now), nil
}

// printRange prints the records in (from, to], and returns up to where it did. It reports
// what cannot be read. Its error is that of the output.
func (p *printer) printRange(ctx context.Context, log adapter.Adapter, from, to adapter.Position) (adapter.Position, error) {
	if to < from {
		p.report(fmt.Sprintf("the database has lost the events after position %d; new ones follow", to))
		return to, nil
	}
	for batch, err := range log.Read(ctx, from, to) {
		switch {
		case ctx.Err() != nil:
			return from, nil
		case errors.Is(err, adapter.ErrTrimmed):
			p.report(fmt.Sprintf("events are missing between the positions %d and %d: they are no longer kept", from, to))
			return to, nil
		case err != nil: // the next look tries again
			p.report(oneLine(err))
			return from, nil
		}
		if err := p.print(ctx, batch); err != nil {
			return from, err
		}
		from = batch[len(batch)-1].Offset.Position
	}
	return to, nil
}

// report prints a problem once, until there is another one.
func (p *printer) report(problem string) {
	if problem != p.said {
		p.said = problem
		fmt.Fprintln(os.Stderr, "pgsocket:", problem)
	}
}

// print prints the records that the filter selects.
func (p *printer) print(ctx context.Context, batch []adapter.Delivery) error {
	var records []record
	for _, d := range batch {
		if r := newRecord(d); p.filter.selects(d, r.Event) {
			records = append(records, r)
		}
	}
	if len(records) == 0 {
		return nil
	}
	p.setTimes(ctx, records)
	var b strings.Builder
	for _, r := range records {
		if err := p.write(&b, r); err != nil {
			return err
		}
	}
	_, err := p.screen.out.WriteString(b.String())
	return err
}

func (f *filter) selects(d adapter.Delivery, event string) bool {
	if d.Kind != adapter.Event && d.Kind != adapter.Volatile && !d.Kind.Operation() {
		return false
	}
	return (f.namespace == "" || strings.TrimPrefix(d.Namespace, "/") == strings.TrimPrefix(f.namespace, "/")) &&
		(len(f.rooms) == 0 || slices.ContainsFunc(f.rooms, func(room string) bool { return d.Audience.Includes([]string{room}) })) &&
		(len(f.events) == 0 || slices.ContainsFunc(f.events, func(name string) bool { return event == name }))
}

// packetsPerBatch is the number of positions of a batch of the log.
const packetsPerBatch = 4096

// setTimes sets the times of records to those at which Postgres appended them. Without an
// answer, and for batches that are no longer kept, they are those of this machine.
func (p *printer) setTimes(ctx context.Context, records []record) {
	var ids []int64
	for _, r := range records {
		if id := r.Position / packetsPerBatch; len(ids) == 0 || ids[len(ids)-1] != id {
			ids = append(ids, id)
		}
	}
	var times map[int64]time.Time
	err := p.db.limited(ctx, func(ctx context.Context) (err error) {
		times, err = p.times(ctx, ids)
		return err
	})
	if err != nil && ctx.Err() == nil {
		p.report("the times are those of this machine: " + oneLine(err))
	}
	for i := range records {
		at, ok := times[records[i].Position/packetsPerBatch]
		if !ok {
			at = time.Now()
		}
		records[i].At = at
	}
}

func (p *printer) times(ctx context.Context, ids []int64) (map[int64]time.Time, error) {
	if p.conn.IsClosed() {
		conn, err := p.db.connect(ctx)
		if err != nil {
			return nil, err
		}
		p.conn = conn
	}
	rows, err := p.conn.Query(ctx, p.db.query(tailTimesSQL), ids)
	if err != nil {
		return nil, err
	}
	times := make(map[int64]time.Time, len(ids))
	var id, at int64
	_, err = pgx.ForEachRow(rows, []any{&id, &at}, func() error {
		times[id] = time.UnixMicro(at)
		return nil
	})
	return times, err
}
