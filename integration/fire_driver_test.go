package integration_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/integration/history"
	"github.com/pgsocket/socketio/internal/pgserver"
	"github.com/pgsocket/socketio/pgtest"
)

// A fireConfig says how large a fire is.
type fireConfig struct {
	seed     uint64
	length   time.Duration
	clients  int    // in Go
	official int    // in JavaScript
	program  string // of the nodes; "": as built from this tree
	brief    bool   // events are kept for so short that clients that were away for long cannot be recovered
}

// A fireReport is what came of it.
type fireReport struct {
	fireConfig

	counts    map[history.What]int
	done      map[string]int // how often each fault happened
	cuts      int64
	recovered int64
	refused   map[string]int
	gone      map[string]int // reasons of disconnections, as the nodes have it that are left
	violation *history.ViolationError
	file      string // the history
}

// String is one line for each seed.
func (r *fireReport) String() string {
	verdict := "no violation"
	if r.violation != nil {
		verdict = "VIOLATION: " + string(r.violation.Kind)
	}
	return fmt.Sprintf("seed %d: %d events, %d receipts, %d cuts, %d kills, faults %v, gone %v, recovered %d, refused %v, %s",
		r.seed, r.counts[history.Published], r.counts[history.Got], r.cuts, r.done["kill"], r.done, r.gone, r.recovered, r.refused, verdict)
}

// A fire is one run: a cluster, its clients, and what happens to them.
type fire struct {
	fireConfig

	t        testing.TB
	roll     *rand.Rand // of the schedule
	pg       *pgserver.Server
	cl       *cluster
	book     *history.Book
	flock    *flock
	official *clients

	troubles sync.WaitGroup // faults that take a while
	pgUp     sync.Mutex     // held while Postgres restarts, and while a node starts, which needs it
	mu       sync.Mutex
	well     []*node // those that nothing is done to
	proxies  map[string]*pgProxy
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
		fireConfig: c, t: t, roll: dice(c.seed), pg: pg, book: &history.Book{},
		proxies: make(map[string]*pgProxy), done: make(map[string]int), next: 100,
	}
	f.flock = &flock{book: f.book, refused: make(map[string]int)}
	f.start()
	return f
}

func (f *fire) start() {
	f.t.Helper()
	dsn, schema := pgtest.Schema(f.t, pgtest.On(f.pg.DSN()))
	flags := []string{"-lease", "2s", "-ping-interval", "1s", "-ping-timeout", "2s", "-queue-bytes", "262144"}
	if f.brief {
		flags = append(flags, "-retention", "4s")
	}
	f.cl = &cluster{t: f.t, dsn: dsn, schema: schema, flags: flags, program: f.program}
	f.cl.route = func(name string) string {
		proxy, over := newProxy(f.t, dsn)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.proxies[name] = proxy
		return over
	}
	for range fireNodes {
		f.well = append(f.well, f.cl.start())
	}
	f.tellNodes()
}

