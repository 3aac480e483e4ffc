package pgadapter

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/adapter/adaptertest"
	"github.com/pgsocket/socketio/recovery"
)

// readOnDemand are options of nodes that read the log only after a notification or a request.
func readOnDemand() *Options {
	return &Options{PollInterval: time.Hour, Retention: 24 * time.Hour, RelayInterval: time.Hour, Lease: time.Hour}
}

// localOnlyEvent is an event for sockets of the publishing node.
func localOnlyEvent(text string) *adapter.Envelope {
	e := adaptertest.Event("%s", text)
	e.LocalOnly = func() bool { return true }
	return e
}

// leaving returns true once, and then false.
func leaving() func() bool {
	var asked atomic.Int32
	return func() bool { return asked.Add(1) == 1 }
}

// delivered publishes e and waits until its own node has delivered it.
func delivered(t *testing.T, db *DB, e *adapter.Envelope) adapter.Offset {
	t.Helper()
	o := adaptertest.Append(t, db, e)
	if err := db.WaitDelivered(soon(t)); err != nil {
		t.Fatal(err)
	}
	return o
}

// soon returns a ctx that bounds the wait for an event that must happen.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// listener returns a connection that receives the notifications.
func (b *bench) listener(t *testing.T) *pgx.Conn {
	t.Helper()
	conn := b.connect(t)
	execOn(t, conn, "listen "+quoted(b.schema))
	return conn
}

// nextNotification returns the id of the batch in the next notification.
func nextNotification(t *testing.T, conn *pgx.Conn) int64 {
	t.Helper()
	n, err := conn.WaitForNotification(soon(t))
	for err == nil && strings.HasPrefix(n.Payload, echoPrefix) { // of a node that tests its connection
		n, err = conn.WaitForNotification(soon(t))
	}
	if err != nil {
		t.Fatal(err)
	}
	id, err := strconv.ParseInt(strings.Fields(n.Payload)[0], 10, 64)
	if err != nil {
		t.Fatalf("notification %q", n.Payload)
	}
	return id
}

// sameOrder checks that all recorders receive what is wanted, in order.
func sameOrder(t *testing.T, recorders []*adaptertest.Recorder, want []string) {
	t.Helper()
	for i, r := range recorders {
		if got := adaptertest.Payloads(r.Expect(t, len(want))); !slices.Equal(got, want) {
			t.Errorf("node %d: %q, want %q", i, got, want)
		}
	}
}

func TestLocalOnly_WakesNoOtherNode(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	listener := b.listener(t)
	dbs, recorders := b.nodes(t, 3, readOnDemand())
	want := []string{"first"}
	first := delivered(t, dbs[0], adaptertest.Event("first"))
	sameOrder(t, recorders, want)
	before := b.statement(t, dbs[0])
	for i := range 20 {
		want = append(want, strconv.Itoa(i))
		delivered(t, dbs[0], localOnlyEvent(want[i+1]))
	}
	sameOrder(t, recorders[:1], want)
	if b.hasRead(t, dbs[0], before) {
		t.Error("the node has read a batch from the log that it appended itself")
	}
	for _, db := range dbs[1:] {
		if at := db.tail.position(); at != first.Position {
			t.Errorf("another node has read up to %d", at)
		}
	}

	want = append(want, "far")
	far := delivered(t, dbs[1], adaptertest.Event("far"))
	sameOrder(t, recorders, want)
	for _, at := range []adapter.Offset{first, far} {
		if id := nextNotification(t, listener); id != batchID(at.Position) {
			t.Errorf("notification for batch %d, want %d", id, batchID(at.Position))
		}
	}
}

// The answer to an append contains the batches that others have appended without a notification.
func TestLocalOnly_TwoNodes_NotReadBack(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, recorders := b.nodes(t, 2, readOnDemand())
	want := []string{"first"}
	delivered(t, dbs[0], adaptertest.Event("first"))
	sameOrder(t, recorders, want)
	before := []int64{b.statement(t, dbs[0]), b.statement(t, dbs[1])}
	for i := range 20 { // three each in turn
		want = append(want, strconv.Itoa(i))
		delivered(t, dbs[i/3%2], localOnlyEvent(want[i+1]))
	}
	want = append(want, "end")
	delivered(t, dbs[1], localOnlyEvent("end"))
	sameOrder(t, recorders[1:], want)
	for i, db := range dbs {
		if b.hasRead(t, db, before[i]) {
			t.Errorf("node %d has read the log", i)
		}
	}

	// More batches than fit in an answer are read from the table.
	for i := range 30 {
		want = append(want, strings.Repeat("x", i))
		delivered(t, dbs[0], localOnlyEvent(want[len(want)-1]))
	}
	want = append(want, "once more")
	delivered(t, dbs[1], localOnlyEvent("once more"))
	sameOrder(t, recorders[1:], want)
}

