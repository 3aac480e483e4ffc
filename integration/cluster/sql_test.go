package cluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/integration/checker"
	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/integration/wire"
)

// longRun reports whether to measure for as long as docs/benchmarks.md needs.
func longRun() bool { return os.Getenv("SOCKETIO_TEST_LONG") != "" }

// TestSQLEmit_ConcurrentTransactions: on three nodes with 50 official clients, six writers emit in transactions with
// savepoints, pauses and rollbacks, beside six publishers in Go; first alone, and then beside an open transaction
// that has emitted.
func TestSQLEmit_ConcurrentTransactions(t *testing.T) { //nolint:paralleltest // it measures, and must not share the machine
	open := 4 * time.Second
	if longRun() {
		open = 60 * time.Second
	}
	rng := harness.Seed(t)
	cl := harness.NewCluster(t, 3)
	cs := harness.NewClients(t, 1)
	const size, writers = 50, 6
	cs.ConnectAll(size, cl.RunningURLs(), nil)
	cs.Join(harness.Numbers(size), harness.RoomsOf)
	probe := newLatencyProbe(t, cl)

	began := time.Now()
	ctx, stop := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() { emitSQL(ctx, cl, cs.History, 20+w, harness.NewRand(rng+uint64(w))) })
		writing.Go(func() {
			for round := 0; ctx.Err() == nil; round++ {
				cl.Nodes[w%3].Publish(context.Background(), cs.History, harness.Publication{
					Publisher: 40 + w, First: round * 50, Count: 50, Targets: harness.Targets(), PerSecond: 50, TimeoutMS: 30000,
				})
			}
		})
	}
	alone := probe.measure(open)
	sleeper := cl.Connect()
	exec := func(sql string) int64 {
		t.Helper()
		if _, err := sleeper.Exec(t.Context(), strings.ReplaceAll(sql, "SCHEMA", pgx.Identifier{cl.Schema}.Sanitize())); err != nil {
			t.Fatal(err)
		}
		return time.Now().UnixNano()
	}
	exec("begin")
	start := exec("select SCHEMA.emit_all('tick', args => '[77, 0]')")
	beside := probe.measure(open) // fails if events wait for the end of the transaction
	exec("select SCHEMA.emit_all('tick', args => '[77, 1]')")
	end := exec("commit")
	for seq := range 2 {
		cs.History.Emitted(checker.Emit{ID: checker.NewID(77, seq), Start: start, End: end})
	}
	stop()
	writing.Wait()
	cs.AwaitDelivery(cl.Nodes[0], harness.MaxWait)

	cs.Check()
	all, acknowledged := cs.History.Emits()
	t.Logf("SUMMARY %s: %d events (%d acknowledged), %d receipts in %.1fs; from commit to receipt: %v; beside a transaction open for %v: %v",
		t.Name(), all, acknowledged, cs.History.Receipts(), time.Since(began).Seconds(), alone, open, beside)
}

// emitSQL emits in transactions until ctx ends. It records only what is committed: any other event that a client
// receives was never emitted.
func emitSQL(ctx context.Context, cl *harness.Cluster, h *checker.History, publisher int, rng *rand.Rand) {
	conn, err := pgx.Connect(ctx, cl.DSN)
	if err != nil {
		cl.T.Error(err)
		return
	}
	defer conn.Close(context.Background())
	seq := 0
	run := func(sql string, args ...any) {
		if _, err := conn.Exec(context.Background(), sql, args...); err != nil && ctx.Err() == nil {
			cl.T.Errorf("writer %d: %v", publisher, err)
		}
	}
	schema := pgx.Identifier{cl.Schema}.Sanitize()
	emitted := func() checker.Emit {
		e := checker.Emit{ID: checker.NewID(publisher, seq), To: harness.Targets()[seq%len(harness.Targets())], Start: time.Now().UnixNano()}
		if len(e.To.Rooms) == 0 {
			run("select "+schema+".emit_all('tick', args => jsonb_build_array($1::int, $2::int), except_rooms => $3)", publisher, seq, e.To.Except)
		} else {
			run("select "+schema+".emit_to($1, 'tick', args => jsonb_build_array($2::int, $3::int), except_rooms => $4)", e.To.Rooms, publisher, seq, e.To.Except)
		}
		seq++
		return e
	}
	for ctx.Err() == nil {
		var events []checker.Emit
		run("begin")
		for range 1 + rng.IntN(4) {
			if rng.IntN(3) == 0 {
				run("savepoint s")
				e := emitted()
				if rng.IntN(2) == 0 {
					run("rollback to s")
				} else {
					events = append(events, e)
				}
			} else {
				events = append(events, emitted())
			}
			harness.Pause(context.Background(), time.Duration(rng.IntN(12))*time.Millisecond)
		}
		if rng.IntN(5) == 0 {
			run("rollback")
			continue
		}
		run("commit")
		end := time.Now().UnixNano()
		for _, e := range events {
			e.End = end
			h.Emitted(e)
		}
	}
}

