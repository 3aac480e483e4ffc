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

// A fireConfig says how large a fire is.
type fireConfig struct {
	seed     uint64
	length   time.Duration
	clients  int    // in Go
	official int    // in JavaScript
	program  string // of the nodes, with a clock that can be set; "": as built from this tree
	brief    bool   // events are kept for so short that clients that were away for long cannot be recovered
}

// A fireReport is what came of it.
type fireReport struct {
	fireConfig

	counts    map[checker.What]int
	done      map[string]int // how often each fault happened
	cuts      int64
	recovered int64
	refused   map[string]int
	quizzed   int            // questions to clients that were answered with the right answer
	gone      map[string]int // reasons of disconnections, as the nodes have it that are left
	violation *checker.ViolationError
	file      string // the history
}

// String is one line for each seed.
func (r *fireReport) String() string {
	verdict := "no violation"
	if r.violation != nil {
		verdict = "VIOLATION: " + string(r.violation.Kind)
	}
	return fmt.Sprintf("seed %d: %d events, %d receipts, %d cuts, %d kills, faults %v, gone %v, recovered %d, refused %v, %d answers, %s",
		r.seed, r.counts[checker.Published], r.counts[checker.Got], r.cuts, r.done["kill"], r.done, r.gone, r.recovered, r.refused, r.quizzed, verdict)
}

// A fire is one run: a cluster, its clients, and what happens to them.
type fire struct {
	fireConfig

	t        testing.TB
	roll     *rand.Rand // of the schedule
	pg       *pgserver.Server
	cl       *harness.Cluster
	book     *checker.Book
	flock    *flock
	official *harness.Clients

	troubles sync.WaitGroup // faults that take a while
	pgUp     sync.Mutex     // held while Postgres restarts, and while a node starts, which needs it
	mu       sync.Mutex
	well     []*harness.Node // those that nothing is done to
	proxies  map[string]*harness.PGProxy
	done     map[string]int
	next     int // number of the next publisher
}

const fireNodes = 3

// burn runs a fire and judges it. What is done to the cluster is the same for the same seed as far as the clock allows.
func burn(t testing.TB, c fireConfig) *fireReport {
	t.Helper()
	f := lay(t, c)
	return f.run(f.misfortunes)
}

// lay starts a cluster with a Postgres of its own, and no clients yet.
func lay(t testing.TB, c fireConfig) *fire {
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
	f := &fire{
		fireConfig: c, t: t, roll: harness.NewRand(c.seed), pg: pg, book: &checker.Book{},
		proxies: make(map[string]*harness.PGProxy), done: make(map[string]int), next: 100,
	}
	f.flock = &flock{book: f.book, refused: make(map[string]int)}
	f.start()
	return f
}

func (f *fire) start() {
	f.t.Helper()
	dsn, schema := pgtest.Schema(f.t, pgtest.On(f.pg.DSN()))
	flags := []string{"-lease", "2s", "-ping-interval", "1s", "-ping-timeout", "2s", "-queue-bytes", "262144", "-quiz", "-gate-fails", "2"}
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
	for range fireNodes {
		f.well = append(f.well, f.newNode())
	}
	f.tellNodes()
}

// tellNodes tells the clients where they may go: where nothing is wrong.
func (f *fire) tellNodes() {
	var addrs, urls []string
	for _, n := range f.well {
		addrs, urls = append(addrs, n.Addr), append(urls, n.URL)
	}
	f.flock.send(addrs)
	if f.official != nil {
		f.official.SetNodes(urls)
	}
}

// run has clients and publishers go on while something happens to them, and judges what they got.
func (f *fire) run(happens func(ctx context.Context)) *fireReport {
	f.t.Helper()
	life, end := context.WithCancel(context.Background()) // of clients and of who reads the log
	defer end()
	reader := f.readLog(life)
	f.gather(life)

	ctx, stop := context.WithTimeout(f.t.Context(), f.length)
	defer stop()
	var publishers sync.WaitGroup
	for p := range 4 {
		roll := harness.NewRand(f.seed<<8 + uint64(p))
		publishers.Go(func() { f.publish(ctx, roll) })
	}
	publishers.Go(func() { f.bulk(ctx, harness.NewRand(f.seed<<8+10)) })
	publishers.Go(func() { f.writeSQL(ctx, harness.NewRand(f.seed<<8+11)) })
	happens(ctx)
	stop()
	f.troubles.Wait()
	publishers.Wait()
	stuck := f.settle()
	reader.finish()

	r := &fireReport{
		fireConfig: f.fireConfig, counts: f.book.Count(), done: f.done, cuts: f.flock.cuts.Load(),
		recovered: f.flock.recovered.Load(), refused: f.flock.refused, gone: make(map[string]int),
	}
	for _, n := range f.well {
		for reason, times := range n.Stats().Gone {
			r.gone[reason] += times
		}
	}
	r.violation = f.book.Judge()
	if r.violation == nil && stuck != nil {
		r.violation = stuck
	}
	if r.violation == nil {
		r.violation = f.unjust()
	}
	if r.violation == nil {
		r.quizzed, r.violation = f.misanswered()
	}
	r.keep(f)
	end()
	f.flock.lives.Wait()
	f.flock.rests.Wait()
	return r
}

