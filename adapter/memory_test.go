package adapter_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio/adapter"
)

// A receiver calls a function for each delivery.
type receiver struct{ deliver func(adapter.Delivery) }

func (*receiver) ID() string                   { return "receiver" }
func (*receiver) LogTruncated(adapter.Offset)  {}
func (*receiver) LogGap(adapter.Offset, error) {}
func (r *receiver) Deliver(batch []adapter.Delivery) {
	for _, d := range batch {
		r.deliver(d)
	}
}

// TestMemory_PublishDuringDelivery checks that Deliver may publish, and that deliveries
// stay in log order.
func TestMemory_PublishDuringDelivery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := adapter.NewMemory(nil)
		var positions []adapter.Position
		r := &receiver{func(d adapter.Delivery) {
			positions = append(positions, d.Offset.Position)
			if d.Kind == adapter.Event {
				_, _ = m.Publish(t.Context(), &adapter.Envelope{Kind: adapter.Volatile})
			}
		}}
		if _, err := m.Bind(r); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 100 {
					_, _ = m.Publish(t.Context(), &adapter.Envelope{Kind: adapter.Event})
				}
			})
		}
		wg.Wait()
		if err := m.WaitDelivered(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for i, p := range positions {
			if p != adapter.Position(i+1) {
				t.Fatalf("delivery %d has position %d", i, p)
			}
		}
		if len(positions) != 1600 {
			t.Errorf("%d deliveries", len(positions))
		}
	})
}

// TestMemory_DeliveryBlocks checks that the queue is bounded and then fails with
// ErrQueueFull, and that WaitDelivered ends with its context.
func TestMemory_DeliveryBlocks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := adapter.NewMemory(nil)
		released := make(chan struct{})
		delivered := 0
		if _, err := m.Bind(&receiver{func(adapter.Delivery) { <-released; delivered++ }}); err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = m.Publish(t.Context(), &adapter.Envelope{}) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		taken := 0
		for {
			if _, err := m.Publish(ctx, &adapter.Envelope{}); err != nil {
				if !errors.Is(err, adapter.ErrQueueFull) {
					t.Error(err)
				}
				break
			}
			taken++
		}
		if err := m.WaitDelivered(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("WaitDelivered: %v", err)
		}
		close(released)
		if err := m.WaitDelivered(t.Context()); err != nil {
			t.Fatal(err)
		}
		if taken != 4096 || delivered != taken+1 {
			t.Errorf("%d envelopes queued, %d delivered; want 4096 queued and one more delivered", taken, delivered)
		}
	})
}
