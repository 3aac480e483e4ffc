package pgadapter

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/adapter/adaptertest"
)

// moveToCopy makes the database a copy as of the batch before id, with a row in the outbox for everything that was emitted
// before: the log loses the batches from id on, statements change the copy, and all connections end.
func (b *bench) moveToCopy(t *testing.T, id int64, statements ...string) {
	t.Helper()
	b.exec(t, "begin")
	b.exec(t, "delete from log where id >= $1", id)
	b.exec(t, "select setval('log_id_seq', $1, false)", id)
	execOn(t, b.conn, statements...)
	b.exec(t, "commit")
	b.terminate(t, "")
}

// relayed emits events from SQL in one transaction, and relays them. It returns the id of their batch.
func (b *bench) relayed(t *testing.T, events ...string) int64 {
	t.Helper()
	b.exec(t, "begin")
	for _, e := range events {
		execOn(t, b.conn, fmt.Sprintf("select emit_all('%s')", e))
	}
	b.exec(t, "commit")
	b.relay(t)
	return b.int(t, "select max(id) from log")
}

// sqlEvents returns the payloads of events from SQL without arguments.
func sqlEvents(names ...string) []string {
	payloads := make([]string, len(names))
	for i, name := range names {
		payloads[i] = `["` + name + `"]`
	}
	return payloads
}

func (b *bench) wantDelivered(t *testing.T, r *adaptertest.Recorder, want ...string) {
	t.Helper()
	last := want[len(want)-1]
	err := r.Await(t.Context(), func(got []adapter.Delivery, _ []error) bool {
		return slices.Contains(adaptertest.Payloads(got), last)
	})
	if got := adaptertest.Payloads(r.Deliveries()); err != nil || !slices.Equal(got, want) {
		t.Errorf("delivered %q, %v\nwant %q", got, err, want)
	}
	if resets := r.Resets(); len(resets) > 0 {
		t.Errorf("reset: %v", resets)
	}
}

// TestMove_RelayedAgain_DeliveredOnce: nodes that run go to a copy of the database, which relays what the former database had
// relayed since: in other batches, together with new events, one of them with the content of a lost one.
func TestMove_RelayedAgain_DeliveredOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t).named(t)
	dbs, recorders := b.nodes(t, 2, &Options{PollInterval: 20 * time.Millisecond})
	kept := b.relayed(t, "before")
	b.relayed(t, "1", "same", "2")
	lost := adaptertest.Event("of a node")
	delivered(t, dbs[0], lost)
	b.relayed(t, "lost", "3")
	old := append(append(sqlEvents("before", "1", "same", "2"), string(lost.Payload)), sqlEvents("lost", "3")...)
	for _, r := range recorders {
		b.wantDelivered(t, r, old...)
	}

	b.moveToCopy(t, kept+1, "delete from outbox where position(convert_to('lost', 'UTF8') in frame) > 0", "select emit_all('same'), emit_all('new')")
	eventually(t, "all is relayed", func() bool { return len(b.logged(t)) == 7 })
	adaptertest.Publish(t, dbs[1], adaptertest.Event("end"))
	end := string(adaptertest.Event("end").Payload)
	for i, r := range recorders {
		b.wantDelivered(t, r, append(slices.Clone(old), append(sqlEvents("same", "new"), end)...)...)
		last := r.Deliveries()[len(r.Deliveries())-1].Offset.Position
		replay, err := adaptertest.Collect(dbs[i].Read(t.Context(), position(kept, 0), last))
		if got, want := adaptertest.Payloads(replay), append(sqlEvents("1", "same", "2", "3", "same", "new"), end); err != nil || !slices.Equal(got, want) {
			t.Errorf("node %d reads %q, %v\nwant %q", i, got, err, want)
		}
	}
}

// TestMove_RelayedAgainAndLostAgain_DeliveredOnce: the copy is left for a copy of it, before or after it has relayed the event.
func TestMove_RelayedAgainAndLostAgain_DeliveredOnce(t *testing.T) {
	t.Parallel()
	for name, between := range map[string]bool{"relayed on each": true, "relayed on the last": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t).named(t)
			dbs, recorders := b.nodes(t, 1, &Options{PollInterval: 20 * time.Millisecond})
			kept := b.relayed(t, "before")
			b.relayed(t, "x")
			b.wantDelivered(t, recorders[0], sqlEvents("before", "x")...)
			row := "create table kept as select * from outbox where position(convert_to('x', 'UTF8') in frame) > 0"
			if between {
				b.moveToCopy(t, kept+1)
				eventually(t, "it is relayed again", func() bool { return slices.Equal(b.logged(t), sqlEvents("before", "x")) })
				eventually(t, "it is read", func() bool { return dbs[0].tail.position() == position(kept+1, 0) })
				b.moveToCopy(t, kept+1, row)
			} else {
				b.moveToCopy(t, kept+1, row, "delete from outbox using kept where outbox.xid = kept.xid")
				eventually(t, "the node is at the copy", func() bool { return dbs[0].tail.position() == position(kept, 0) })
				o := delivered(t, dbs[0], adaptertest.Event("of a node"))
				b.moveToCopy(t, batchID(o.Position), "insert into outbox select * from kept")
			}
			eventually(t, "it is relayed", func() bool { return slices.Equal(b.logged(t), sqlEvents("before", "x")) })
			adaptertest.Publish(t, dbs[0], adaptertest.Event("end"))
			want := sqlEvents("before", "x")
			if !between {
				want = append(want, string(adaptertest.Event("of a node").Payload))
			}
			b.wantDelivered(t, recorders[0], append(want, string(adaptertest.Event("end").Payload))...)
		})
	}
}

