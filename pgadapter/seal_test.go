package pgadapter

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/adapter/adaptertest"
)

// stranger returns a connection of a role without any privilege except to connect to the database. It listens to the
// notifications.
func (b *bench) stranger(t *testing.T) *pgx.Conn {
	t.Helper()
	role := quoted(b.schema + "_stranger")
	b.exec(t, "create role "+role)
	conn := b.connect(t)
	t.Cleanup(func() {
		execOn(t, conn, "reset role")
		b.exec(t, "drop role "+role)
	})
	execOn(t, conn, "set role "+role, "listen "+quoted(b.schema))
	return conn
}

// nextPayload returns the next notification, except those for the relay.
func nextPayload(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	for {
		n, err := conn.WaitForNotification(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		if n.Payload != relayNotification && !strings.HasPrefix(n.Payload, echoPrefix) {
			return n.Payload
		}
	}
}

// notify sends a notification to the nodes.
func (b *bench) notify(t *testing.T, conn *pgx.Conn, payload string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), "select pg_notify($1, $2)", b.schema, payload); err != nil {
		t.Fatal(err)
	}
}

func TestNotification_ContentIsSealed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, recorders := b.nodes(t, 2, readOnDemand())
	spy := b.stranger(t)
	const secret = "for the room of the management"
	delivered(t, dbs[0], adaptertest.Event("first"))
	sameOrder(t, recorders, []string{"first"})
	before := b.statement(t, dbs[1])
	delivered(t, dbs[0], adaptertest.Event(secret))
	sameOrder(t, recorders, []string{"first", secret})
	if b.hasRead(t, dbs[1], before) {
		t.Error("a small batch was read from the log: it was not in its notification")
	}
	nextPayload(t, spy)
	fields := strings.SplitN(nextPayload(t, spy), " ", 5)
	if len(fields) < 5 {
		t.Fatalf("no batch in the notification: %q", fields)
	}
	box, err := base64.StdEncoding.DecodeString(fields[4])
	if err != nil || len(box) < len(secret) {
		t.Fatalf("%q: %v", fields[4], err)
	}
	for _, word := range []string{secret, "management", "room"} {
		if strings.Contains(string(box), word) {
			t.Errorf("%q can be read in %q", word, box)
		}
	}
}

// Events from SQL are not sealed, so their notification does not contain them.
func TestNotification_FromSQLHasNoContent(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.nodes(t, 1, readOnDemand())
	spy := b.stranger(t)
	execOn(t, b.conn, "select emit_all('x', '\"secret\"', notify => true)")
	if got := strings.Fields(nextPayload(t, spy)); len(got) != 3 {
		t.Errorf("the notification of an event from SQL is %q", got)
	}
}

func TestNotification_Forged(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, recorders := b.nodes(t, 2, readOnDemand())
	forger := b.stranger(t)
	delivered(t, dbs[0], adaptertest.Event("real 0"))
	want := []string{"real 0"}
	sameOrder(t, recorders, want)
	fields := strings.SplitN(nextPayload(t, forger), " ", 5)
	id := batchID(dbs[0].tail.position())
	frame := appendPacket([]byte{frameVersion}, adaptertest.Event("made up"))
	guess := newSealer(dbs[0].tail.sealer.number.Load(), nil)
	sealed, err := guess.seal(7, 1, frame)
	if err != nil {
		t.Fatal(err)
	}
	encoded := base64.StdEncoding.EncodeToString
	name := fmt.Sprintf("%d 7 1 ", id+1)
	for _, payload := range []string{
		"", "x", "1", "1 2", "read", "relay", "-1 -1 -1", "9223372036854775807 1 1", "99999999999999999999 1 1",
		fmt.Sprint(id+1, " 7 1"), fmt.Sprint(int64(math.MaxInt64), " 7 1 AAAA AAAA"), strings.Repeat("/", 7999),
		fmt.Sprintf("%s%s %s", name, strings.Repeat("A", 16), encoded(frame)),
		fmt.Sprintf("%s%s %s", name, guess.tag(name, frame), encoded(frame)),
		fmt.Sprintf("%s%s %s", name, guess.tag(name, sealed), encoded(sealed)),
		strings.Join(fields, " "),                                                    // unchanged
		fmt.Sprintf("%d %s", id+1, strings.Join(fields[1:], " ")),                    // at the next position of the log
		fmt.Sprintf("%d %s 2 %s %s", id+1, fields[1], fields[3], fields[4]),          // as the next batch
		strings.Join(append(fields[:3:3], fields[3], encoded([]byte("short"))), " "), // with another frame
	} {
		before := dbs[0].tail.ackedPosition()
		eventually(t, "the node is there", func() bool { return dbs[1].tail.position() >= before })
		b.notify(t, forger, payload)
		heard := dbs[1].Stats().Notified
		b.notify(t, forger, "read") // when it has arrived, so has the forgery
		eventually(t, "the notification arrived", func() bool { return dbs[1].Stats().Notified.After(heard) })
		if got := dbs[1].tail.position(); got != before {
			t.Errorf("%.60q moved the cursor from %d to %d", payload, before, got)
		}
		text := fmt.Sprint("real ", len(want))
		want = append(want, text)
		delivered(t, dbs[0], adaptertest.Event("%s", text))
		sameOrder(t, recorders, want)
	}
	for i, r := range recorders {
		if resets := r.Resets(); len(resets) > 0 {
			t.Errorf("node %d was reset: %v", i, resets)
		}
	}
}

