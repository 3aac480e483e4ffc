package pgadapter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/adapter/adaptertest"
)

// nodes opens n nodes and binds a recorder to each.
func (b *bench) nodes(t *testing.T, n int, opts *Options) ([]*DB, []*adaptertest.Recorder) {
	t.Helper()
	var dbs []*DB
	var recorders []*adaptertest.Recorder
	for range n {
		db := b.open(t, opts)
		r, _ := adaptertest.Bound(t, db)
		dbs, recorders = append(dbs, db), append(recorders, r)
	}
	return dbs, recorders
}

type publishes interface {
	Publish(ctx context.Context, e *adapter.Envelope) (*adapter.Receipt, error)
}

// storm publishes n events from each of several goroutines, spread over the
// nodes, with the given pause, and returns the acknowledged payloads.
func storm[P publishes](t *testing.T, dbs []P, publishers, n int, pause time.Duration) []string {
	t.Helper()
	return stormWhile(t, dbs, publishers, pause, func(i int) bool { return i < n })
}

// stormWhile is storm, but each goroutine publishes as long as more(i) returns true.
func stormWhile[P publishes](t *testing.T, dbs []P, publishers int, pause time.Duration, more func(i int) bool) []string {
	t.Helper()
	var mu sync.Mutex
	var acked []string
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for i := 0; more(i); i++ {
				e := adaptertest.Event("%d %d", p, i)
				r, err := dbs[p%len(dbs)].Publish(t.Context(), e)
				if err != nil {
					t.Errorf("Publish: %v", err)
					return
				}
				wg.Go(func() {
					if err := r.Wait(t.Context()); err != nil {
						t.Errorf("Wait: %v", err)
						return
					}
					mu.Lock()
					defer mu.Unlock()
					acked = append(acked, string(e.Payload))
				})
				time.Sleep(pause)
			}
		})
	}
	wg.Wait()
	return acked
}

// checkSame checks that all nodes received each acknowledged payload once, in the same
// order, which keeps the order of each publisher.
func checkSame(t *testing.T, recorders []*adaptertest.Recorder, acked []string) {
	t.Helper()
	first := adaptertest.Payloads(recorders[0].Expect(t, len(acked)))
	for i, r := range recorders {
		if got := adaptertest.Payloads(r.Expect(t, len(acked))); !slices.Equal(got, first) {
			t.Errorf("node %d received another order than node 0: %d and %d deliveries", i, len(got), len(first))
		}
		if resets := r.Resets(); len(resets) > 0 {
			t.Errorf("node %d was reset: %v", i, resets)
		}
	}
	next := make(map[int]int)
	for _, payload := range first {
		var p, i int
		if _, err := fmt.Sscan(payload, &p, &i); err != nil {
			t.Fatal(err)
		}
		if i != next[p] {
			t.Fatalf("publisher %d: %d instead of %d", p, i, next[p])
		}
		next[p]++
	}
	if !slices.Equal(slices.Sorted(slices.Values(first)), slices.Sorted(slices.Values(acked))) {
		t.Errorf("%d delivered, %d acknowledged", len(first), len(acked))
	}
}

// named gives the connections of this bench a name.
func (b *bench) named(t *testing.T) *bench {
	t.Helper()
	u, err := url.Parse(b.dsn)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("application_name", b.schema)
	u.RawQuery = q.Encode()
	c := *b
	c.dsn = u.String()
	return &c
}

// kill terminates the connections whose last statement contains the text, repeatedly
// until stop is called, but only after the value of the query progress has changed: a
// slow machine would make no progress otherwise. killed counts the connections.
func (b *bench) kill(t *testing.T, statement, progress string) (killed *atomic.Int64, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	killed = &atomic.Int64{}
	var killer sync.WaitGroup
	killer.Go(func() { // ends when stop is called
		for before := int64(-1); ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
			if done := b.int(t, progress); done != before {
				killed.Add(b.terminate(t, statement))
				before = done
			}
		}
	})
	return killed, func() { cancel(); killer.Wait() }
}

const batches = "select count(*) from log"

