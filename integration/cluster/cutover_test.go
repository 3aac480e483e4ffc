//nolint:paralleltest // each test has several processes to itself; together they would outgrow the machine
package cluster_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/internal/pgserver"
	"github.com/pgsocket/socketio/migrations"
)

// newerServer starts a server of the newest major version that is installed for tests, or of the one that is always there.
func newerServer(t *testing.T, opts pgserver.Options) *pgserver.Server {
	t.Helper()
	bins, err := filepath.Glob("../postgres/node_modules/postgres-*/native/bin")
	if err != nil {
		t.Fatal(err)
	}
	if len(bins) > 0 {
		bin, err := filepath.Abs(slices.Max(bins))
		if err != nil {
			t.Fatal(err)
		}
		opts.Bin = bin
	}
	return serverWith(t, opts)
}

// TestCutover_LogicalReplication_RunningNodes: nodes and SQL emit while the tables are replicated to a newer major version.
// Then the first server accepts no writes, until the second has everything, and the nodes go there without being stopped.
// Nothing that was acknowledged is lost, whether a node or SQL emitted it, and all clients are recovered.
func TestCutover_LogicalReplication_RunningNodes(t *testing.T) {
	const schema = "socketio"
	opts := pgserver.Options{Fast: true, Settings: map[string]string{"wal_level": "logical"}}
	first, second := serverWith(t, opts), newerServer(t, opts)
	dsn := oneAfterTheOther(t, first, second)
	for _, srv := range []*pgserver.Server{first, second} {
		if err := migrations.Up(t.Context(), srv.DSN(), &migrations.Options{Schema: schema}); err != nil {
			t.Fatal(err)
		}
	}
	// Transaction numbers of the first server are far ahead of those of the second one.
	execOn(t, first.DSN(), "do $$ begin for i in 1..5000 loop perform pg_current_xact_id(); commit; end loop; end $$")
	execOn(t, second.DSN(), "alter role app nologin", "truncate "+schema+".meta, "+schema+".socketio_migrations")
	cl := harness.NewClusterOn(t, dsn, schema, 2)
	live, behind, torn := newTestClients(t, cl, "live"), newTestClients(t, cl, "behind"), newTestClients(t, cl, "torn")
	c := emitAllTheTime(t, cl)
	c.more(100)
	execOn(t, first.DSN(), "create publication cutover for tables in schema "+schema)
	execOn(t, second.DSN(), fmt.Sprintf("create subscription cutover connection '%s' publication cutover", first.DSN()))
	awaitOn(t, second.DSN(), "the tables are copied", "select not exists (select from pg_subscription_rel where srsubstate <> 'r')")
	c.more(100)
	cutAll(behind)
	cl.AwaitQuery("they are parked", "select count(*) = 2 from %s.sessions where node is null")
	c.more(100)

	execOn(t, first.DSN(), "alter role app nologin", "select pg_terminate_backend(pid, 10000) from pg_stat_activity where usename = 'app'")
	cutAll(torn)
	for i := range 20 {
		execOn(t, first.DSN(), fmt.Sprintf("select %s.emit_all('tick', args => '[60, %d]')", schema, i))
	}
	awaitOn(t, first.DSN(), "the last change has arrived", "select replay_lsn >= pg_current_wal_lsn() from pg_stat_replication where application_name = 'cutover'")
	execOn(t, second.DSN(), "drop subscription cutover")
	if err := first.Shut(pgserver.Fast); err != nil {
		t.Fatal(err)
	}
	execOn(t, second.DSN(), "alter role app login")
	c.more(100)
	reconnectAll(cl, behind, torn)
	log := c.finish(live, behind, torn)

	for _, id := range slices.Concat(c.acknowledged(), sequence(60, 20)) {
		if !slices.Contains(log, id) {
			t.Errorf("%v was acknowledged and is lost", id)
		}
	}
	for _, p := range slices.Concat(live, behind, torn) {
		p.follows(log, true)
		p.recovered(true)
	}
	t.Logf("SUMMARY %s: %d events, %d acknowledged, %d failed", t.Name(), len(log), len(c.acknowledged()), c.failed())
}

// awaitOn waits until the answer of a query is true.
func awaitOn(t *testing.T, dsn, what, question string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if !harness.Eventually(harness.MaxWait, func() bool {
		var yes bool
		err := conn.QueryRow(t.Context(), question).Scan(&yes)
		return err == nil && yes
	}) {
		t.Fatalf("not in time: %s", what)
	}
}
