package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

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
