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

// A config says how large a fire is.
type config struct {
	seed     uint64
	length   time.Duration
	clients  int    // in Go
	official int    // in JavaScript
	program  string // of the nodes, with a clock that can be set; "": as built from this tree
	brief    bool   // events are kept for so short that clients that were away for long cannot be recovered
}

// A report is what came of it.
type report struct {
	config

	counts      map[checker.RecordKind]int
	faults      map[string]int // how often each fault happened
	cuts        int64
	recovered   int64
	refused     map[string]int
	probes      int            // questions to clients that were answered with the right answer
	disconnects map[string]int // reasons of disconnections, as the nodes have it that are left
	violation   *checker.ViolationError
	file        string // the history
}

// String is one line for each seed.
func (r *report) String() string {
	verdict := "no violation"
	if r.violation != nil {
		verdict = "VIOLATION: " + string(r.violation.Kind)
	}
	return fmt.Sprintf("seed %d: %d events, %d receipts, %d cuts, %d kills, faults %v, gone %v, recovered %d, refused %v, %d answers, %s",
		r.seed, r.counts[checker.Published], r.counts[checker.Received], r.cuts, r.faults["kill"], r.faults, r.disconnects, r.recovered, r.refused, r.probes, verdict)
}

// A chaosRun is one run: a cluster, its clients, and what happens to them.
type chaosRun struct {
	config

	t        testing.TB
	rng      *rand.Rand // of the schedule
	pg       *pgserver.Server
	cl       *harness.Cluster
	recorder *checker.Recorder
	set      *clientSet
	official *harness.Clients

	nodeFaults    sync.WaitGroup // faults that take a while
	pgRestart     sync.Mutex     // held while Postgres restarts, and while a node starts, which needs it
	mu            sync.Mutex
	healthy       []*harness.Node // those that nothing is done to
	proxies       map[string]*harness.PGProxy
	faults        map[string]int
	lastPublisher int // number of the next publisher
}

const clusterSize = 3

// runWithFaults runs a fire and judges it. What is done to the cluster is the same for the same seed as far as the clock allows.
func runWithFaults(t testing.TB, c config) *report {
	t.Helper()
	f := newRun(t, c)
	return f.run(f.nemesis)
}

// newRun starts a cluster with a Postgres of its own, and no clients yet.
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
	f := &chaosRun{
		config: c, t: t, rng: harness.NewRand(c.seed), pg: pg, recorder: &checker.Recorder{},
		proxies: make(map[string]*harness.PGProxy), faults: make(map[string]int), lastPublisher: 100,
	}
	f.set = &clientSet{recorder: f.recorder, refused: make(map[string]int)}
	f.startCluster()
	return f
}

func (f *chaosRun) startCluster() {
	f.t.Helper()
	dsn, schema := pgtest.Schema(f.t, pgtest.On(f.pg.DSN()))
	flags := []string{"-lease", "2s", "-ping-interval", "1s", "-ping-timeout", "2s", "-queue-bytes", "262144", "-probe", "-middleware-fails", "2"}
	if f.brief {
		flags = append(flags, "-retention", "4s")
	}
	if f.program == "" {
		f.program = harness.SteppedClockProgram(f.t)
	}
	f.cl = &harness.Cluster{T: f.t, DSN: dsn, Schema: schema, Flags: flags, Program: f.program}
	f.cl.Route = func(name string) string {
		proxy, over := harness.NewPGProxy(f.t, dsn)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.proxies[name] = proxy
		return over
	}
	for range clusterSize {
		f.healthy = append(f.healthy, f.newNode())
	}
	f.announceNodes()
}

// announceNodes tells the clients where they may go: where nothing is wrong.
func (f *chaosRun) announceNodes() {
	var addrs, urls []string
	for _, n := range f.healthy {
		addrs, urls = append(addrs, n.Addr), append(urls, n.URL)
	}
	f.set.setNodes(addrs)
	if f.official != nil {
		f.official.SetNodes(urls)
	}
}

// run has clients and publishers go on while something happens to them, and judges what they got.
func (f *chaosRun) run(happens func(ctx context.Context)) *report {
	f.t.Helper()
	life, end := context.WithCancel(context.Background()) // of clients and of who reads the log
	defer end()
	reader := f.startLogReader(life)
	f.startClients(life)

	ctx, stop := context.WithTimeout(f.t.Context(), f.length)
	defer stop()
	var publishers sync.WaitGroup
	for p := range 4 {
		rng := harness.NewRand(f.seed<<8 + uint64(p))
		publishers.Go(func() { f.publish(ctx, rng) })
	}
	publishers.Go(func() { f.publishLarge(ctx, harness.NewRand(f.seed<<8+10)) })
	publishers.Go(func() { f.publishSQL(ctx, harness.NewRand(f.seed<<8+11)) })
	happens(ctx)
	stop()
	f.nodeFaults.Wait()
	publishers.Wait()
	stuck := f.awaitFence()
	reader.finish()

	r := &report{
		config: f.config, counts: f.recorder.Count(), faults: f.faults, cuts: f.set.cuts.Load(),
		recovered: f.set.recovered.Load(), refused: f.set.refused, disconnects: make(map[string]int),
	}
	for _, n := range f.healthy {
		for reason, times := range n.Stats().Disconnects {
			r.disconnects[reason] += times
		}
	}
	r.violation = f.recorder.Check()
	if r.violation == nil && stuck != nil {
		r.violation = stuck
	}
	if r.violation == nil {
		r.violation = f.unjustifiedRefusal()
	}
	if r.violation == nil {
		r.probes, r.violation = f.wrongAck()
	}
	r.save(f)
	end()
	f.set.running.Wait()
	f.set.background.Wait()
	return r
}

