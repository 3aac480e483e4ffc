package harness

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/integration/checker"
)

// AwaitQuery waits until a query returns true; %s in it stands for the schema.
func (c *Cluster) AwaitQuery(what, question string) {
	c.T.Helper()
	conn := c.Connect()
	if !Eventually(20*time.Second, func() bool {
		var yes bool
		err := conn.QueryRow(c.T.Context(), fmt.Sprintf(question, c.Schema)).Scan(&yes)
		return err == nil && yes
	}) {
		c.T.Errorf("not within 20 s: %s", what)
	}
}

// NodeIDs returns the ids of the nodes in the table of nodes.
func (c *Cluster) NodeIDs() []int64 {
	c.T.Helper()
	var ids []int64
	conn := c.Connect()
	if err := conn.QueryRow(c.T.Context(), "select array_agg(id order by id) from "+c.Schema+".nodes").Scan(&ids); err != nil {
		c.T.Fatal(err)
	}
	return ids
}

// AwaitHeartbeats waits until every node has renewed its lease some more times.
func (c *Cluster) AwaitHeartbeats(times int) {
	c.T.Helper()
	conn := c.Connect()
	last := ""
	for range times {
		seen := func() (text string) {
			err := conn.QueryRow(c.T.Context(), "select string_agg(id || ' ' || seen, ',' order by id) from "+c.Schema+".nodes").Scan(&text)
			if err != nil {
				c.T.Fatal(err)
			}
			return text
		}
		moved := func() bool {
			now := strings.Split(seen(), ",")
			for before := range strings.SplitSeq(last, ",") {
				if slices.Contains(now, before) {
					return false
				}
			}
			return true
		}
		if last == "" {
			last = seen()
		}
		if !Eventually(20*time.Second, moved) {
			c.T.Fatalf("no heartbeats: %s", last)
		}
		last = seen()
	}
}

// LogEvents returns the ids of the events in the log.
func (c *Cluster) LogEvents() (ids []checker.ID) {
	c.T.Helper()
	rows, err := c.Connect().Query(c.T.Context(), fmt.Sprintf(`
		select %[1]s.name_text(p.payload) from %[1]s.log l cross join lateral %[1]s.frame_packets(l.frame) p
		where p.kind = 0 order by l.id, p.index`, c.Schema))
	if err != nil {
		c.T.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			c.T.Fatal(err)
		}
		if id, ok := ParseTick(text); ok {
			ids = append(ids, id)
		}
	}
	if err := rows.Err(); err != nil {
		c.T.Fatal(err)
	}
	return ids
}

// A LogEntry is an event or an operation in the log.
type LogEntry struct {
	Kind    string
	Rooms   []string
	Payload string
}

// LogEntries returns the events and operations in the log.
func (c *Cluster) LogEntries() []LogEntry {
	c.T.Helper()
	rows, err := c.Connect().Query(c.T.Context(), `
		select kind, rooms, payload from `+c.Schema+`.view_packets
		where kind in ('event', 'join', 'leave', 'disconnect') order by position`)
	if err != nil {
		c.T.Fatal(err)
	}
	var all []LogEntry
	for rows.Next() {
		var l LogEntry
		if err := rows.Scan(&l.Kind, &l.Rooms, &l.Payload); err != nil {
			c.T.Fatal(err)
		}
		all = append(all, l)
	}
	if err := rows.Err(); err != nil {
		c.T.Fatal(err)
	}
	return all
}

// TrimLog trims the log up to a position: it switches to the next partition before its time.
func (c *Cluster) TrimLog(t *testing.T, to adapter.Position) {
	t.Helper()
	conn := c.Connect()
	if !Eventually(MaxWait, func() bool {
		for _, sql := range []string{
			"update %s.meta set slot_started = slot_started - interval '1 hour'",
			"select %s.empty_slot('1 second')", // fails while the partition is read
			"select %s.switch_slot('1 second')",
		} {
			_, _ = conn.Exec(t.Context(), fmt.Sprintf(sql, c.Schema))
		}
		return c.LogLow(t) > to
	}) {
		t.Fatalf("the log was not trimmed: its first position is %d", c.LogLow(t))
	}
}

// LogLow returns the position up to which the log is trimmed.
func (c *Cluster) LogLow(t *testing.T) (p adapter.Position) {
	t.Helper()
	c.QueryRow(t, &p, "select low from %s.meta")
	return p
}

// LogHead returns the newest position of the log.
func (c *Cluster) LogHead(t *testing.T) (p adapter.Position) {
	t.Helper()
	c.QueryRow(t, &p, "select coalesce(max(id * 4096 + packets - 1), 0) from %s.log")
	return p
}

// QueryRow scans one value; %s in the query stands for the schema.
func (c *Cluster) QueryRow(t *testing.T, v any, sql string) {
	t.Helper()
	conn := c.Connect()
	if err := conn.QueryRow(t.Context(), fmt.Sprintf(sql, c.Schema)).Scan(v); err != nil {
		t.Fatal(err)
	}
}

// AwaitListeners waits until every node has a listening connection that is not among the former ones, and returns
// their backend pids.
func (c *Cluster) AwaitListeners(conn *pgx.Conn, former []uint32) []uint32 {
	c.T.Helper()
	for begun := time.Now(); time.Since(begun) < MaxWait; Pause(c.T.Context(), 50*time.Millisecond) {
		rows, err := conn.Query(c.T.Context(), `
			select pid from pg_stat_activity
			where application_name like $1 || '-%-listen' and state = 'idle' and pid <> all($2)`,
			c.Schema, former)
		if err != nil {
			c.T.Fatal(err)
		}
		pids, err := pgx.CollectRows(rows, pgx.RowTo[uint32])
		if err != nil {
			c.T.Fatal(err)
		}
		if len(pids) == len(c.Nodes) {
			return pids
		}
	}
	c.T.Fatal("the nodes do not listen again")
	return nil
}