// terminate terminates the connections whose last statement contains the text.
func (b *bench) terminate(t *testing.T, statement string) int64 {
	t.Helper()
	return b.int(t, `select count(*) from (
		select pg_terminate_backend(pid) from pg_stat_activity
		where application_name = $1 and pid <> pg_backend_pid() and query like '%' || $2 || '%') killed`, b.schema, statement)
}

func TestOrder_TerminatedConnections(t *testing.T) {
	t.Parallel()
	for name, statement := range map[string]string{"all": "", "readers": "Batches after id", "publishers": "Appends a batch"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t).named(t)
			dbs, recorders := b.nodes(t, 3, nil)
			killed, stop := b.kill(t, statement, batches)
			acked := stormWhile(t, dbs, 12, 5*time.Millisecond, func(i int) bool { return i < 150 || killed.Load() < 5 })
			stop()
			checkSame(t, recorders, acked)
		})
	}
}

func TestOrder_ManyPublishersOnThreeNodes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, recorders := b.nodes(t, 3, nil)
	acked := storm(t, dbs, 12, 250, 2*time.Millisecond) // many small batches
	checkSame(t, recorders, acked)
}

func TestPublish_ManyEvents_FewBatches(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, recorders := b.nodes(t, 3, nil)
	checkSame(t, recorders, storm(t, dbs, 12, 1000, 0))
	if n := b.int(t, "select count(*) from log"); n > 6000 {
		t.Errorf("12,000 events took %d batches", n)
	}
}

// fillQueue makes appends fail as they do when the notification queue of Postgres is full.
func (b *bench) fillQueue(t *testing.T) {
	t.Helper()
	b.exec(t, `do $do$ begin execute replace(pg_get_functiondef('append'::regproc), E'\nbegin\n', $f$
		begin
			if notify then
				raise 'too many notifications in the NOTIFY queue' using errcode = '54000';
			end if;
		$f$); end $do$`)
}

// The relay has no append beside it that would take its events along.
func TestRelay_NotificationQueueFull_EventsArrive(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.exec(t, `do $do$ begin execute replace(pg_get_functiondef('relay_pending'::regproc), 'perform pg_notify(', $f$
			raise 'too many notifications in the NOTIFY queue' using errcode = '54000'; perform pg_notify($f$); end $do$`)
	db, recorders := b.nodes(t, 1, &Options{PollInterval: 20 * time.Millisecond})
	b.exec(t, "select emit_all('x')")
	recorders[0].Expect(t, 1)
	b.exec(t, "select emit_all('y')")
	token := b.rows(t, "select snapshot_token()")[0]
	if _, err := db[0].ResolveSnapshot(t.Context(), token); err != nil {
		t.Error(err)
	}
	recorders[0].Expect(t, 2)
}

func TestTail_WithoutNotifications(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.fillQueue(t)
	dbs, recorders := b.nodes(t, 2, &Options{PollInterval: 20 * time.Millisecond})
	checkSame(t, recorders, storm(t, dbs, 4, 100, 0))
}

func TestNotification_LargeBatch_WithoutFrame(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, recorders := b.nodes(t, 2, nil)
	for i := range 30 {
		e := adaptertest.Event("%s", strings.Repeat("x", i*400))
		adaptertest.Publish(t, dbs[i%2], e)
		if err := dbs[i%2].WaitDelivered(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range recorders {
		for i, d := range r.Expect(t, 30) {
			if len(d.Payload) != i*400 {
				t.Errorf("delivery %d has %d bytes", i, len(d.Payload))
			}
		}
	}
}

func TestNotification_Foreign(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, recorders := b.nodes(t, 1, nil)
	for _, payload := range []string{"", "x", "1", "1 2", "1 2 3", "-1 -1 -1", "1 1 1 AAAA", "2 1 1 " + strings.Repeat("/", 100), "9223372036854775807 1 1"} {
		b.exec(t, "select pg_notify($1, $2)", b.schema, payload)
	}
	checkSame(t, recorders, storm(t, dbs, 2, 50, 0))
}

// A wire is a proxy between a node and Postgres that can be cut, or stop to carry anything.
type wire struct {
	target string
	mu     sync.Mutex
	cut    bool
	conns  map[net.Conn]bool
	silent map[string]bool // the addresses of clients whose connections stay open and carry nothing
}

// silence makes a connection of a client carry nothing more, as a firewall that has forgotten it.
func (w *wire) silence(client net.Addr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.silent[client.String()] = true
}

// silenceAll does it for all connections that are open.
func (w *wire) silenceAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		w.silent[c.RemoteAddr().String()] = true
	}
}