// tellNodes tells the clients where they may go: where nothing is wrong.
func (f *fire) tellNodes() {
	var addrs, urls []string
	for _, n := range f.well {
		addrs, urls = append(addrs, n.addr), append(urls, n.url)
	}
	f.flock.send(addrs)
	if f.official != nil {
		f.official.setNodes(urls)
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
		roll := dice(f.seed<<8 + uint64(p))
		publishers.Go(func() { f.publish(ctx, roll) })
	}
	publishers.Go(func() { f.bulk(ctx, dice(f.seed<<8+10)) })
	publishers.Go(func() { f.writeSQL(ctx, dice(f.seed<<8+11)) })
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
		for reason, times := range n.stats().Gone {
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
func (f *fire) unjust() *history.ViolationError {
	f.flock.mu.Lock()
	defer f.flock.mu.Unlock()
	for reason, times := range f.flock.refused {
		if f.brief && reason == "events no longer kept" {
			continue
		}
		return &history.ViolationError{Kind: history.Refused, Text: fmt.Sprintf("%d sessions were not recovered: %q", times, reason)}
	}
	if f.official == nil {
		return nil
	}
	if back, recovered := f.official.reconnections(); back != recovered && !f.brief {
		return &history.ViolationError{Kind: history.Refused, Text: fmt.Sprintf("%d of %d reconnections of official clients were not recovered", back-recovered, back)}
	}
	return nil
}

// gather starts the clients and waits until they are there.
func (f *fire) gather(ctx context.Context) {
	f.t.Helper()
	for i := range f.clients {
		rooms := rooms(i)
		if i%10 == 0 {
			rooms = append(rooms, "bulk")
		}
		if i%7 == 3 {
			rooms = nil // a quiet one
		}
		f.flock.newBird(ctx, 1000+i, dice(f.seed<<20+uint64(i)), rooms...)
	}
	if f.fireConfig.official > 0 {
		f.official = newClients(f.t, 1)
		f.official.observe = f.observe
		f.official.connectAll(f.fireConfig.official, f.cl.alive(), order{"roam": true})
	}
	for _, b := range f.flock.birds {
		if !eventually(30*time.Second, func() bool { return b.known.Load() && !b.fresh.Load() }) {
			f.t.Fatalf("client %d did not connect", b.number)
		}
	}
}

// observe writes down what an official client hears.
func (f *fire) observe(r record) {
	switch r.T {
	case "ticks":
		for _, id := range r.I {
			f.book.Add(history.Record{What: history.Got, Client: r.K, Event: id})
		}
	case "connect":
		f.book.Add(history.Record{What: history.Connected, Client: r.K, Socket: r.ID, Recovered: r.Recovered})
	case "disconnect":
		f.book.Note(r.K, "disconnected: %s", r.Reason)
	}
}

// aims are whom some events or operations are for.
func (f *fire) aims(roll *rand.Rand) []history.Target {
	names := []string{
		"quarter-0", "quarter-1", "quarter-2", "quarter-3", "third-0", "third-1", "third-2",
		"flip-0", "flip-1", "flip-2", "moved-0", "moved-1",
	}
	some := func(n int) []string {
		var rooms []string
		for range n {
			rooms = append(rooms, names[roll.IntN(len(names))])
		}
		return rooms
	}
	var to []history.Target
	for range 7 {
		switch roll.IntN(6) {
		case 0:
			if f.brief && roll.IntN(8) != 0 { // let some clients hear nothing for a while
				continue
			}
			to = append(to, history.Target{Except: some(roll.IntN(2))})
		case 1:
			to = append(to, history.Target{Rooms: []string{f.flock.anySocket(roll)}})
		case 2:
			to = append(to, history.Target{Rooms: some(1 + roll.IntN(2)), Except: some(1)})
		default:
			to = append(to, history.Target{Rooms: some(1 + roll.IntN(2))})
		}
	}
	return append(to, history.Target{Rooms: some(1)})
}

// anyWell returns a node that nothing is done to.
func (f *fire) anyWell(roll *rand.Rand) *node {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.well[roll.IntN(len(f.well))]
}

func (f *fire) publisher() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next++
	return f.next
}

// publish emits from one goroutine of a node, then of another, and so on.
func (f *fire) publish(ctx context.Context, roll *rand.Rand) {
	for ctx.Err() == nil {
		n := f.anyWell(roll)
		n.publish(f.t.Context(), f.book, publication{
			Publisher: f.publisher(), Count: 20 + roll.IntN(60), Targets: f.aims(roll), PerSecond: 40, Wait: roll.IntN(4) == 0,
		})
		pause(ctx, time.Duration(roll.IntN(100))*time.Millisecond)
	}
}

// bulk emits large events to a few clients, so that the queue of a slow one fills up.
func (f *fire) bulk(ctx context.Context, roll *rand.Rand) {
	for ctx.Err() == nil {
		f.anyWell(roll).publish(f.t.Context(), f.book, publication{
			Publisher: f.publisher(), Count: 10, PerSecond: 15, Pad: 48 << 10, Targets: []history.Target{{Rooms: []string{"bulk"}}},
		})
	}
}

// writeSQL emits in transactions, some of which are rolled back.
func (f *fire) writeSQL(ctx context.Context, roll *rand.Rand) {
	for ctx.Err() == nil {
		var events []history.Emit
		commits := roll.IntN(4) > 0
		err := f.inSQL(ctx, func(tx pgx.Tx) error {
			publisher := f.publisher()
			to := f.aims(roll)
			for seq := range 1 + roll.IntN(3) {
				e := history.Emit{ID: history.Of(publisher, seq), To: to[seq%len(to)], Start: time.Now().UnixNano()}
				if commits {
					events = append(events, e)
				}
				_, err := tx.Exec(ctx, "select "+pgx.Identifier{f.cl.schema}.Sanitize()+emitSQL(&e), e.To.Rooms, publisher, seq, e.To.Except)
				if err != nil {
					return err
				}
			}
			if !commits {
				return errors.New("rolled back")
			}
			return nil
		})
		end := time.Now().UnixNano()
		for _, e := range events {
			if err == nil {
				e.End = end
			}
			f.book.Emitted(e)
		}
		pause(ctx, time.Duration(20+roll.IntN(150))*time.Millisecond)
	}
}

func emitSQL(e *history.Emit) string {
	if len(e.To.Rooms) == 0 {
		return ".emit_all('tick', args => jsonb_build_array($2::int, $3::int), except_rooms => $4), $1::text[]"
	}
	return ".emit_to($1, 'tick', args => jsonb_build_array($2::int, $3::int), except_rooms => $4)"
}

func (f *fire) inSQL(ctx context.Context, do func(tx pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, f.cl.dsn)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	return pgx.BeginFunc(ctx, conn, do)
}

// settle emits the fence until all clients have it. What it returns says who does not.
func (f *fire) settle() *history.ViolationError {
	f.t.Helper()
	var late []int
	for seq := range 6 {
		f.anyWell(f.roll).publish(f.t.Context(), f.book, publication{Publisher: fencePublisher, First: seq + 1, Count: 1, Wait: true, TimeoutMS: 10_000})
		all := eventually(10*time.Second, func() bool {
			late = f.late(seq + 1)
			return len(late) == 0
		})
		if all {
			return nil
		} // else a client had to begin anew meanwhile, perhaps
	}
	return &history.ViolationError{Kind: "stuck", Text: fmt.Sprintf("clients %v are not served any more\n%s", late, f.cl.diagnose())}
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
		if f.official.get(k).fence < fence {
			late = append(late, k)
		}
	}
	return late
}

