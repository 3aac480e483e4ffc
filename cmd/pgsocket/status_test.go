package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/pgsocket/socketio/internal/pgserver"
	"github.com/pgsocket/socketio/pgtest"
)

// Through a pooler values come as texts, whose form depends on the settings of the role.
func TestStatus_AnyFormOfIntervals(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	execute(t, connect(t, dsn), schema,
		"insert into SCHEMA.nodes (id, position, retention_ms, lease_ms, name, started, seen) values (1, 0, 1, 1, 'n', now() - interval '50 hours', now() - interval '26 hours')",
		"insert into SCHEMA.log (id, origin, seq, packets, slot, frame, at) values (1, 1, 1, 1, 0, '', now() - interval '30 hours')")
	for _, style := range []string{"postgres", "postgres_verbose", "sql_standard", "iso_8601"} {
		out, code := pgsocket(t, "status", "--schema", schema, "--dsn", dsn+"&default_query_exec_mode=exec&IntervalStyle="+style)
		for _, want := range []string{"written 30h", "50h", "26h"} {
			if code != 0 || !strings.Contains(out, want) {
				t.Errorf("%s: exit code %d, no %s in\n%s", style, code, want, out)
			}
		}
	}
}

// twoNodes are rows of a node of this version and of one that registered without its process.
const twoNodes = `insert into SCHEMA.nodes (id, position, retention_ms, lease_ms, name, started, seen, host, pid, version, server) values
	(7000000000000000001, 4096 * 3, 300000, 10000, 'web', now() - interval '1 hour', now(), 'web-1', 4711, 'v0.1.0', 'srv'),
	(2, 4096, 300000, 10000, 'worker', now() - interval '1 day', now() - interval '1 minute', null, null, null, null)`

const threeBatches = "insert into SCHEMA.log (id, origin, seq, packets, slot, frame) values (1, 1, 1, 1, 0, ''), (2, 1, 2, 1, 0, ''), (3, 1, 3, 2, 0, '')"

func TestStatus_Text(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	execute(t, connect(t, dsn), schema, twoNodes, threeBatches)
	got := output(t, "status", "--schema", schema, "--dsn", dsn)
	got = strings.ReplaceAll(got, schema, "SCHEMA")
	for pattern, text := range map[string]string{ // times, and what depends on the size of a page
		`written \d+m?s ago`: "written now", `\d+\.\d MB`: "0.1 MB", `1h0m\d+s`: "1h0m0s", `24h0m\d+s`: "24h0m0s", `1m\d+(\.\d)?s ago`: "1m0s ago", ` [\d.]+m?s ago`: " 0s ago",
	} {
		got = regexp.MustCompile(pattern).ReplaceAllString(got, text)
	}
	got = regexp.MustCompile(` +`).ReplaceAllString(got, " ") // the columns are as wide as the times that were replaced
	const want = `schema SCHEMA, version 1
log position 12289, written now; kept after 0; 0.1 MB
outbox nothing waits
sessions 0 live, 0 parked, 0 to be removed
nodes 2

NODE HOST PID UP SEEN BEHIND SESSIONS VERSION ID
web web-1 4711 1h0m0s 0s ago 0 0 v0.1.0 7000000000000000001
worker ? ? 24h0m0s 1m0s ago 2 0 ? 2
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestStatus_JSON(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	execute(t, connect(t, dsn), schema, twoNodes, threeBatches, "select SCHEMA.emit_all('waits')")
	out := output(t, "status", "--json", "--schema", schema, "--dsn", dsn)
	var got struct {
		Schema  string
		Version int `json:"schema_version"`
		Log     struct {
			Low, High int64
			Age       *float64
		}
		Outbox struct {
			Waiting int
			Oldest  *float64
		}
		Nodes []struct {
			Name, ID, Host, Version string
			PID                     int
			Behind                  int `json:"batches_behind"`
			Up, Seen, Lease         float64
		}
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got.Schema != schema || got.Version != 1 || got.Log.High != 3*4096+1 || got.Log.Age == nil || got.Outbox.Waiting != 1 || got.Outbox.Oldest == nil || len(got.Nodes) != 2 {
		t.Fatalf("%+v", got)
	}
	web, worker := got.Nodes[0], got.Nodes[1]
	if web.ID != "7000000000000000001" || web.Host != "web-1" || web.PID != 4711 || web.Version != "v0.1.0" || web.Up < 3600 || web.Lease != 10 {
		t.Errorf("%+v", web)
	}
	if worker.Behind != 2 || worker.Seen < 60 || worker.PID != 0 {
		t.Errorf("%+v", worker)
	}
}

// A pooler in transaction mode ignores search_path and mixes prepared statements, whatever the address says.
func TestStatus_ThroughTransactionPooler(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	pooled := strings.ReplaceAll(pooler(t, dsn, pgserver.PoolerOptions{Mode: "transaction", Size: 1}), "default_query_exec_mode=exec", "")
	for range 2 {
		if out := output(t, "status", "--schema", schema, "--dsn", pooled); !strings.Contains(out, schema+", version 1") {
			t.Errorf("%s", out)
		}
	}
}

func TestStatus_RoleThatReads(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	conn := connect(t, dsn)
	execute(t, conn, schema, twoNodes, threeBatches, "select SCHEMA.emit_all('waits')",
		`insert into SCHEMA.sessions (epoch, opened, covered, node, expires_at, window_ms, known, checkpointed, pid_hash, sid, namespace, initial_offset, last)
			select 1, 0, 0, node, now() + expires, 1, true, true, sid, sid, '/', '', ''
			from (values ('a', 2, null), ('b', null, interval '1 hour'), ('c', null, '1 hour'), ('d', null, '-1 hour')) v (sid, node, expires)`)
	name, address := role(t, dsn, schema, "")
	status := []string{"status", "--schema", schema, "--dsn", address}
	if out, code := pgsocket(t, status...); code != 1 || !strings.Contains(out, "the owner gives it those that status needs with allow_read") {
		t.Errorf("without rights: exit code %d: %s", code, out)
	}
	execute(t, conn, schema, "select SCHEMA.allow_read('"+name+"')")
	out := output(t, status...)
	for _, want := range []string{"position 12289", "1 live, 2 parked, 1 to be removed", "1 events wait", "worker"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestStatus_MetaWithoutItsRow(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	execute(t, connect(t, dsn), schema, "delete from SCHEMA.meta")
	if out, code := pgsocket(t, "status", "--schema", schema, "--dsn", dsn); code != 1 || !strings.Contains(out, "lost its only row; pgsocket migrate up restores it") {
		t.Errorf("exit code %d: %s", code, out)
	}
}

// TestStatus_HelpExplainsColumns: each column of the table of nodes is a word of the help.
func TestStatus_HelpExplainsColumns(t *testing.T) {
	t.Parallel()
	help := output(t, "status", "--help")
	for _, name := range nodeColumns {
		if !regexp.MustCompile(`\b` + name + `\b`).MatchString(help) {
			t.Errorf("the help does not explain %s:\n%s", name, help)
		}
	}
}