// A pausingRecorder does not return from Deliver before it may continue, so that its node reads nothing more.
type pausingRecorder struct {
	*adaptertest.Recorder
	resume chan struct{}
}

func (r pausingRecorder) Deliver(ds []adapter.Delivery) {
	r.Recorder.Deliver(ds)
	<-r.resume
}

// TestMove_RelayedAgain_NodeThatHadNotReadIt: of two nodes one had delivered the event. The other one delivers it too.
func TestMove_RelayedAgain_NodeThatHadNotReadIt(t *testing.T) {
	t.Parallel()
	b := newBench(t).named(t)
	opts := &Options{PollInterval: 20 * time.Millisecond}
	fast, recorders := b.nodes(t, 1, opts)
	slow, behind := b.open(t, opts), pausingRecorder{&adaptertest.Recorder{}, make(chan struct{})}
	resume := sync.OnceFunc(func() { close(behind.resume) })
	t.Cleanup(resume) // before the node is closed
	if _, err := slow.Bind(behind); err != nil {
		t.Fatal(err)
	}
	kept := b.relayed(t, "before")
	b.wantDelivered(t, behind.Recorder, sqlEvents("before")...)
	b.relayed(t, "x")
	b.wantDelivered(t, recorders[0], sqlEvents("before", "x")...)
	b.moveToCopy(t, kept+1)
	eventually(t, "it is relayed again", func() bool { return slices.Equal(b.logged(t), sqlEvents("before", "x")) })
	if n := len(behind.Deliveries()); n != 1 {
		t.Fatalf("the slow node has read %d events", n)
	}
	resume()
	adaptertest.Publish(t, fast[0], adaptertest.Event("end"))
	end := string(adaptertest.Event("end").Payload)
	for _, r := range []*adaptertest.Recorder{recorders[0], behind.Recorder} {
		b.wantDelivered(t, r, append(sqlEvents("before", "x"), end)...)
	}
}

// TestMove_RelayedAgain_ClientsThatHadNotReceivedIt: an event that clients of a node received before the move is relayed again
// after it. Those that connected or came back meanwhile receive it, the others do not.
func TestMove_RelayedAgain_ClientsThatHadNotReceivedIt(t *testing.T) {
	t.Parallel()
	b := newBench(t).named(t)
	db := b.open(t, &Options{PollInterval: 20 * time.Millisecond})
	server := serve(t, db)
	var stays, away, back, fresh testClient
	stays.connect(t, server)
	away.connect(t, server)
	back.connect(t, server)
	say(t, server, "1")
	for _, g := range []*testClient{&stays, &away, &back} {
		g.wants(t, "1")
	}
	for _, g := range []*testClient{&away, &back} {
		g.Cut()
	}
	eventually(t, "they are parked", func() bool { return b.int(t, "select count(*) from sessions where node is null") == 2 })
	kept := b.int(t, "select max(id) from log")
	execOn(t, b.conn, "select emit_all('said', to_jsonb('x'::text))")
	b.relay(t)
	stays.wants(t, "x")

	b.moveToCopy(t, kept+1, "create table kept as select * from outbox", "delete from outbox")
	eventually(t, "the node is at the copy", func() bool { return db.tail.position() == position(kept, 0) })
	back.connect(t, server)
	fresh.connect(t, server)
	if !back.recovered {
		t.Error("the client that came back is not recovered")
	}
	execOn(t, b.conn, "insert into outbox select * from kept")
	b.relay(t)
	if err := db.WaitDelivered(t.Context()); err != nil {
		t.Fatal(err)
	}
	say(t, server, "end")
	stays.wants(t, "end")
	back.wants(t, "x", "end")
	fresh.wants(t, "x", "end")
	away.connect(t, server)
	if !away.recovered {
		t.Error("the client that was away is not recovered")
	}
	away.wants(t, "x", "end")
}