// hasRead reports whether the tail of a node has sent a statement since before, except the one after its echo.
func (b *bench) hasRead(t *testing.T, db *DB, before int64) bool {
	t.Helper()
	now := b.statement(t, db)
	return now != before && now != echoStatement
}

// echoStatement is the result of statement while the last statement is the one after the echo.
const echoStatement = -1

// statement returns when the tail of a node sent its last statement.
func (b *bench) statement(t *testing.T, db *DB) int64 {
	t.Helper()
	return b.int(t, "select case when query = 'set idle_session_timeout = 0' then -1 else extract(epoch from query_start) * 1000000 end from pg_stat_activity where pid = $1", int64(db.tail.conn.conn.PgConn().PID()))
}

func TestLocalOnly_MixedBatch_Notifies(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, recorders := b.nodes(t, 2, readOnDemand())
	resume := b.stall(t)
	want := []string{"in flight"}
	adaptertest.Publish(t, dbs[0], localOnlyEvent(want[0]))
	for i := range 30 {
		want = append(want, strconv.Itoa(i))
		e := adaptertest.Event("%d", i)
		if i%10 != 9 { // the last one is not local-only, so its batch sends a notification
			e = localOnlyEvent(want[i+1])
		}
		adaptertest.Publish(t, dbs[0], e)
	}
	resume()
	sameOrder(t, recorders, want)
}

func TestLocalOnly_NotifyBudget_Exhausted(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	listener := b.listener(t)
	dbs, recorders := b.nodes(t, 2, readOnDemand())
	var want []string
	var last adapter.Offset
	for i := range readBatches {
		want = append(want, strconv.Itoa(i))
		last = delivered(t, dbs[0], localOnlyEvent(want[i]))
	}
	sameOrder(t, recorders, want)
	if id := nextNotification(t, listener); id != batchID(last.Position) {
		t.Errorf("notification for batch %d, want %d", id, batchID(last.Position))
	}
	want = append(want, strings.Repeat("x", batchBytes))
	delivered(t, dbs[0], localOnlyEvent(want[readBatches]))
	sameOrder(t, recorders, want)
}

func TestLocalOnly_SocketMoved_Notifies(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]*Options{"listening": readOnDemand(), "polling": {PollOnly: true, PollInterval: time.Hour, Retention: 24 * time.Hour}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			// The first one is read from the table, the next one is a handoff.
			dbs, recorders := b.nodes(t, 1, opts)
			_, others := b.nodes(t, 1, readOnDemand())
			var want []string
			for _, text := range []string{"read", "handoff"} {
				e := localOnlyEvent(text)
				e.LocalOnly = leaving()
				delivered(t, dbs[0], e)
				want = append(want, text)
				sameOrder(t, append(recorders, others...), want)
			}
		})
	}
}

func TestLocalOnly_SocketNotHere_NotifiesAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	listener := b.listener(t)
	dbs, recorders := b.nodes(t, 2, readOnDemand())
	e := localOnlyEvent("gone")
	e.LocalOnly = notLocal
	at := delivered(t, dbs[0], e)
	sameOrder(t, recorders, []string{"gone"})
	if id := nextNotification(t, listener); id != batchID(at.Position) {
		t.Errorf("notification for batch %d, want %d", id, batchID(at.Position))
	}
}

// While Postgres accepts no notifications, a node still delivers its own events.
func TestLocalOnly_DeliveredWithoutOwnNotification(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.fillQueue(t)
	dbs, recorders := b.nodes(t, 1, readOnDemand())
	var want []string
	for i := range 5 {
		want = append(want, strconv.Itoa(i))
		delivered(t, dbs[0], adaptertest.Event("%d", i))
	}
	sameOrder(t, recorders, want)
}