// keep writes the history down where it will be found, if there is something to be found in it.
func (r *fireReport) keep(f *fire) {
	dir := os.Getenv("SOCKETIO_FIRE_DIR")
	if dir == "" && r.violation == nil {
		return
	}
	if dir == "" {
		dir = os.TempDir()
	}
	r.file = filepath.Join(dir, fmt.Sprintf("fire-%d.jsonl", r.seed))
	if err := f.book.Save(r.file); err != nil {
		f.t.Errorf("save the history: %v", err)
	}
}

// unjust finds a session that was refused although nothing it needed was gone.
func (f *fire) unjust() *checker.ViolationError {
	f.flock.mu.Lock()
	defer f.flock.mu.Unlock()
	for reason, times := range f.flock.refused {
		if f.brief && (reason == "events no longer kept" || reason == untold) {
			continue
		}
		return &checker.ViolationError{Kind: checker.Refused, Text: fmt.Sprintf("%d sessions were not recovered: %q", times, reason)}
	}
	if f.official == nil {
		return nil
	}
	if back, recovered := f.official.Reconnections(); back != recovered && !f.brief {
		return &checker.ViolationError{Kind: checker.Refused, Text: fmt.Sprintf("%d of %d reconnections of official clients were not recovered", back-recovered, back)}
	}
	return nil
}

// gather starts the clients and waits until they are there.
func (f *fire) gather(ctx context.Context) {
	f.t.Helper()
	for i := range f.clients {
		rooms := harness.RoomsOf(i)
		if i%10 == 0 {
			rooms = append(rooms, "bulk")
		}
		if i%7 == 3 {
			rooms = nil // a quiet one
		}
		b := f.flock.newBird(ctx, 1000+i, harness.NewRand(f.seed<<20+uint64(i)), rooms...)
		if slices.Contains(rooms, "bulk") {
			f.flock.bulky = append(f.flock.bulky, b)
		}
	}
	if f.fireConfig.official > 0 {
		f.official = harness.NewClients(f.t, 1)
		f.official.OnReport = f.observe
		f.official.ConnectAll(f.fireConfig.official, f.cl.RunningURLs(), harness.Command{"roam": true, "why": true})
	}
	for _, b := range f.flock.birds {
		if !harness.Eventually(30*time.Second, func() bool { return b.known.Load() && !b.fresh.Load() }) {
			f.t.Fatalf("client %d did not connect", b.number)
		}
	}
}

// observe writes down what an official client hears.
func (f *fire) observe(r harness.Report) {
	switch r.T {
	case "ticks":
		for _, id := range r.I {
			f.book.Add(checker.Record{What: checker.Got, Client: r.K, Event: id})
		}
	case "connect":
		f.book.Add(checker.Record{What: checker.Connected, Client: r.K, Socket: r.ID, Recovered: r.Recovered})
	case "disconnect":
		f.book.Note(r.K, "disconnected: %s; holds %s", r.Reason, r.Offset)
	case "refused":
		f.book.Note(r.K, "not recovered: %s; came with %s", r.Reason, r.Offset)
		f.flock.mu.Lock()
		defer f.flock.mu.Unlock()
		f.flock.refused[r.Reason]++
	}
}

// settle emits the fence until all clients have it. What it returns says who does not.
func (f *fire) settle() *checker.ViolationError {
	f.t.Helper()
	var late []int
	for seq := range 6 {
		f.anyWell(f.roll).Publish(f.t.Context(), f.book, harness.Publication{Publisher: harness.FencePublisher, First: seq + 1, Count: 1, Wait: true, TimeoutMS: 10_000})
		all := harness.Eventually(10*time.Second, func() bool {
			late = f.late(seq + 1)
			return len(late) == 0
		})
		if all {
			return nil
		} // else a client had to begin anew meanwhile, perhaps
	}
	return &checker.ViolationError{Kind: "stuck", Text: fmt.Sprintf("clients %v are not served any more\n%s", late, f.cl.Diagnose())}
}

// late returns the clients that have not got a fence, or have something left to do.
func (f *fire) late(fence int) []int {
	var late []int
	for _, b := range f.flock.birds {
		if int(b.fence.Load()) < fence || len(b.wishes) > 0 {
			late = append(late, b.number)
		}
	}
	for k := range f.fireConfig.official {
		if f.official.Get(k).Fence < fence {
			late = append(late, k)
		}
	}
	return late
}
