package main

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/pgtest"
)

// Through a pooler values come as texts, whose form depends on the settings of the role.
func TestStatus_AnyFormOfIntervals(t *testing.T) {
	t.Parallel()
	dsn, schema := pgtest.Schema(t)
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, sql := range []string{
		"insert into " + schema + ".nodes (id, position, retention_ms, lease_ms, name, started, seen) values (1, 0, 1, 1, 'n', now() - interval '50 hours', now() - interval '26 hours')",
		"insert into " + schema + ".log (id, origin, seq, packets, slot, frame, at) values (1, 1, 1, 1, 0, '', now() - interval '30 hours')",
	} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	for _, style := range []string{"postgres", "postgres_verbose", "sql_standard", "iso_8601"} {
		out, code := pgsocket(t, "status", "-schema", schema, "-dsn", dsn+"&default_query_exec_mode=exec&IntervalStyle="+style)
		for _, want := range []string{"written 30h", "50h", "26h"} {
			if code != 0 || !strings.Contains(out, want) {
				t.Errorf("%s: exit code %d, no %s in\n%s", style, code, want, out)
			}
		}
	}
}
