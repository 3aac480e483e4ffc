package pgadapter

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/adapter/adaptertest"
	"github.com/pgsocket/socketio/recovery"
)

// appendOne publishes e and waits until it is in the log.
func appendOne(t *testing.T, db *DB, e *adapter.Envelope) {
	t.Helper()
	if err := adaptertest.Publish(t, db, e).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// newer appends a batch with a later frame version.
func (b *bench) newer(t *testing.T, seq int) {
	t.Helper()
	b.exec(t, "select append(77, $1, 1, '\\x02ff00000000', true)", seq)
}

func TestTail_BatchesThatItCannotRead_AreAsIfTrimmed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, recorders := b.nodes(t, 1, nil)
	reads, recorder := dbs[0], recorders[0]
	appendOne(t, reads, adaptertest.Event("before"))
	recorder.Expect(t, 1)
	before := reads.tail.position()
	mustOpen(t, reads, session("early"))

	b.exec(t, "begin")
	b.newer(t, 1)
	b.newer(t, 2)
	b.exec(t, "commit")
	appendOne(t, reads, adaptertest.Event("after"))
	recorder.Expect(t, 2)
	if n := reads.Stats().Resets; n != 1 {
		t.Errorf("%d resets for consecutive batches", n)
	}
	if err := reads.Health(); err == nil || !strings.Contains(err.Error(), "later version") {
		t.Errorf("Health: %v", err)
	}
	if now := time.Now().Add(2 * reads.opts.Retention); reads.tail.unreadable.health(now, reads.opts.Retention) != nil {
		t.Error("Health returns the error beyond the retention")
	}

	// A node that started later detects the batch when a reader asks for it.
	fresh := b.open(t, nil)
	for _, db := range []*DB{reads, fresh} {
		head := db.tail.position()
		for _, err := range db.Read(t.Context(), before, head) {
			if !errors.Is(err, adapter.ErrTrimmed) {
				t.Errorf("read from before it: %v", err)
			}
		}
		for range 2 {
			_, err := db.Sessions().Resume(t.Context(), recovery.ResumeRequest{PIDHash: session("early").PIDHash, Namespace: "/"})
			if !errors.Is(err, recovery.ErrTrimmed) {
				t.Errorf("a session from before it: %v", err)
			}
		}
		at := db.tail.unreadable.after(db.tail.sealer.number.Load())
		n := 0
		for ds, err := range db.Read(t.Context(), at, head) {
			if err != nil {
				t.Fatalf("read from just after it: %v", err)
			}
			n += len(ds)
		}
		if n != 1 {
			t.Errorf("%d deliveries after it", n)
		}
	}
}

// One read is bounded in bytes, both of the tail and of replays.
func TestReadLog_LargeBatches_AreReadByBytes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, nil)
	const n, size = 12, 1 << 20
	payload := []byte(`["x","` + strings.Repeat("x", size) + `"]`)
	for range n {
		appendOne(t, db, &adapter.Envelope{Kind: adapter.Event, Namespace: "/", Payload: payload})
	}
	r, err := db.tail.readLog(t.Context(), db.pool, idRange{0, maxID}, theLog, fullPace())
	if err != nil {
		t.Fatal(err)
	}
	if len(r.rows)*size > fullBytes || !r.more {
		t.Errorf("%d batches in one read; more: %v", len(r.rows), r.more)
	}
	if r, err = db.tail.readLog(t.Context(), db.pool, idRange{0, maxID}, theLog, pace{1, answerTimeout}); err != nil || len(r.rows) != 1 || !r.more {
		t.Errorf("%d batches at the slowest pace; %v", len(r.rows), err)
	}

	fresh, err := Open(t.Context(), b.dsn, &Options{Schema: b.schema, TailBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = fresh.Close(context.Background()) }()
	to := fresh.tail.position()
	for name, read := range map[string]func(adapter.Position) ([]*logBatch, adapter.Position, error){
		"shared": func(from adapter.Position) ([]*logBatch, adapter.Position, error) {
			return fresh.tail.readShared(t.Context(), from, to)
		},
		"rows": func(from adapter.Position) ([]*logBatch, adapter.Position, error) {
			return fresh.tail.readRows(t.Context(), from, to)
		},
	} {
		found := 0
		for from := adapter.Position(0); from < to; {
			batches, next, err := read(from)
			if err != nil || next <= from || len(batches)*size > fullBytes {
				t.Fatalf("%s: after %d: %d batches up to %d: %v", name, from, len(batches), next, err)
			}
			for _, b := range batches {
				found += len(b.within(from, next))
			}
			from = next
		}
		if found != n {
			t.Errorf("%s: %d of %d events", name, found, n)
		}
	}
}

func TestPace_SlowLine_AsksForLessAndWaitsLonger(t *testing.T) {
	t.Parallel()
	p := fullPace()
	for range 20 {
		p = p.next(context.DeadlineExceeded)
	}
	if p.bytes != 1 || p.timeout != slowestRead {
		t.Errorf("slowest: %+v", p)
	}
	for range 30 {
		p = p.next(nil)
	}
	if p != fullPace() || p.next(errors.New("connection lost")) != p {
		t.Errorf("after a while: %+v", p)
	}
}
