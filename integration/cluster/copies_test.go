//nolint:paralleltest // each test has several processes to itself; together they would outgrow the machine
package cluster_test

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/integration/checker"
	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/internal/pgserver"
	"github.com/pgsocket/socketio/migrations"
)

// A copying is a cluster that emits all the time, from its nodes and from SQL, while its database is copied and the
// nodes go to the copy.
type copying struct {
	*harness.Cluster

	stop func()

	mu     sync.Mutex
	acked  []checker.ID
	errors []string
}

// Emitted notes what was acknowledged.
func (c *copying) Emitted(e checker.Emit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.Err == "" && e.End > 0 {
		c.acked = append(c.acked, e.ID)
	} else {
		c.errors = append(c.errors, e.Err)
	}
}

// failed returns how many emits of nodes failed, and logs how.
func (c *copying) failed() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.errors); n > 0 {
		c.T.Logf("%d emits failed, the first with: %s", n, c.errors[0])
	}
	return len(c.errors)
}

func (c *copying) acknowledged() []checker.ID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.acked)
}

// fromSQL is the publisher that emits from SQL all the time.
const fromSQL = 50

// emitAllTheTime emits until stop is called, which waits for the outcomes.
func emitAllTheTime(t *testing.T, cl *harness.Cluster) *copying {
	t.Helper()
	c := &copying{Cluster: cl}
	ctx, cancel := context.WithCancel(t.Context())
	var emitting sync.WaitGroup
	for i, n := range cl.Nodes {
		emitting.Go(func() {
			for round := 0; ctx.Err() == nil; round++ {
				n.Publish(context.Background(), c, harness.Publication{Publisher: 10 + i, First: 20 * round, Count: 20, PerSecond: 100, TimeoutMS: 60_000})
			}
		})
	}
	emitting.Go(func() { c.emitFromSQL(ctx, fromSQL) })
	c.stop = sync.OnceFunc(func() { cancel(); emitting.Wait() })
	t.Cleanup(c.stop)
	return c
}

// emitFromSQL emits one event in each transaction, and connects again when the connection breaks.
func (c *copying) emitFromSQL(ctx context.Context, publisher int) {
	var conn *pgx.Conn
	sql := "select " + pgx.Identifier{c.Schema}.Sanitize() + ".emit_all('tick', args => $1::text::jsonb)"
	for seq := 0; ctx.Err() == nil; {
		if conn == nil {
			var err error
			if conn, err = pgx.Connect(ctx, c.DSN); err != nil {
				conn = nil
				time.Sleep(10 * time.Millisecond)
				continue
			}
		}
		if _, err := conn.Exec(ctx, sql, fmt.Sprintf("[%d, %d]", publisher, seq)); err != nil {
			_ = conn.Close(context.Background())
			conn = nil
		}
		seq++
		time.Sleep(5 * time.Millisecond)
	}
	if conn != nil {
		_ = conn.Close(context.Background())
	}
}

// more waits until so many more events were acknowledged.
func (c *copying) more(n int) {
	c.T.Helper()
	from := len(c.acknowledged())
	if !harness.Eventually(harness.MaxWait, func() bool { return len(c.acknowledged()) >= from+n }) {
		c.T.Fatalf("%d events acknowledged, %d before", len(c.acknowledged()), from)
	}
}

// finish stops emitting, has everybody hear a last event, and returns what the log has.
func (c *copying) finish(clients ...[]*testClient) []checker.ID {
	c.T.Helper()
	c.stop()
	last := checker.NewID(99, 0)
	c.Nodes[0].MustPublish(&checker.History{}, harness.Publication{Publisher: 99, Count: 1, TimeoutMS: 60_000})
	for _, p := range slices.Concat(clients...) {
		p.await(last)
	}
	return c.LogEvents()
}

