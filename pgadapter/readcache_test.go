package pgadapter

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/adapter/adaptertest"
)

// TestReadCache_ConcurrentReaders: concurrent readers of a range share one read, even if the
// first one has gone; an error is not cached.
func TestReadCache_ConcurrentReaders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &readCache{maxBytes: 1000, entries: make(map[idRange]*cacheEntry)}
		var reads atomic.Int64
		answer := make(chan error)
		read := func() (logRange, error) {
			reads.Add(1)
			return logRange{batches: []*logBatch{{bytes: 400}}, low: 7}, <-answer
		}
		get := func(ctx context.Context, after int64) error {
			e, err := s.get(ctx, idRange{after, after + readBatches}, read)
			if err == nil && (e.low != 7 || len(e.batches) != 1) {
				t.Errorf("got %+v", e)
			}
			return err
		}
		gone, leave := context.WithCancel(t.Context())
		var readers sync.WaitGroup
		ask := func(n int, want error) {
			for range n {
				readers.Go(func() {
					if err := get(t.Context(), 0); !errors.Is(err, want) {
						t.Errorf("got %v, want %v", err, want)
					}
				})
			}
			synctest.Wait()
		}
		readers.Go(func() {
			if err := get(gone, 0); !errors.Is(err, context.Canceled) {
				t.Errorf("the reader that left got %v", err)
			}
		})
		synctest.Wait()
		leave()
		failed := errors.New("failed")
		ask(100, failed)
		answer <- failed
		readers.Wait()
		ask(100, nil)
		answer <- nil
		readers.Wait()
		ask(1, nil)
		if n := reads.Load(); n != 2 {
			t.Errorf("read %d times, want 2", n)
		}

		for i := range int64(3) { // more than fit
			time.Sleep(time.Second)
			go func() { answer <- nil }()
			if err := get(t.Context(), (i+1)*readBatches); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		if len(s.entries) != 2 || s.bytes > s.maxBytes {
			t.Errorf("%d entries of %d bytes are kept", len(s.entries), s.bytes)
		}
		time.Sleep(cacheTTL)
		s.trim(time.Now())
		if len(s.entries) != 0 || s.bytes != 0 {
			t.Errorf("%d entries of %d bytes are kept after their time", len(s.entries), s.bytes)
		}
	})
}

// TestReadCache_NewNode reads from each position the records after it.
func TestReadCache_NewNode(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	old := b.open(t, &Options{Linger: -1})
	r, _ := adaptertest.Bound(t, old)
	const batches = 2*readBatches + 10
	n := 0
	for i := range batches {
		var last *adapter.Receipt
		for range 1 + i%3 {
			last = adaptertest.Publish(t, old, adaptertest.Event("%d", n))
			n++
		}
		if err := last.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var want []adapter.Offset
	for _, d := range r.Expect(t, n) {
		want = append(want, d.Offset)
	}
	db := b.open(t, nil)
	adaptertest.Bound(t, db)
	end := want[n-1].Position
	for i, from := range append([]adapter.Offset{{}}, want...) {
		var got []adapter.Offset
		for batch, err := range db.Read(t.Context(), from.Position, end) {
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range batch {
				got = append(got, d.Offset)
			}
		}
		if !slices.Equal(got, want[i:]) {
			t.Fatalf("after %d came %d records, want %d", from.Position, len(got), n-i)
		}
	}
	if entries := len(db.tail.cache.entries); entries < 3 {
		t.Errorf("%d ranges were shared", entries)
	}
}
