package pgadapter

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/pgsocket/socketio/adapter"
	"github.com/pgsocket/socketio/adapter/adaptertest"
)

// Events that no caller waits for linger, for an hour here; an event that must not linger
// takes them along, in order.
func TestLinger(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	db := b.open(t, &Options{Linger: time.Hour})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n := 0
	publish := func(kind adapter.Kind) *adapter.Receipt {
		t.Helper()
		n++
		r, err := db.Publish(ctx, &adapter.Envelope{Kind: kind, Namespace: "/", Payload: fmt.Appendf(nil, "%d", n)})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	wait := func(r *adapter.Receipt) {
		t.Helper()
		if err := r.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		wantLogged(t, b, numbers(n)...)
	}
	lingers := func() {
		t.Helper()
		before := n
		publish(adapter.Event)
		publish(adapter.Volatile)
		wantLogged(t, b, numbers(before)...)
	}

	first := publish(adapter.Event)
	untilSent(ctx, t, db) // nothing lingers after a pause
	wait(first)

	lingers()
	wait(publish(adapter.Event))
	lingers()
	publish(adapter.Request)
	if err := db.WaitDelivered(ctx); err != nil {
		t.Fatal(err)
	}
	wantLogged(t, b, numbers(n)...)
	lingers()
	for range lingerBatchSize - 1 {
		publish(adapter.Event)
	}
	untilSent(ctx, t, db)
	wantLogged(t, b, numbers(n)...)
	lingers()
	if err := db.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	wantLogged(t, b, numbers(n)...)
	if batches := b.int(t, "select count(*) from log"); batches != 5 {
		t.Errorf("%d appends, want 5", batches)
	}
}

func numbers(n int) (all []string) {
	for i := range n {
		all = append(all, strconv.Itoa(i+1))
	}
	return all
}

// untilSent waits until the queue is empty.
func untilSent(ctx context.Context, t *testing.T, db *DB) {
	t.Helper()
	for db.Stats().QueueEvents > 0 {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			t.Fatal(context.Cause(ctx))
		}
	}
}

// The first event of the batch is withdrawn; the publisher does not send yet.
func TestFlushBarrier_WithdrawnEvent_WaitsForTheOthers(t *testing.T) {
	t.Parallel()
	o := (&Options{}).withDefaults()
	p := newPublisher(&o, nil, nil, nil, noopReader{})
	var receipts []*adapter.Receipt
	for range 2 {
		r, err := p.publish(t.Context(), adaptertest.Event("x"))
		if err != nil {
			t.Fatal(err)
		}
		receipts = append(receipts, r)
	}
	if !receipts[0].Withdraw() {
		t.Fatal("not withdrawn")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 {
		if err := p.flushBarrier(ended); err == nil {
			t.Fatal("returned before the second event has a result")
		}
	}
	p.complete(p.queue[0], adapter.Offset{Position: 1, Log: 1}, nil)
	if err := p.flushBarrier(t.Context()); err != nil {
		t.Error(err)
	}
	if err := receipts[1].Wait(t.Context()); err != nil {
		t.Error(err)
	}
}
