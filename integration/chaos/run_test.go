package chaos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pgsocket/socketio/integration/checker"
	"github.com/pgsocket/socketio/integration/harness"
	"github.com/pgsocket/socketio/internal/pgserver"
	"github.com/pgsocket/socketio/pgtest"
)

// A config is the size of a chaos run.
type config struct {
	seed     uint64
	length   time.Duration
	clients  int      // in Go
	official int      // in JavaScript
	program  string   // the node program, with a clock that can be set; "": SteppedClockProgram
	flags    []string // more flags of the nodes
	brief    bool     // a short retention: after a long absence a session cannot be recovered
}

// A report is the result of a chaos run.
type report struct {
	config

	counts      map[checker.RecordKind]int
	faults      map[string]int // how often each fault happened
	cuts        int64
	recovered   int64
	refused     map[string]int
	probes      int            // probes with the right acknowledgement
	farProbes   int            // of these, sent to a socket of any node by its id
	disconnects map[string]int // reasons of disconnections, counted by the last nodes
	violation   *checker.ViolationError
	file        string // of the history
}

// String returns one line for each seed.
func (r *report) String() string {
	result := "no violation"
	if r.violation != nil {
		result = "VIOLATION: " + string(r.violation.Kind)
	}
	return fmt.Sprintf("seed %d: %d events, %d receipts, %d cuts, %d kills, faults %v, disconnects %v, recovered %d, not recovered %v, %d probes (%d by id), %s",
		r.seed, r.counts[checker.Published], r.counts[checker.Received], r.cuts, r.faults["kill"], r.faults, r.disconnects, r.recovered, r.refused, r.probes, r.farProbes, result)
}

// A chaosRun is one run: a cluster, its clients, and the faults.
type chaosRun struct {
	config

	t        testing.TB
	rng      *rand.Rand // draws the schedule
	pg       *pgserver.Server
	cl       *harness.Cluster
	recorder *checker.Recorder
	set      *clientSet
	official *harness.Clients

	nodeFaults    sync.WaitGroup // faults that last for a while
	pgRestart     sync.Mutex     // held while Postgres restarts and while a node starts
	mu            sync.Mutex
	healthy       []*harness.Node // without a fault
	proxies       map[string]*harness.PGProxy
	faults        map[string]int
	lastPublisher int // number of the newest publisher
}

const clusterSize = 3

// runWithFaults runs with random faults and checks the result. The schedule is the same for the same seed, as far as
// the clock allows.
func runWithFaults(t testing.TB, c config) *report {
	t.Helper()
	run := newRun(t, c)
	return run.execute(run.nemesis)
}

// newRun starts a cluster with a Postgres of its own, without clients.
func newRun(t testing.TB, c config) *chaosRun {
	t.Helper()
	pg, err := pgserver.Start(t.Context(), pgserver.Options{Fast: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pg.Stop(); err != nil {
			t.Errorf("stop the private Postgres: %v", err)
		}
	})
	run := &chaosRun{
		config: c, t: t, rng: harness.NewRand(c.seed), pg: pg, recorder: &checker.Recorder{},
		proxies: make(map[string]*harness.PGProxy), faults: make(map[string]int), lastPublisher: 100,
	}
	run.set = &clientSet{recorder: run.recorder, refused: make(map[string]int)}
	run.startCluster()
	return run
}

func (run *chaosRun) startCluster() {
	run.t.Helper()
	dsn, schema := pgtest.Schema(run.t, pgtest.On(run.pg.DSN()))
	flags := []string{"-lease", "2s", "-ping-interval", "1s", "-ping-timeout", "2s", "-queue-bytes", "262144", "-probe", "-middleware-fails", "2"}
	if run.brief {
		flags = append(flags, "-retention", "4s")
	}
	flags = append(flags, run.flags...)
	if run.program == "" {
		run.program = harness.SteppedClockProgram(run.t)
	}
	run.cl = &harness.Cluster{T: run.t, DSN: dsn, Schema: schema, Flags: flags, Program: run.program}
	run.cl.Route = func(name string) string {
		proxy, over := harness.NewPGProxy(run.t, dsn)
		run.mu.Lock()
		defer run.mu.Unlock()
		run.proxies[name] = proxy
		return over
	}
	for range clusterSize {
		run.healthy = append(run.healthy, run.newNode())
	}
	run.announceNodes()
}

// announceNodes tells the clients which nodes are healthy.
func (run *chaosRun) announceNodes() {
	var addrs, urls []string
	for _, n := range run.healthy {
		addrs, urls = append(addrs, n.Addr), append(urls, n.URL)
	}
	run.set.setNodes(addrs)
	if run.official != nil {
		run.official.SetNodes(urls)
	}
}