// A latencyProbe measures the time from a commit to the receipt by a client.
type latencyProbe struct {
	t        *testing.T
	conn     *pgx.Conn
	emit     string
	received chan time.Time
	pace     time.Duration
}

func newLatencyProbe(t *testing.T, cl *harness.Cluster) *latencyProbe {
	t.Helper()
	p := &latencyProbe{t: t, conn: cl.Connect(), received: make(chan time.Time, 1), pace: 20 * time.Millisecond}
	p.emit = "select " + pgx.Identifier{cl.Schema}.Sanitize() + ".emit('probe', 'probe', '{}', notify => %v)"
	c := wire.New(wire.Options{Event: func(data json.RawMessage) {
		if strings.Contains(string(data), `"probe"`) {
			p.received <- time.Now()
		}
	}})
	if err := c.Connect(t.Context(), cl.Nodes[1].Addr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := c.Call(t.Context(), nil, "join", []string{"probe"}); err != nil {
		t.Fatal(err)
	}
	return p
}

type latency struct {
	n             int
	p50, p99, max time.Duration
}

func (l latency) String() string {
	return fmt.Sprintf("n %d, p50 %.1f ms, p99 %.1f ms, max %.1f ms", l.n, ms(l.p50), ms(l.p99), ms(l.max))
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (p *latencyProbe) measure(d time.Duration) latency { return p.measureForm(d, false) }

func (p *latencyProbe) measureForm(d time.Duration, ring bool) latency {
	p.t.Helper()
	var took []time.Duration
	for begun := time.Now(); time.Since(begun) < d; {
		if _, err := p.conn.Exec(p.t.Context(), fmt.Sprintf(p.emit, ring)); err != nil {
			p.t.Fatal(err)
		}
		committed := time.Now()
		select {
		case at := <-p.received:
			took = append(took, max(0, at.Sub(committed)))
		case <-time.After(harness.MaxWait):
			p.t.Fatal("a probe was not received")
		}
		harness.Pause(p.t.Context(), p.pace+rand.N(p.pace)) // so that it does not run in step with polling
	}
	slices.Sort(took)
	return latency{len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1]}
}

// TestSQLEmit_Latency measures the latency in an idle cluster.
func TestSQLEmit_Latency(t *testing.T) { //nolint:paralleltest // it measures, and must not share the machine
	d := time.Second
	if longRun() {
		d = 20 * time.Second
	}
	cl := harness.NewCluster(t, 3)
	p := newLatencyProbe(t, cl)
	p.measure(500 * time.Millisecond)         // the first emit wakes the outbox relays
	harness.Pause(t.Context(), 3*time.Second) // and the nodes elect a leader
	p.pace = 100 * time.Millisecond

	quiet, ring := p.measureForm(d, false), p.measureForm(d, true)

	t.Logf("SUMMARY %s: quiet: %v; ring: %v", t.Name(), quiet, ring)
	// A node that only polls once a second takes half a second longer on average.
	if quiet.p50 > ring.p50+time.Second*2/5 {
		t.Errorf("quiet: %v; ring: %v", quiet, ring)
	}
}
