package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// A node is a row of nodes.sql.
type node struct {
	name, version          string
	seen, lease, retention micro
}

func checkNodes(ctx context.Context, t *target) (Finding, error) {
	nodes, err := collect(ctx, t, "nodes", nil, func(r pgx.CollectableRow) (n node, err error) {
		return n, r.Scan(&n.name, &n.version, &n.seen, &n.lease, &n.retention)
	})
	if err != nil {
		return Finding{}, err
	}
	t.nodes = nodes
	if len(nodes) == 0 {
		return skipped("no node with a server runs; run this again while nodes run"), nil
	}
	f := ok("%d with a server", len(nodes))
	var versions, silent []string
	for _, n := range nodes {
		if n.version != "" && !slices.Contains(versions, n.version) {
			versions = append(versions, n.version)
		}
		if n.seen > n.lease {
			silent = append(silent, fmt.Sprintf("%s for %v", n.name, n.seen.duration().Round(time.Second)))
		}
	}
	if len(versions) > 0 {
		f.Fact += ", of version " + strings.Join(versions, " and ")
	}
	if len(silent) > 0 {
		f.advise(Warn, "silent for longer than their lease: "+strings.Join(silent, ", "),
			"see whether their processes run and reach Postgres; another node takes over the sessions of a dead one, so at least one must run")
	}
	return f, nil
}

// retention returns the longest retention of the nodes, which applies to all.
func (t *target) retention() time.Duration {
	var longest micro
	for _, n := range t.nodes {
		longest = max(longest, n.retention)
	}
	return longest.duration()
}

func checkRetention(ctx context.Context, t *target) (Finding, error) {
	window := t.o.Window
	from := "--window"
	if window == 0 {
		var longest *int64
		if err := t.row(ctx, "window", nil, &longest); err != nil {
			return Finding{}, err
		}
		if longest == nil {
			return skipped("no session shows the recovery window; give it as --window"), nil
		}
		window, from = micro(*longest).duration(), "the longest of all sessions"
	}
	kept := t.retention()
	if kept == 0 {
		return skipped("the recovery window is %v (%s); no node with a server shows the retention", window, from), nil
	}
	f := ok("events are kept for %v; the recovery window is %v (%s)", kept, window, from)
	advice := fmt.Sprintf("set the option Retention of nodes to at least %v, twice the window", 2*window)
	switch {
	case kept < window:
		f.advise(Fail, "clients that return late are not recovered", advice)
	case kept < 2*window:
		f.advise(Warn, "a session that goes quiet right before its node dies may not be recovered", advice)
	}
	return f, nil
}

func checkLog(ctx context.Context, t *target) (Finding, error) {
	var since micro
	var bytes int64
	err := t.row(ctx, "log", nil, &since, &bytes)
	if errors.Is(err, pgx.ErrNoRows) {
		f := Finding{}
		f.advise(Fail, "the table meta has lost its only row", "pgsocket migrate up, which restores it")
		return f, nil
	}
	if err != nil {
		return Finding{}, err
	}
	f := ok("%.1f MB; its partition was changed %v ago", float64(bytes)/1e6, since.duration().Round(time.Second))
	if kept := t.retention(); kept > 0 && since.duration() > kept+time.Minute {
		f.advise(Warn, fmt.Sprintf("it is due after half of the retention, %v, so the log grows", kept/2),
			"find who holds a lock on the partitions of the log, such as pg_dump or an open transaction that has read them: select * from pg_locks join pg_class c on c.oid = relation where c.relname like 'log_%'")
	}
	return f, nil
}

// outboxTolerance is how long an event from SQL may wait: nodes relay within a second.
const outboxTolerance = 10 * time.Second

func checkOutbox(ctx context.Context, t *target) (Finding, error) {
	var waiting, bytes int64
	var oldest micro
	if err := t.row(ctx, "outbox", nil, &waiting, &oldest, &bytes); err != nil {
		return Finding{}, err
	}
	if waiting == 0 {
		return ok("no event from SQL waits"), nil
	}
	f := ok("%d events from SQL wait, %.1f MB, the oldest for %v", waiting, float64(bytes)/1e6, oldest.duration().Round(time.Millisecond))
	switch {
	case oldest.duration() <= outboxTolerance:
	case len(t.nodes) == 0:
		f.advise(Warn, "nodes relay them, and none runs", "start a node")
	default:
		f.advise(Warn, "nodes do not keep up, or cannot append", "see the errors in the logs of the nodes, and their metric append_seconds")
	}
	return f, nil
}

// deadTolerance is the number of dead rows that autovacuum leaves in a small table.
const deadTolerance = 10_000

func checkVacuum(ctx context.Context, t *target) (Finding, error) {
	var autovacuum, table string
	var dead, live int64
	if err := t.row(ctx, "vacuum", []any{t.o.Schema}, &autovacuum, &table, &dead, &live); err != nil {
		return Finding{}, err
	}
	f := ok("autovacuum is %s; the log and the outbox need none", autovacuum)
	if autovacuum != "on" {
		f.advise(Warn, "the tables of sessions grow", "set autovacuum = on")
	}
	if dead > deadTolerance && dead > live {
		f.advise(Warn, fmt.Sprintf("table %s has %d dead rows and %d live ones", table, dead, live),
			"see transactions below, which hold back vacuum; then vacuum "+pgx.Identifier{t.o.Schema, table}.Sanitize())
	}
	return f, nil
}
