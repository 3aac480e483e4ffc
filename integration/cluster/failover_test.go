//nolint:paralleltest // each test runs several processes; in parallel they would overload the machine
package cluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/integration/checker"
	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/integration/wire"
	"github.com/pgsocket/socketio/internal/pgserver"
	"github.com/pgsocket/socketio/migrations"
)

// A standby is a pair of Postgres servers with asynchronous replication.
type standby struct {
	t       *testing.T
	primary *pgserver.Server
	standby *pgserver.Server
}

// newStandbyCluster starts nodes with a connection string of two hosts that selects the writable one.
func newStandbyCluster(t *testing.T, nodes int) (*standby, *harness.Cluster) {
	t.Helper()
	own := func(srv *pgserver.Server, err error) *pgserver.Server {
		t.Helper()
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
	const schema = "socketio"
	s := &standby{t: t, primary: own(pgserver.Start(t.Context(), pgserver.Options{Fast: true}))}
	if err := migrations.Up(t.Context(), s.primary.DSN(), &migrations.Options{Schema: schema}); err != nil {
		t.Fatal(err)
	}
	s.standby = own(s.primary.Standby(t.Context()))
	var ports []string
	var password string
	for _, srv := range []*pgserver.Server{s.primary, s.standby} {
		at, err := url.Parse(srv.DSN())
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, at.Port())
		password, _ = at.User.Password()
	}
	dsn := fmt.Sprintf("host=127.0.0.1,127.0.0.1 port=%s user=postgres password=%s dbname=postgres sslmode=disable target_session_attrs=read-write",
		strings.Join(ports, ","), password)
	return s, harness.NewClusterOn(t, dsn, schema, nodes)
}

func (s *standby) exec(sql ...string) {
	s.t.Helper()
	conn := s.connect(s.standby)
	for _, text := range sql {
		if _, err := conn.Exec(s.t.Context(), text); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *standby) connect(srv *pgserver.Server) *pgx.Conn {
	s.t.Helper()
	conn, err := pgx.Connect(s.t.Context(), srv.DSN())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// awaitCatchUp waits until the standby has replayed everything that is committed.
func (s *standby) awaitCatchUp() {
	s.t.Helper()
	var at string
	if err := s.connect(s.primary).QueryRow(s.t.Context(), "select pg_current_wal_lsn()::text").Scan(&at); err != nil {
		s.t.Fatal(err)
	}
	s.awaitQuery("select pg_last_wal_replay_lsn() >= '" + at + "'")
}

// stopReplication stops the replication to the standby.
func (s *standby) stopReplication() {
	s.t.Helper()
	s.exec("alter system set primary_conninfo = ''", "select pg_reload_conf()")
	s.awaitQuery("select not exists (select from pg_stat_wal_receiver)")
}

// failOver crashes the primary, calls meanwhile, and promotes the standby.
func (s *standby) failOver(meanwhile func()) {
	s.t.Helper()
	if err := s.primary.Shut(pgserver.Immediate); err != nil {
		s.t.Fatal(err)
	}
	meanwhile()
	s.exec("select pg_promote()")
	s.awaitQuery("select not pg_is_in_recovery()")
}

func (s *standby) awaitQuery(question string) {
	s.t.Helper()
	conn := s.connect(s.standby)
	if !harness.Eventually(20*time.Second, func() bool {
		var yes bool
		err := conn.QueryRow(s.t.Context(), question).Scan(&yes)
		return err == nil && yes
	}) {
		s.t.Fatalf("not true on the standby within 20 s: %s", question)
	}
}

// A testClient is a raw client that records what it receives, one list for each session.
type testClient struct {
	t      *testing.T
	name   string
	client *wire.Client

	mu       sync.Mutex
	sessions [][]checker.ID
}

func newTestClient(t *testing.T, name string, n *harness.Node) *testClient {
	t.Helper()
	p := &testClient{t: t, name: name}
	p.client = wire.New(wire.Options{Connected: p.onConnected, Event: p.onEvent})
	t.Cleanup(func() { p.client.Cut() })
	p.connect(n)
	return p
}

func (p *testClient) onConnected(_ string, recovered bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !recovered {
		p.sessions = append(p.sessions, nil)
	}
}

func (p *testClient) onEvent(data json.RawMessage) {
	id, ok := harness.ParseTick(string(data))
	if !ok {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.sessions) - 1
	p.sessions[last] = append(p.sessions[last], id)
}

// connect connects to a node, and retries while the node has no Postgres.
func (p *testClient) connect(n *harness.Node) {
	p.t.Helper()
	var err error
	if !harness.Eventually(30*time.Second, func() bool { err = p.client.Connect(harness.ContextFor(p.t, 5*time.Second), n.Addr); return err == nil }) {
		p.t.Fatalf("%s cannot connect: %v", p.name, err)
	}
}

// await waits for an event.
func (p *testClient) await(id checker.ID) {
	p.t.Helper()
	if !harness.Eventually(20*time.Second, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return slices.Contains(p.sessions[len(p.sessions)-1], id)
	}) {
		p.t.Fatalf("%s did not receive %v", p.name, id)
	}
}

// checkReceived fails the test unless the sessions received exactly these events.
func (p *testClient) checkReceived(want ...[]checker.ID) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.EqualFunc(p.sessions, want, slices.Equal) {
		p.t.Errorf("%s received by session\n  %v, want\n  %v", p.name, p.sessions, want)
	}
}