// A logReader copies the log into the book as it grows.
type logReader struct {
	f    *fire
	last int64 // batch
	stop chan struct{}
	over chan struct{}
}

func (f *fire) readLog(ctx context.Context) *logReader {
	r := &logReader{f: f, stop: make(chan struct{}), over: make(chan struct{})}
	go r.run(ctx) // ends with finish
	return r
}

// finish reads what is left.
func (r *logReader) finish() {
	close(r.stop)
	<-r.over
}

func (r *logReader) run(ctx context.Context) {
	defer close(r.over)
	for {
		select {
		case <-r.stop:
			if err := r.read(ctx); err != nil {
				r.f.t.Errorf("read the log: %v", err)
			}
			return
		case <-time.After(300 * time.Millisecond):
			_ = r.read(ctx) // Postgres may be away; the next time then
		}
	}
}

func (r *logReader) read(ctx context.Context) error {
	schema := pgx.Identifier{r.f.cl.schema}.Sanitize()
	return r.f.inSQL(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			select l.id, l.id * 4096 + p.index, p.kind, p.rooms, p.except_rooms, `+schema+`.name_text(p.payload)
			from `+schema+`.log l cross join lateral `+schema+`.frame_packets(l.frame) p
			where l.id > $1 order by 2`, r.last)
		if err != nil {
			return err
		}
		var batch, position int64
		var kind int
		var to history.Target
		var payload string
		last := r.last
		var fresh []history.Record
		_, err = pgx.ForEachRow(rows, []any{&batch, &position, &kind, &to.Rooms, &to.Except, &payload}, func() error {
			last = batch
			entry := history.Record{What: history.Logged, Position: position, To: &history.Target{Rooms: to.Rooms, Except: to.Except}}
			to = history.Target{}
			switch kind {
			case 0:
				id, ok := tickOf(payload)
				if !ok {
					return fmt.Errorf("event in the log: %.100s", payload)
				}
				entry.Event = id
			case 3, 4:
				entry.Do = []history.Do{3: history.Join, 4: history.Leave}[kind]
				if err := json.Unmarshal([]byte(payload), &entry.Rooms); err != nil {
					return err
				}
			default:
				return nil
			}
			fresh = append(fresh, entry)
			return nil
		})
		if err == nil {
			r.last = last
			for _, entry := range fresh {
				r.f.book.Add(entry)
			}
		}
		return err
	})
}

// deeds are the faults and how often each is drawn.
func deeds() map[string]int {
	return map[string]int{
		"cut": 30, "again": 8, "stall": 8, "trickle": 4, "wish": 20, "operate": 12, "terminate": 6,
		"nap": 3, "freeze": 3, "kill": 3, "outage": 3, "mute": 3, "restart": 1, "shutdown": 1,
	}
}

// misfortunes draws one fault after the other until ctx ends; each comes at least once if there is the time.
func (f *fire) misfortunes(ctx context.Context) {
	all := deeds()
	names := slices.Sorted(maps.Keys(all))
	var deck []string
	for _, name := range names {
		for range all[name] {
			deck = append(deck, name)
		}
	}
	var first []string
	for _, i := range f.roll.Perm(len(names)) { // small ones between the large ones
		first = append(first, names[i], "cut", "wish", "operate")
	}
	for ctx.Err() == nil {
		pause(ctx, time.Duration(50+f.roll.IntN(250))*time.Millisecond)
		name := deck[f.roll.IntN(len(deck))]
		if len(first) > 0 {
			name, first = first[0], first[1:]
		}
		if ctx.Err() == nil {
			f.deed(ctx, name)
		}
	}
}

func (f *fire) deed(ctx context.Context, name string) {
	roll := dice(f.roll.Uint64())
	switch name {
	case "cut", "again", "stall", "trickle", "wish":
		f.harass(name, roll)
	case "operate":
		f.operate(roll)
	case "terminate":
		f.terminate(ctx, roll)
	case "restart":
		f.pgUp.Lock()
		err := f.pg.Restart(f.t.Context(), []pgserver.Mode{pgserver.Fast, pgserver.Immediate}[roll.IntN(2)])
		f.pgUp.Unlock()
		if err != nil {
			f.t.Errorf("restart Postgres: %v", err)
		}
	default:
		if !f.trouble(name, roll) {
			return
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done[name]++
}

// harass does something to some clients.
func (f *fire) harass(name string, roll *rand.Rand) {
	many := 1 + roll.IntN(1+len(f.flock.birds)/4)
	for _, i := range roll.Perm(len(f.flock.birds))[:many] {
		b := f.flock.birds[i]
		if name == "trickle" && i%10 != 0 {
			continue // it would not have much to read
		}
		switch name {
		case "cut":
			b.cut([]string{"reset", "close", "half"}[roll.IntN(3)])
		case "again": // it is cut again soon after it came back, most likely in the replay
			b.fuse.Store(int64(1 + roll.IntN(20)))
			b.cut("reset")
		case "stall":
			b.stall(time.Duration(500+roll.IntN(2500)) * time.Millisecond)
		case "trickle": // it comes back to a long replay, which it reads slowly
			b.rest.Store(int64(3 * time.Second))
			b.slow.Store(true)
			b.cut("reset")
		case "wish":
			w := wish{[]history.Do{history.Join, history.Leave}[roll.IntN(2)], fmt.Sprintf("flip-%d", roll.IntN(3))}
			select {
			case b.wishes <- w:
			default: // it has enough to do
			}
		}
	}
	if f.official == nil || name != "cut" && name != "again" {
		return
	}
	some := roll.Perm(f.fireConfig.official)[:1+roll.IntN(f.fireConfig.official)]
	f.official.cut([]string{"reset", "close", "half"}[roll.IntN(3)], nil, some...)
	f.flock.cuts.Add(int64(len(some)))
}

// operate has a node move an audience. The log says whether it did.
func (f *fire) operate(roll *rand.Rand) {
	n := f.anyWell(roll)
	to := f.aims(roll)[0]
	do := []string{"join", "leave"}[roll.IntN(2)]
	f.troubles.Go(func() {
		ctx, cancel := context.WithTimeout(f.t.Context(), 10*time.Second)
		defer cancel()
		_, _ = command[bool](ctx, n, "operate", struct {
			Do        string   `json:"do"`
			Namespace string   `json:"namespace"`
			Target    audience `json:"target"`
			Rooms     []string `json:"rooms"`
		}{do, "/", audience(to), []string{fmt.Sprintf("moved-%d", roll.IntN(2))}})
	})
}

// terminate ends connections to Postgres of one kind.
func (f *fire) terminate(ctx context.Context, roll *rand.Rand) {
	kind := []string{"listen", "publish", "pool"}[roll.IntN(3)]
	conn, err := pgx.Connect(ctx, f.cl.dsn)
	if err != nil {
		return // Postgres is away, or the time is over
	}
	defer func() { _ = conn.Close(context.Background()) }()
	_, _ = f.cl.tryTerminate(ctx, conn, kind)
}

// trouble does something to a node, unless too many have trouble already.
func (f *fire) trouble(name string, roll *rand.Rand) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.well) < 2 {
		return false
	}
	i := roll.IntN(len(f.well))
	n := f.well[i]
	f.well = slices.Delete(f.well, i, i+1)
	if name != "nap" && name != "outage" && name != "mute" || roll.IntN(2) == 0 { // else some clients come while it lasts
		f.tellNodes()
	}
	f.troubles.Go(func() {
		back := f.suffer(name, n, roll)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.well = append(f.well, back)
		f.tellNodes()
	})
	return true
}

// suffer lasts as long as the node's trouble, and returns the node that goes on in its place.
func (f *fire) suffer(name string, n *node, roll *rand.Rand) *node {
	ctx := f.t.Context()
	millis := func(from, to int) time.Duration { return time.Duration(from+roll.IntN(to-from)) * time.Millisecond }
	switch name {
	case "nap":
		n.freeze()
		pause(ctx, millis(200, 1200))
		n.thaw()
		return n
	case "freeze":
		n.freeze()
		pause(ctx, millis(2500, 5000))
		n.thaw()
		return n
	case "outage", "mute":
		f.mu.Lock()
		proxy := f.proxies[n.name]
		f.mu.Unlock()
		if name == "mute" { // Postgres does what it is told, and the node does not hear of it
			proxy.mute.Store(true)
			pause(ctx, millis(50, 500))
			proxy.shut(true)
			proxy.mute.Store(false)
			proxy.shut(false)
			return n
		}
		proxy.shut(true)
		pause(ctx, millis(500, 4000))
		proxy.shut(false)
		return n
	case "kill":
		n.kill()
	case "shutdown":
		n.signal(syscall.SIGTERM)
		n.wait(20 * time.Second)
		f.mu.Lock()
		n.down = true
		f.mu.Unlock()
	}
	pause(ctx, millis(100, 1500))
	f.pgUp.Lock()
	defer f.pgUp.Unlock()
	return f.cl.start()
}