// save writes the history down where it will be found, if there is something to be found in it.
func (r *report) save(f *chaosRun) {
	dir := os.Getenv("SOCKETIO_CHAOS_DIR")
	if dir == "" && r.violation == nil {
		return
	}
	if dir == "" {
		dir = os.TempDir()
	}
	r.file = filepath.Join(dir, fmt.Sprintf("fire-%d.jsonl", r.seed))
	if err := f.recorder.Save(r.file); err != nil {
		f.t.Errorf("save the history: %v", err)
	}
}

// unjustifiedRefusal finds a session that was refused although nothing it needed was gone.
func (f *chaosRun) unjustifiedRefusal() *checker.ViolationError {
	f.set.mu.Lock()
	defer f.set.mu.Unlock()
	for reason, times := range f.set.refused {
		if f.brief && (reason == "events no longer kept" || reason == reasonUnknown) {
			continue
		}
		return &checker.ViolationError{Kind: checker.NotRecovered, Text: fmt.Sprintf("%d sessions were not recovered: %q", times, reason)}
	}
	if f.official == nil {
		return nil
	}
	if back, recovered := f.official.Reconnections(); back != recovered && !f.brief {
		return &checker.ViolationError{Kind: checker.NotRecovered, Text: fmt.Sprintf("%d of %d reconnections of official clients were not recovered", back-recovered, back)}
	}
	return nil
}

// startClients starts the clients and waits until they are there.
func (f *chaosRun) startClients(ctx context.Context) {
	f.t.Helper()
	for i := range f.clients {
		rooms := harness.RoomsOf(i)
		if i%10 == 0 {
			rooms = append(rooms, "bulk")
		}
		if i%7 == 3 {
			rooms = nil // a quiet one
		}
		b := f.set.start(ctx, 1000+i, harness.NewRand(f.seed<<20+uint64(i)), rooms...)
		if slices.Contains(rooms, "bulk") {
			f.set.slowClients = append(f.set.slowClients, b)
		}
	}
	if f.config.official > 0 {
		f.official = harness.NewClients(f.t, 1)
		f.official.OnReport = f.recordReport
		f.official.ConnectAll(f.config.official, f.cl.RunningURLs(), harness.Command{"roam": true, "why": true})
	}
	for _, b := range f.set.clients {
		if !harness.Eventually(30*time.Second, func() bool { return b.hasSession.Load() && !b.needsRooms.Load() }) {
			f.t.Fatalf("client %d did not connect", b.number)
		}
	}
}

// recordReport writes down what an official client hears.
func (f *chaosRun) recordReport(r harness.Report) {
	switch r.T {
	case "ticks":
		for _, id := range r.I {
			f.recorder.Add(checker.Record{Kind: checker.Received, Client: r.K, Event: id})
		}
	case "connect":
		f.recorder.Add(checker.Record{Kind: checker.Connected, Client: r.K, Socket: r.ID, Recovered: r.Recovered})
	case "disconnect":
		f.recorder.Note(r.K, "disconnected: %s; holds %s", r.Reason, r.Offset)
	case "refused":
		f.recorder.Note(r.K, "not recovered: %s; came with %s", r.Reason, r.Offset)
		f.set.mu.Lock()
		defer f.set.mu.Unlock()
		f.set.refused[r.Reason]++
	}
}

// awaitFence emits the fence until all clients have it. What it returns says who does not.
func (f *chaosRun) awaitFence() *checker.ViolationError {
	f.t.Helper()
	var late []int
	for seq := range 6 {
		f.healthyNode(f.rng).Publish(f.t.Context(), f.recorder, harness.Publication{Publisher: harness.FencePublisher, First: seq + 1, Count: 1, Wait: true, TimeoutMS: 10_000})
		all := harness.Eventually(10*time.Second, func() bool {
			late = f.behind(seq + 1)
			return len(late) == 0
		})
		if all {
			return nil
		} // else a client had to begin anew meanwhile, perhaps
	}
	return &checker.ViolationError{Kind: "stuck", Text: fmt.Sprintf("clients %v are not served any more\n%s", late, f.cl.Diagnose())}
}

// behind returns the clients that have not got a fence, or have something left to do.
func (f *chaosRun) behind(fence int) []int {
	var late []int
	for _, b := range f.set.clients {
		if int(b.fence.Load()) < fence || len(b.roomChanges) > 0 {
			late = append(late, b.number)
		}
	}
	for k := range f.config.official {
		if f.official.Get(k).Fence < fence {
			late = append(late, k)
		}
	}
	return late
}