// follows fails the test unless each session of the client has received a piece of the log without a hole and nothing
// twice, the last one to its end; with first, the first one from its beginning. Besides that it may have received what was
// lost. Where a client received an event before the log lost it, the event holds its place in the log when it is there again.
func (p *testClient) follows(log []checker.ID, first bool) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	at := make(map[checker.ID]int, len(log))
	for i, id := range log {
		at[id] = i
	}
	for k, received := range p.sessions {
		seen := make(map[checker.ID]bool, len(received))
		from, next := -1, -1
		for _, id := range received {
			i, kept := at[id]
			switch {
			case seen[id]:
				p.t.Errorf("%s received %v twice", p.name, id)
			case kept && next >= 0 && i != next:
				p.t.Errorf("%s received %v, which is %d of the log, after %d", p.name, id, i, next-1)
			}
			if seen[id] = true; kept {
				next = i + 1
				if from < 0 {
					from = i
				}
			}
		}
		if k == 0 && first && from != 0 {
			p.t.Errorf("%s received the log from %d on", p.name, from)
		}
		if k == len(p.sessions)-1 && next != len(log) {
			p.t.Errorf("%s received the log up to %d of %d", p.name, next, len(log))
		}
	}
}

// recovered fails the test unless the client has had one session only, or more than one, as told.
func (p *testClient) recovered(want bool) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if got := len(p.sessions) == 1; got != want {
		p.t.Errorf("%s: recovered=%v after %d sessions, want %v", p.name, got, len(p.sessions), want)
	}
}

// newTestClients returns a client of each node.
func newTestClients(t *testing.T, c *harness.Cluster, name string) []*testClient {
	t.Helper()
	var some []*testClient
	for i, n := range c.Nodes {
		some = append(some, newTestClient(t, fmt.Sprintf("%s-%d", name, i), n))
	}
	return some
}

func cutAll(clients ...[]*testClient) {
	for _, p := range slices.Concat(clients...) {
		p.client.Cut()
	}
}

// reconnectAll connects clients to the next node.
func reconnectAll(c *harness.Cluster, clients ...[]*testClient) {
	c.T.Helper()
	for _, some := range clients {
		for i, p := range some {
			p.connect(c.Nodes[(i+1)%len(c.Nodes)])
		}
	}
}

// server starts a private Postgres.
func server(t *testing.T) *pgserver.Server {
	t.Helper()
	return serverWith(t, pgserver.Options{Fast: true})
}

func serverWith(t *testing.T, opts pgserver.Options) *pgserver.Server {
	t.Helper()
	srv, err := pgserver.Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Stop(); err != nil {
			t.Errorf("stop a private Postgres: %v", err)
		}
	})
	return srv
}

// oneAfterTheOther returns the address of the role app at the first of the servers that accepts connections.
func oneAfterTheOther(t *testing.T, servers ...*pgserver.Server) string {
	t.Helper()
	var hosts, ports []string
	for _, srv := range servers {
		at, err := url.Parse(srv.DSN())
		if err != nil {
			t.Fatal(err)
		}
		hosts, ports = append(hosts, at.Hostname()), append(ports, at.Port())
		execOn(t, srv.DSN(), "create role app superuser login password 'app'")
	}
	return fmt.Sprintf("host=%s port=%s user=app password=app dbname=postgres sslmode=disable", strings.Join(hosts, ","), strings.Join(ports, ","))
}

