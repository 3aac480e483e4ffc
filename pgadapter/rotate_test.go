package pgadapter

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/adapter/adaptertest"
)

func TestRotationLeavesNoHole(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dbs, recorders := b.nodes(t, 2, &Options{Retention: 400 * time.Millisecond, TailBytes: 1, Lease: time.Second})
	var wg sync.WaitGroup
	var acked []string
	wg.Go(func() { acked = storm(t, dbs, 4, 500, 4*time.Millisecond) })
	trimmed, complete := 0, 0
	for begun := time.Now(); time.Since(begun) < 2*time.Second; {
		all := recorders[0].Deliveries()
		if len(all) < 2 {
			continue
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
	wg.Wait()
	checkSame(t, recorders, acked)
	if n := b.int(t, "select count(*) from log where at < clock_timestamp() - interval '10 seconds'"); n > 0 {
		t.Errorf("%d old batches are still there", n)
	}
	if b.int(t, "select low from meta") == 0 {
		t.Error("the log was never trimmed")
	}
	t.Logf("%d reads complete, %d trimmed", complete, trimmed)
}

func TestRowsAreKeptForTheRetention(t *testing.T) {
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
	for turn, left := range []int64{1, 1, 0} { // in slot 0, used for 5 s, then 1 and 2 before it comes again
		age()
		if rotate() != 1 {
			t.Fatalf("turn %d: not switched", turn)
		}
		if n := b.int(t, "select count(*) from log"); n != left {
			t.Errorf("turn %d: %d rows left, want %d", turn, n, left)
		}
	}
	if low, want := b.int(t, "select low from meta"), b.int(t, "select last_value * 4096 from log_id_seq"); low != want {
		t.Errorf("low mark %d, want %d", low, want)
	}
}

func TestABatchIsAppendedOnce(t *testing.T) {
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

func TestALongReaderStopsNobody(t *testing.T) {
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