// A wireEnd writes to one end of a connection of a client, unless it is silent.
type wireEnd struct {
	w      *wire
	client string
	to     io.Writer
}

func (l wireEnd) Write(p []byte) (int, error) {
	l.w.mu.Lock()
	silent := l.w.silent[l.client]
	l.w.mu.Unlock()
	if silent {
		return len(p), nil
	}
	return l.to.Write(p)
}

// through returns a bench whose connections go through a wire.
func (b *bench) through(t *testing.T) (*bench, *wire) {
	t.Helper()
	config, err := pgx.ParseConfig(b.dsn)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{target: net.JoinHostPort(config.Host, fmt.Sprint(config.Port)), conns: make(map[net.Conn]bool), silent: make(map[string]bool)}
	t.Cleanup(func() { w.sever(true); _ = l.Close() })
	go func() { // ends when the listener is closed
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go w.carry(conn) // ends when one side closes
		}
	}()
	c := *b
	u, err := url.Parse(b.dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = l.Addr().String()
	c.dsn = u.String()
	return &c, w
}

func (w *wire) carry(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", w.target)
	if err != nil {
		return
	}
	defer server.Close()
	w.mu.Lock()
	if w.cut {
		w.mu.Unlock()
		return
	}
	w.conns[client], w.conns[server] = true, true
	w.mu.Unlock()
	go func() { // ends when one side closes
		_, _ = io.Copy(wireEnd{w, client.RemoteAddr().String(), server}, client)
		_ = server.Close()
	}()
	_, _ = io.Copy(wireEnd{w, client.RemoteAddr().String(), client}, server)
}

// sever cuts all connections and refuses new ones, or accepts new ones again.
func (w *wire) sever(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
	if cut {
		for c := range w.conns {
			_ = c.Close()
		}
		clear(w.conns)
	}
}

func TestOutage_DeclaresNoNodeDead(t *testing.T) {
	t.Parallel()
	plain := newBench(t)
	b, w := plain.through(t)
	dbs, recorders := b.nodes(t, 2, &Options{Lease: 1500 * time.Millisecond})
	ids := []int64{dbs[0].node.id.Load(), dbs[1].node.id.Load()}
	before := storm(t, dbs, 2, 20, 0)
	w.sever(true)
	receipt := adaptertest.Publish(t, dbs[0], adaptertest.Event("0 20"))
	time.Sleep(2 * dbs[0].opts.Lease) // the outage
	w.sever(false)
	if err := receipt.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkSame(t, recorders, append(before, "0 20"))
	time.Sleep(2 * dbs[0].opts.Lease) // time for the nodes to observe each other
	for i, db := range dbs {
		if db.node.id.Load() != ids[i] {
			t.Errorf("node %d was declared dead", i)
		}
	}
	checkSame(t, recorders, append(before, "0 20"))
}

func TestTail_BehindTheLog_LogGap(t *testing.T) {
	t.Parallel()
	plain := newBench(t)
	b, w := plain.through(t)
	late, recorders := b.nodes(t, 1, nil)
	other, _ := plain.nodes(t, 1, nil)
	adaptertest.Publish(t, other[0], adaptertest.Event("seen"))
	recorders[0].Expect(t, 1)
	w.sever(true)
	r := adaptertest.Publish(t, other[0], adaptertest.Event("trimmed"))
	if err := r.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	plain.trim(t)
	w.sever(false)
	err := recorders[0].Await(t.Context(), func(_ []adapter.Delivery, resets []error) bool { return len(resets) > 0 })
	if err != nil {
		t.Fatal(err)
	}
	if cause := recorders[0].Resets()[0]; !errors.Is(cause, adapter.ErrTrimmed) {
		t.Errorf("reset because of %v", cause)
	}
	adaptertest.Publish(t, late[0], adaptertest.Event("after"))
	if got := adaptertest.Payloads(recorders[0].Expect(t, 2)); !slices.Equal(got, []string{"seen", "after"}) {
		t.Errorf("delivered %q", got)
	}
}