func execOn(t *testing.T, dsn string, statements ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	for _, sql := range statements {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// TestDump_NodesGoToTheCopy: a dump is taken while nodes and SQL emit, and restored in another server. Some seconds
// later the first server ends and the nodes go to the other one, which lacks what was emitted since the dump.
func TestDump_NodesGoToTheCopy(t *testing.T) {
	const schema = "socketio"
	first, second := server(t), server(t)
	dsn := oneAfterTheOther(t, first, second)
	if err := migrations.Up(t.Context(), first.DSN(), &migrations.Options{Schema: schema}); err != nil {
		t.Fatal(err)
	}
	cl := harness.NewClusterOn(t, dsn, schema, 2)
	live, behind, torn, ahead := newTestClients(t, cl, "live"), newTestClients(t, cl, "behind"), newTestClients(t, cl, "torn"), newTestClients(t, cl, "ahead")

	c := emitAllTheTime(t, cl)
	c.more(100)
	cutAll(behind)
	cl.AwaitQuery("they are parked", "select count(*) = 2 from %s.sessions where node is null")
	c.more(100)
	dump, err := first.Dump(t.Context(), schema)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Restore(t.Context(), dump); err != nil {
		t.Fatal(err)
	}
	born := newTestClients(t, cl, "born")
	before := len(c.acknowledged())
	c.more(200)
	lost := c.acknowledged()[before:]
	for _, p := range ahead {
		p.await(lost[len(lost)-1])
	}
	cutAll(ahead)
	if err := first.Shut(pgserver.Fast); err != nil {
		t.Fatal(err)
	}
	cutAll(torn, born) // recovered or not: their nodes may be at the copy by now
	c.more(100)
	reconnectAll(cl, behind, torn, ahead, born)
	log := c.finish(live, behind, torn, ahead, born)

	missing := slices.DeleteFunc(slices.Clone(lost), func(id checker.ID) bool { return slices.Contains(log, id) })
	if len(missing) == 0 {
		t.Error("nothing was lost since the dump, so this shows nothing")
	}
	for i := range cl.Nodes {
		for _, p := range []*testClient{live[i], behind[i], torn[i], ahead[i]} {
			p.follows(log, true)
		}
		born[i].follows(log, false)
		live[i].recovered(true)
		behind[i].recovered(true)
		ahead[i].recovered(false)
		born[i].recovered(false)
	}
	t.Logf("SUMMARY %s: %d events in the log, %d acknowledged since the dump and lost", t.Name(), len(log), len(missing))
}

// TestDump_NodesStopped: what an operator should do. The nodes are stopped, the schema is dumped, while SQL goes on
// emitting, and restored in another server, or in the same one, and nodes start there.
func TestDump_NodesStopped(t *testing.T) {
	for _, same := range []bool{false, true} {
		t.Run(fmt.Sprintf("same server=%v", same), func(t *testing.T) {
			const schema = "socketio"
			first := server(t)
			if err := migrations.Up(t.Context(), first.DSN(), &migrations.Options{Schema: schema}); err != nil {
				t.Fatal(err)
			}
			execOn(t, first.DSN(), "do $$ begin for i in 1..500 loop perform pg_current_xact_id(); commit; end loop; end $$")
			old := harness.NewClusterOn(t, first.DSN(), schema, 2)
			all, quiet := newTestClients(t, old, "all"), newTestClients(t, old, "quiet")
			cutAll(quiet) // before it has received anything
			old.AwaitQuery("they are parked", "select count(*) = 2 from %s.sessions where node is null")
			c := emitAllTheTime(t, old)
			c.more(200)
			c.stop()
			for _, n := range old.Nodes {
				n.Signal(syscall.SIGTERM)
				n.Wait(harness.MaxWait)
				n.Down = true
			}
			emit := "select " + schema + ".emit_all('tick', args => '[%d, %d]')"
			for i := range 20 {
				execOn(t, first.DSN(), fmt.Sprintf(emit, 60, i))
			}
			dump, err := first.Dump(t.Context(), schema)
			if err != nil {
				t.Fatal(err)
			}
			target := first
			if same {
				execOn(t, first.DSN(), "drop schema "+schema+" cascade")
			} else {
				target = server(t)
			}
			if err := target.Restore(t.Context(), dump); err != nil {
				t.Fatal(err)
			}
			for i := range 20 {
				execOn(t, target.DSN(), fmt.Sprintf(emit, 61, i))
			}
			cl := harness.NewClusterOn(t, target.DSN(), schema, 2)
			reconnectAll(cl, all, quiet)
			c = &copying{Cluster: cl, stop: func() {}}
			log := c.finish(all, quiet)
			for publisher := 60; publisher <= 61; publisher++ {
				for _, id := range sequence(publisher, 20) {
					if !slices.Contains(log, id) {
						t.Errorf("%v is not in the log", id)
					}
				}
			}
			for _, p := range slices.Concat(all, quiet) {
				p.follows(log, true)
				p.recovered(true)
			}
		})
	}
}

// TestTemplateCopy_NodesGoToTheCopy: a database is copied (create database ... template) while the cluster has events on
// their way, which takes its connections away for as long; the cluster goes on in the original, and then the copy takes
// its name.
func TestTemplateCopy_NodesGoToTheCopy(t *testing.T) {
	const schema = "socketio"
	srv := server(t)
	admin := srv.DSN()
	execOn(t, admin, "create database app")
	at, err := url.Parse(admin)
	if err != nil {
		t.Fatal(err)
	}
	at.Path = "/app"
	if err := migrations.Up(t.Context(), at.String(), &migrations.Options{Schema: schema}); err != nil {
		t.Fatal(err)
	}
	cl := harness.NewClusterOn(t, at.String(), schema, 2)
	live, behind, ahead := newTestClients(t, cl, "live"), newTestClients(t, cl, "behind"), newTestClients(t, cl, "ahead")
	const closed = "alter database app allow_connections false"
	const terminate = "select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = 'app'"

	c := emitAllTheTime(t, cl)
	c.more(100)
	cutAll(behind)
	cl.AwaitQuery("they are parked", "select count(*) = 2 from %s.sessions where node is null")
	execOn(t, admin, closed, terminate, "create database copy template app", "alter database app allow_connections true")
	before := len(c.acknowledged())
	c.more(200)
	lost := c.acknowledged()[before:]
	for _, p := range ahead {
		p.await(lost[len(lost)-1])
	}
	cutAll(ahead)
	execOn(t, admin, closed, terminate, "alter database app rename to original", "alter database copy rename to app")
	c.more(100)
	reconnectAll(cl, behind, ahead)
	log := c.finish(live, behind, ahead)

	missing := slices.DeleteFunc(slices.Clone(lost), func(id checker.ID) bool { return slices.Contains(log, id) })
	if len(missing) == 0 {
		t.Error("nothing was lost since the copy, so this shows nothing")
	}
	for i := range cl.Nodes {
		for _, p := range []*testClient{live[i], behind[i], ahead[i]} {
			p.follows(log, true)
		}
		live[i].recovered(true)
		behind[i].recovered(true)
		ahead[i].recovered(false)
	}
	t.Logf("SUMMARY %s: %d events in the log, %d acknowledged since the copy and lost; failed: %d", t.Name(), len(log), len(missing), c.failed())
	if n := c.failed(); n > 0 {
		t.Errorf("%d emits failed while the database took no connections", n)
	}
}

// TestPromote_SynchronousStandby: the primary is killed while nodes and SQL emit, and its standby is promoted. Nothing
// that was acknowledged is lost.
func TestPromote_SynchronousStandby(t *testing.T) {
	s, cl := newStandbyCluster(t, 3)
	primary := s.connect(s.primary)
	for _, sql := range []string{"alter system set synchronous_standby_names = '*'", "select pg_reload_conf()"} {
		if _, err := primary.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if !harness.Eventually(20*time.Second, func() bool {
		var yes bool
		err := primary.QueryRow(t.Context(), "select exists (select from pg_stat_replication where sync_state = 'sync')").Scan(&yes)
		return err == nil && yes
	}) {
		t.Fatal("the standby never became synchronous")
	}
	live, behind, torn, ahead := newTestClients(t, cl, "live"), newTestClients(t, cl, "behind"), newTestClients(t, cl, "torn"), newTestClients(t, cl, "ahead")
	c := emitAllTheTime(t, cl)
	c.more(100)
	cutAll(behind)
	cl.AwaitQuery("they are parked", "select count(*) = 3 from %s.sessions where node is null")
	c.more(100)
	cutAll(ahead)
	cl.AwaitQuery("they are parked", "select count(*) = 6 from %s.sessions where node is null")
	s.failOver(func() { cutAll(torn) })
	c.more(100)
	reconnectAll(cl, behind, torn, ahead)
	log := c.finish(live, behind, torn, ahead)

	for _, id := range c.acknowledged() {
		if !slices.Contains(log, id) {
			t.Errorf("%v was acknowledged and is lost", id)
		}
	}
	for _, p := range slices.Concat(live, behind, torn, ahead) {
		p.follows(log, true)
		p.recovered(true)
	}
	t.Logf("SUMMARY %s: %d events, %d acknowledged, %d failed", t.Name(), len(log), len(c.acknowledged()), c.failed())
}