// execute injects faults while clients and publishers run, and checks what the clients received.
func (run *chaosRun) execute(inject func(ctx context.Context)) *report {
	run.t.Helper()
	life, end := context.WithCancel(context.Background()) // of the clients and the log reader
	defer end()
	reader := run.startLogReader(life)
	run.startClients(life)

	ctx, stop := context.WithTimeout(run.t.Context(), run.length)
	defer stop()
	var publishers sync.WaitGroup
	for p := range 4 {
		rng := harness.NewRand(run.seed<<8 + uint64(p))
		publishers.Go(func() { run.publish(ctx, rng) })
	}
	publishers.Go(func() { run.publishLarge(ctx, harness.NewRand(run.seed<<8+10)) })
	publishers.Go(func() { run.publishSQL(ctx, harness.NewRand(run.seed<<8+11)) })
	inject(ctx)
	stop()
	run.nodeFaults.Wait()
	publishers.Wait()
	stuck := run.awaitFence()
	reader.finish()

	r := &report{
		config: run.config, counts: run.recorder.Count(), faults: run.faults, cuts: run.set.cuts.Load(),
		recovered: run.set.recovered.Load(), refused: run.set.refused, disconnects: make(map[string]int),
	}
	for _, n := range run.healthy {
		for reason, times := range n.Stats().Disconnects {
			r.disconnects[reason] += times
		}
	}
	r.violation = run.recorder.Check()
	if r.violation == nil && stuck != nil {
		r.violation = stuck
	}
	if r.violation == nil {
		r.violation = run.unjustifiedRefusal()
	}
	if r.violation == nil {
		r.probes, r.farProbes, r.violation = run.wrongAck()
	}
	r.save(run)
	end()
	run.set.running.Wait()
	run.set.background.Wait()
	return r
}

// save writes the history to a file if there is a violation, or if SOCKETIO_CHAOS_DIR is set.
func (r *report) save(run *chaosRun) {
	dir := os.Getenv("SOCKETIO_CHAOS_DIR")
	if dir == "" && r.violation == nil {
		return
	}
	if dir == "" {
		dir = os.TempDir()
	}
	r.file = filepath.Join(dir, fmt.Sprintf("chaos-%d.jsonl", r.seed))
	if err := run.recorder.Save(r.file); err != nil {
		run.t.Errorf("save the history: %v", err)
	}
}

// unjustifiedRefusal returns a violation if a session was not recovered although everything that it needed was
// available.
func (run *chaosRun) unjustifiedRefusal() *checker.ViolationError {
	run.set.mu.Lock()
	defer run.set.mu.Unlock()
	for reason, times := range run.set.refused {
		if run.brief && (reason == "events no longer kept" || reason == reasonUnknown) {
			continue
		}
		return &checker.ViolationError{Kind: checker.NotRecovered, Text: fmt.Sprintf("%d sessions were not recovered: %q", times, reason)}
	}
	if run.official == nil {
		return nil
	}
	if back, recovered := run.official.Reconnections(); back != recovered && !run.brief {
		return &checker.ViolationError{Kind: checker.NotRecovered, Text: fmt.Sprintf("%d of %d reconnections of official clients were not recovered", back-recovered, back)}
	}
	return nil
}

// startClients starts the clients and waits until they are connected.
func (run *chaosRun) startClients(ctx context.Context) {
	run.t.Helper()
	for i := range run.clients {
		rooms := harness.RoomsOf(i)
		if i%10 == 0 {
			rooms = append(rooms, "bulk")
		}
		if i%7 == 3 {
			rooms = nil // receives few events
		}
		c := run.set.start(ctx, 1000+i, harness.NewRand(run.seed<<20+uint64(i)), rooms...)
		if slices.Contains(rooms, "bulk") {
			run.set.slowClients = append(run.set.slowClients, c)
		}
	}
	if run.config.official > 0 {
		run.official = harness.NewClients(run.t, 1)
		run.official.OnReport = run.recordReport
		run.official.ConnectAll(run.config.official, run.cl.RunningURLs(), harness.Command{"roam": true, "why": true})
	}
	for _, c := range run.set.clients {
		if !harness.Eventually(30*time.Second, func() bool { return c.hasSession.Load() && !c.needsRooms.Load() }) {
			run.t.Fatalf("client %d did not connect", c.number)
		}
	}
}

// recordReport records the report of an official client.
func (run *chaosRun) recordReport(r harness.Report) {
	switch r.T {
	case "ticks":
		for _, id := range r.I {
			run.recorder.Add(checker.Record{Kind: checker.Received, Client: r.K, Event: id})
		}
	case "connect":
		run.recorder.Add(checker.Record{Kind: checker.Connected, Client: r.K, Socket: r.ID, Recovered: r.Recovered})
	case "disconnect":
		run.recorder.Note(r.K, "disconnected: %s; offset %s", r.Reason, r.Offset)
	case "refused":
		run.recorder.Note(r.K, "not recovered: %s; offset %s", r.Reason, r.Offset)
		run.set.mu.Lock()
		defer run.set.mu.Unlock()
		run.set.refused[r.Reason]++
	}
}

// awaitFence emits the fence until all clients have received it, and returns a violation if one does not.
func (run *chaosRun) awaitFence() *checker.ViolationError {
	run.t.Helper()
	var late []int
	for seq := range 6 {
		run.healthyNode(run.rng).Publish(run.t.Context(), run.recorder, harness.Publication{Publisher: harness.FencePublisher, First: seq + 1, Count: 1, Wait: true, TimeoutMS: 10_000})
		all := harness.Eventually(10*time.Second, func() bool {
			late = run.behind(seq + 1)
			return len(late) == 0
		})
		if all {
			return nil
		} // a client may have started a new session meanwhile
	}
	return &checker.ViolationError{Kind: "stuck", Text: fmt.Sprintf("clients %v receive no events any more\n%s", late, run.cl.Diagnose())}
}

// behind returns the clients that have not received a fence, or have pending room changes.
func (run *chaosRun) behind(fence int) []int {
	var late []int
	for _, c := range run.set.clients {
		if int(c.fence.Load()) < fence || len(c.roomChanges) > 0 {
			late = append(late, c.number)
		}
	}
	for k := range run.config.official {
		if run.official.Get(k).Fence < fence {
			late = append(late, k)
		}
	}
	return late
}