// A flood of forged notifications costs one read of the log for all that have arrived.
func TestNotification_FloodOfForged(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, recorders := b.nodes(t, 1, readOnDemand())
	forger := b.stranger(t)
	listener := b.listener(t)
	if _, err := forger.Exec(t.Context(), "select pg_notify($1, format('9999999999 %s 1', i)) from generate_series(1, 20000) i", b.schema); err != nil {
		t.Fatal(err)
	}
	delivered(t, dbs[0], adaptertest.Event("real"))
	sameOrder(t, recorders, []string{"real"})

	if _, err := listener.WaitForNotification(soon(t)); err != nil {
		t.Fatal(err)
	}
	execOn(t, listener, "select") // receives pending notifications as well
	other := newTail(dbs[0].base, nil, dbs[0].tail.sealer, dbs[0].tail.hooks)
	if err := other.drainNotifications(t.Context(), listener); err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if n, _ := listener.WaitForNotification(over); n != nil {
		t.Errorf("after the read of the log %q is still pending", n.Payload)
	}
}

func TestNotification_KeyChanged(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, recorders := b.nodes(t, 2, readOnDemand())
	b.exec(t, "update meta set notification_key = sha256(notification_key)")
	var want []string
	next := func() {
		want = append(want, fmt.Sprint(len(want)))
		delivered(t, dbs[0], adaptertest.Event("%s", want[len(want)-1]))
		sameOrder(t, recorders, want)
	}
	next() // is read from the log, because it cannot be opened; then the key is read again
	eventually(t, "the nodes have the new key", func() bool {
		next()
		return string(*dbs[0].tail.sealer.secret.Load()) == string(*dbs[1].tail.sealer.secret.Load()) &&
			b.int(t, "select (notification_key = $1)::int from meta", *dbs[0].tail.sealer.secret.Load()) == 1
	})
	before := b.statement(t, dbs[1])
	next()
	if b.hasRead(t, dbs[1], before) {
		t.Error("notifications no longer contain small batches")
	}
}

// A stranger has the notification of a batch that was lost with the end of the log, and sends it when its position is free.
func TestNotification_OfALostBatch(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, recorders := b.nodes(t, 1, &Options{PollInterval: 20 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	delivered(t, dbs[0], adaptertest.Event("kept"))
	forger := b.stranger(t)
	lost := delivered(t, dbs[0], adaptertest.Event("lost"))
	sameOrder(t, recorders, []string{"kept", "lost"})
	payload := nextPayload(t, forger)
	b.exec(t, "begin")
	b.exec(t, "delete from log where id >= $1", batchID(lost.Position))
	b.exec(t, "select setval('log_id_seq', $1, false)", batchID(lost.Position))
	b.exec(t, "commit")
	eventually(t, "the node has noticed the loss", func() bool { return dbs[0].tail.position() < lost.Position })
	b.notify(t, forger, payload)
	delivered(t, dbs[0], adaptertest.Event("next"))
	wantRows(t, adaptertest.Payloads(recorders[0].Deliveries()), "kept", "lost", "next")
	if n := dbs[0].node.fence().timeline.number; n != 1 {
		t.Errorf("the node rewound %d times", n)
	}
}

// An Emitter seals as nodes do, and uses the new key after a change.
func TestNotification_OfAnEmitter(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, recorders := b.nodes(t, 1, readOnDemand())
	e, err := OpenEmitter(t.Context(), b.dsn, &EmitterOptions{Schema: b.schema})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close(context.Background()) })
	before := b.statement(t, dbs[0])
	if err := adaptertest.Publish(t, e, adaptertest.Event("1")).Wait(soon(t)); err != nil {
		t.Fatal(err)
	}
	sameOrder(t, recorders, []string{"1"})
	if b.hasRead(t, dbs[0], before) {
		t.Error("the notification of an Emitter does not contain the batch")
	}
}