// TestFailover_LaggingStandby promotes an asynchronous standby that lacks the end of the log. The nodes reconnect to
// it. A client that stays connected misses nothing and receives nothing twice. A client that reconnects is recovered
// without a gap, or is not recovered: if it received events that the standby lacks, or if its session is lost.
func TestFailover_LaggingStandby(t *testing.T) {
	s, cl := newStandbyCluster(t, 3)
	history := &checker.History{}
	group := func(name string) []*testClient {
		var some []*testClient
		for i, n := range cl.Nodes {
			some = append(some, newTestClient(t, fmt.Sprintf("%s-%d", name, i), n))
		}
		return some
	}
	cut := func(some ...[]*testClient) {
		for _, p := range slices.Concat(some...) {
			p.client.Cut()
		}
	}
	parked := func(n int) {
		cl.AwaitQuery("the sessions are parked", fmt.Sprintf("select count(*) = %d from %%s.sessions where node is null", n))
	}
	live, ahead, behind, quiet := group("live"), group("ahead"), group("behind"), group("quiet")
	crashed := group("crashed") // cut after the crash of the primary
	await := func(id checker.ID, some ...[]*testClient) {
		for _, p := range slices.Concat(some...) {
			p.await(id)
		}
	}

	first := eventIDs(1, 100)
	cl.Nodes[0].MustPublish(history, harness.Publication{Publisher: 1, Count: 100})
	await(first[99], live, ahead, behind, quiet, crashed)
	cut(behind)
	parked(3)
	second := eventIDs(2, 50) // missed by the clients "behind"
	cl.Nodes[1].MustPublish(history, harness.Publication{Publisher: 2, Count: 50})
	await(second[49], live, ahead, quiet, crashed)
	s.awaitCatchUp()
	s.stopReplication()
	cut(quiet) // parked by transactions that the standby lacks; they received none of its events
	parked(6)
	newer := group("newer") // their sessions begin in what the standby lacks
	lost := eventIDs(3, 50)
	cl.Nodes[2].MustPublish(history, harness.Publication{Publisher: 3, Count: 50, Wait: true})
	await(lost[49], live, ahead, newer, crashed)
	cut(ahead, newer)
	parked(12) // by transactions that the standby lacks

	s.failOver(func() { cut(crashed) })
	third := eventIDs(4, 50)
	cl.Nodes[0].MustPublish(history, harness.Publication{Publisher: 4, Count: 50, Wait: true, TimeoutMS: 60_000})
	await(third[49], live)
	for i := range cl.Nodes {
		other := cl.Nodes[(i+1)%len(cl.Nodes)]
		for _, p := range []*testClient{ahead[i], behind[i], quiet[i], newer[i], crashed[i]} {
			p.connect(other)
		}
	}
	reasons := make(map[string][]string)
	for _, p := range slices.Concat(ahead, behind, quiet, newer, crashed) {
		var me harness.SocketState
		if err := p.client.Call(harness.ContextFor(t, 10*time.Second), &me, "whoami"); err != nil {
			t.Fatal(err)
		}
		reasons[me.Reason] = append(reasons[me.Reason], p.name)
	}
	last := eventIDs(5, 20)
	cl.Nodes[1].MustPublish(history, harness.Publication{Publisher: 5, Count: 20})
	await(last[19], live, ahead, behind, quiet, newer, crashed)

	kept := slices.Concat(first, second, third, last)
	for i := range cl.Nodes {
		live[i].checkReceived(slices.Concat(first, second, lost, third, last))
		behind[i].checkReceived(kept)
		quiet[i].checkReceived(kept)
		ahead[i].checkReceived(slices.Concat(first, second, lost), last)
		crashed[i].checkReceived(slices.Concat(first, second, lost), last) // although its node has written its progress to the standby
		newer[i].checkReceived(lost, last)
	}
	for reason := range reasons {
		if !slices.Contains([]string{"", "offset of another log", "offset ahead of the log", "unknown session"}, reason) {
			t.Errorf("unexpected reason %q", reason)
		}
	}
	for _, p := range newer {
		if !slices.Contains(reasons["unknown session"], p.name) {
			t.Errorf("%s: want reason \"unknown session\": %v", p.name, reasons)
		}
	}
	t.Logf("SUMMARY %s: %v", t.Name(), reasons)
}
