package pgadapter

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/adapter/adaptertest"
)

func TestRotation_NoHole(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, recorders := b.nodes(t, 2, &Options{TailBytes: 1})
	var acked []string
	done := make(chan struct{})
	go func() { // ends when all events are published
		defer close(done)
		acked = storm(t, dbs, 4, 500, 4*time.Millisecond)
	}()
	trimmed, complete, rotations := 0, 0, 0
	for publishing := true; publishing; {
		select {
		case <-done:
			publishing = false
		default:
		}
		all := recorders[0].Deliveries()
		if len(all) < 2 {
			continue
		}
		if (trimmed+complete)%100 == 0 {
			b.rotate(t, dbs)
			rotations++
		}
		from := all[max(0, len(all)-1-(complete+trimmed)*37%1500)]
		want := all[max(0, len(all)-1-(complete+trimmed)*37%1500)+1:]
		got, err := adaptertest.Collect(dbs[1].Read(t.Context(), from.Offset.Position, all[len(all)-1].Offset.Position))
		if errors.Is(err, adapter.ErrTrimmed) {
			trimmed++
			continue
		}
		if err != nil || !slices.Equal(adaptertest.Payloads(got), adaptertest.Payloads(want)) {
			t.Fatalf("read %d of %d, %v", len(got), len(want), err)
		}
		complete++
	}
	checkSame(t, recorders, acked)
	all := recorders[0].Deliveries()
	eventually(t, "the log is trimmed", func() bool { // a partition with a reader is skipped until the next time
		b.rotate(t, dbs)
		return b.int(t, "select low from meta") >= int64(all[0].Offset.Position)
	})
	if _, err := adaptertest.Collect(dbs[1].Read(t.Context(), all[0].Offset.Position, all[len(all)-1].Offset.Position)); !errors.Is(err, adapter.ErrTrimmed) {
		t.Errorf("a read from the first event on: %v", err)
	}
	t.Logf("%d rotations, %d reads complete, %d trimmed", rotations, complete, trimmed)
}

// rotate makes nodes rotate the log as if half of the retention was over. They have read
// the log by then, so that they do not fall behind it.
func (b *bench) rotate(t *testing.T, dbs []*DB) {
	t.Helper()
	high := b.int(t, "select coalesce(max(id), 0) from log")
	for _, db := range dbs {
		eventually(t, "the node has read the log", func() bool { return batchID(db.tail.position()) >= high })
	}
	b.exec(t, "update meta set slot_started = slot_started - interval '1 hour'")
	for _, db := range dbs {
		if err := db.sweeper.rotate(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestRotation_KeepsTheRetention(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.exec(t, "select append(1, 1, 1, '\\x01ff00000000', true)")
	rotate := func() int64 {
		b.exec(t, "select empty_slot('10 s')")
		return b.int(t, "select switch_slot('10 s')::int")
	}
	age := func() { b.exec(t, "update meta set slot_started = slot_started - interval '5 s'") }
	if rotate() != 0 {
		t.Fatal("switched before half the retention was over")
	}
	for turn, left := range []int64{1, 1, 0} { // slot 0, used for 5 s; then 1 and 2 before it is used again
		age()
		if rotate() != 1 {
			t.Fatalf("turn %d: not switched", turn)
		}
		if n := b.int(t, "select count(*) from log"); n != left {
			t.Errorf("turn %d: %d rows left, want %d", turn, n, left)
		}
	}
	if low, want := b.int(t, "select low from meta"), b.int(t, "select last_value * 4096 from log_id_seq"); low != want {
		t.Errorf("low position %d, want %d", low, want)
	}
}

func TestAppend_Retry_Once(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	id := func() int64 { return b.int(t, "select batch from append(7, 1, 1, '\\x01ff00000000', true)") }
	first := id()
	for range 2 {
		b.exec(t, "update meta set slot = (slot + 1) % 3")
		if again := id(); again != first {
			t.Errorf("appended again as %d, was %d", again, first)
		}
	}
}

func TestRotation_LongReader(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, recorders := b.nodes(t, 1, &Options{Retention: 100 * time.Millisecond, Lease: time.Second})
	reader := b.connect(t)
	for _, sql := range []string{"begin", "select count(*) from log"} { // holds a lock on every partition
		if _, err := reader.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	checkSame(t, recorders, storm(t, dbs, 2, 200, time.Millisecond))
}