func TestTail_LogTruncated(t *testing.T) {
	t.Parallel()
	b := newBench(t).named(t)
	dbs, recorders := b.nodes(t, 2, &Options{PollInterval: 20 * time.Millisecond})
	var offsets []adapter.Offset
	for i := range 10 {
		offsets = append(offsets, adaptertest.Append(t, dbs[0], adaptertest.Event("%d", i)))
	}
	for _, r := range recorders {
		r.Expect(t, 10)
	}
	// A standby without the last three batches is promoted.
	cut := batchID(offsets[7].Position)
	b.loseFrom(t, cut)

	eventually(t, "both nodes rewound", func() bool {
		return dbs[0].tail.position() == offsets[6].Position && dbs[1].tail.position() == offsets[6].Position
	})
	if err := dbs[0].WaitDelivered(t.Context()); err != nil {
		t.Errorf("WaitDelivered after the loss: %v", err)
	}
	for i := range 5 {
		adaptertest.Publish(t, dbs[1], adaptertest.Event("new %d", i))
		if err := dbs[1].WaitDelivered(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "new 0", "new 1", "new 2", "new 3", "new 4"}
	for i, r := range recorders {
		err := r.Await(t.Context(), func(got []adapter.Delivery, _ []error) bool { return len(got) >= len(want) })
		if got := adaptertest.Payloads(r.Deliveries()); err != nil || !slices.Equal(got, want) {
			t.Errorf("node %d: %q, %v", i, got, err)
		}
		all := r.Deliveries()
		replay, err := adaptertest.Collect(dbs[i].Read(t.Context(), offsets[5].Position, all[len(all)-1].Offset.Position))
		if got := adaptertest.Payloads(replay); err != nil || !slices.Equal(got, []string{"6", "new 0", "new 1", "new 2", "new 3", "new 4"}) {
			t.Errorf("node %d reads %q, %v", i, got, err)
		}
		if resets := r.Resets(); len(resets) > 0 {
			t.Errorf("node %d was reset: %v", i, resets)
		}
	}
}

func TestTail_LogReplaced_LogGap(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, recorders := b.nodes(t, 1, &Options{PollInterval: 20 * time.Millisecond})
	adaptertest.Publish(t, dbs[0], adaptertest.Event("old"))
	recorders[0].Expect(t, 1)
	b.exec(t, "begin; truncate log; update meta set log_number = (log_number + 2) % 4294967296; select setval('log_id_seq', 1, false); commit")
	err := recorders[0].Await(t.Context(), func(_ []adapter.Delivery, resets []error) bool { return len(resets) > 0 })
	if err != nil {
		t.Fatal(err)
	}
	adaptertest.Publish(t, dbs[0], adaptertest.Event("new"))
	err = recorders[0].Await(t.Context(), func(got []adapter.Delivery, _ []error) bool { return len(got) == 2 })
	if err != nil {
		t.Fatal(err)
	}
	if got := recorders[0].Deliveries(); got[0].Offset.Log == got[1].Offset.Log {
		t.Error("the number of the log is the same")
	}
}

func TestTail_MalformedBatch_LogGap(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, recorders := b.nodes(t, 1, nil)
	o := adaptertest.Append(t, dbs[0], adaptertest.Event("good"))
	b.exec(t, "select append(1, 1, 1, 'garbage', true)")
	err := recorders[0].Await(t.Context(), func(_ []adapter.Delivery, resets []error) bool { return len(resets) > 0 })
	if err != nil {
		t.Fatal(err)
	}
	adaptertest.Publish(t, dbs[0], adaptertest.Event("next"))
	got := recorders[0].Expect(t, 2)
	if !slices.Equal(adaptertest.Payloads(got), []string{"good", "next"}) {
		t.Errorf("delivered %q", adaptertest.Payloads(got))
	}
	if _, err := adaptertest.Collect(dbs[0].Read(t.Context(), o.Position, got[1].Offset.Position)); !errors.Is(err, adapter.ErrTrimmed) {
		t.Errorf("a read across the malformed batch: %v", err)
	}
}