// A resumed session may refer to batches without a notification, so the node reads the log.
func TestClaim_ReadsTheLogToItsHead(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, recorders := b.nodes(t, 2, readOnDemand())
	delivered(t, dbs[0], adaptertest.Event("first"))
	sameOrder(t, recorders, []string{"first"}) // from now on the nodes read on demand
	s := session("p")
	mustOpen(t, dbs[0], s)
	at := delivered(t, dbs[0], localOnlyEvent("silent"))
	if err := dbs[0].Sessions().End(s.Key, recovery.Release{Park: true, At: at.Position, Last: at}).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := dbs[1].Sessions().Resume(t.Context(), recovery.ResumeRequest{PIDHash: "p", Namespace: "/", Offset: at.String()}); err != nil {
		t.Fatal(err)
	}
	sameOrder(t, recorders, []string{"first", "silent"})

	// So does a snapshot token.
	delivered(t, dbs[0], localOnlyEvent("shown"))
	var token string
	if err := b.conn.QueryRow(t.Context(), "select snapshot_token()").Scan(&token); err != nil {
		t.Fatal(err)
	}
	if _, err := dbs[1].ResolveSnapshot(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	sameOrder(t, recorders, []string{"first", "silent", "shown"})
}

// A handoff follows the cursor only if the log still has the batch before it, whatever
// its id is.
func TestLocalOnly_AfterLogTruncated(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, recorders := b.nodes(t, 1, readOnDemand())
	delivered(t, dbs[0], adaptertest.Event("first"))
	lost := batchID(delivered(t, dbs[0], adaptertest.Event("lost")).Position)
	b.exec(t, "begin")
	b.exec(t, "delete from log where id = $1", lost)
	b.exec(t, "select setval('log_id_seq', $1, false)", lost)
	b.exec(t, "select append(5, 1, 1, $1, false)", encode(adaptertest.Event("in its place")))
	b.exec(t, "commit")
	adaptertest.Publish(t, dbs[0], localOnlyEvent("local"))
	err := recorders[0].Await(soon(t), func(got []adapter.Delivery, _ []error) bool { return len(got) == 4 })
	if got := adaptertest.Payloads(recorders[0].Deliveries()); err != nil || !slices.Equal(got, []string{"first", "lost", "in its place", "local"}) {
		t.Errorf("%q, %v", got, err)
	}
}

// An append relays events from SQL, which are for all nodes.
func TestLocalOnly_WithSQLEmits_Notifies(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, recorders := b.nodes(t, 2, readOnDemand())
	delivered(t, dbs[0], adaptertest.Event("first"))
	sameOrder(t, recorders, []string{"first"}) // from now on the nodes read on demand
	b.exec(t, "select emit_all('sql')")
	delivered(t, dbs[0], localOnlyEvent("local"))
	sameOrder(t, recorders[:1], []string{"first", `["sql"]`, "local"})
	if got := adaptertest.Payloads(recorders[1].Expect(t, 2)); got[1] != `["sql"]` {
		t.Errorf("another node has %q", got)
	}
}

func TestLocalOnly_PollOnly_DeliveredAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	opts := readOnDemand()
	opts.PollOnly = true
	dbs, recorders := b.nodes(t, 1, opts)
	var want []string
	for i := range 5 {
		want = append(want, strconv.Itoa(i))
		delivered(t, dbs[0], localOnlyEvent(want[i]))
	}
	sameOrder(t, recorders, want)
}

// A tail without a connection keeps a bounded number of handoffs, and remembers that it
// must send a notification for the others.
func TestLocalOnly_Handoffs_Bounded(t *testing.T) {
	t.Parallel()
	tail := &tail{}
	for i := range 3*maxHandoffs + 5 {
		id := int64(i + 1)
		tail.appended(position(id, 0), &handoff{logRow: logRow{batchPos: batchPos{id: id}}})
	}
	if n := len(tail.handoffs); n > maxHandoffs {
		t.Errorf("%d batches wait", n)
	}
	if first := tail.handoffs[0]; len(first.localOnly) != 1 || first.localOnly[0]() || first.frame != nil {
		t.Errorf("the placeholder for the dropped handoffs: %+v", first)
	}
}

func TestLocalOnly_ReadBeforeTrimmed(t *testing.T) {
	t.Parallel()
	o := (&Options{PollInterval: time.Hour, Retention: time.Minute}).withDefaults()
	if o.PollInterval > o.Retention/4 {
		t.Errorf("the log is read every %v and kept for %v", o.PollInterval, o.Retention)
	}
}
