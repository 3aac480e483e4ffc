package adaptertest

import (
	"context"
	"crypto/rand"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgsocket/socketio/adapter"
)

// A Recorder is a Local that records its deliveries. Its methods may be called from any
// goroutine.
type Recorder struct {
	busy atomic.Int32

	mu     sync.Mutex
	id     string
	got    []adapter.Delivery
	resets []error
	faults []string
	moved  chan struct{}
}

// ID implements adapter.Local.
func (r *Recorder) ID() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.id == "" {
		r.id = rand.Text()
	}
	return r.id
}

// Deliver implements adapter.Local. It records what a socket receives that is connected all the time: no redelivery.
func (r *Recorder) Deliver(ds []adapter.Delivery) {
	alone := r.busy.Add(1) == 1
	defer r.busy.Add(-1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !alone {
		r.faults = append(r.faults, "concurrent calls of Deliver")
	}
	if len(ds) == 0 {
		r.faults = append(r.faults, "Deliver called without deliveries")
	}
	for _, d := range ds {
		if d.Redelivery == 0 {
			r.got = append(r.got, d)
		}
	}
	r.signalLocked()
}

// LogTruncated implements adapter.Local. Deliveries that the log has lost stay in
// Deliveries.
func (r *Recorder) LogTruncated(adapter.Offset) {}

// LogGap implements adapter.Local.
func (r *Recorder) LogGap(_ adapter.Offset, cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resets = append(r.resets, cause)
	r.signalLocked()
}

func (r *Recorder) signalLocked() {
	if r.moved != nil {
		close(r.moved)
		r.moved = nil
	}
}

// Deliveries returns the deliveries so far.
func (r *Recorder) Deliveries() []adapter.Delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// Resets returns the causes of the calls of LogGap so far.
func (r *Recorder) Resets() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.resets)
}

// Await waits until the function returns true for the deliveries and the causes of
// LogGap, or returns the cause of ctx when that ends first.
func (r *Recorder) Await(ctx context.Context, is func(got []adapter.Delivery, resets []error) bool) error {
	for {
		r.mu.Lock()
		if is(r.got, r.resets) {
			r.mu.Unlock()
			return nil
		}
		if r.moved == nil {
			r.moved = make(chan struct{})
		}
		moved, n := r.moved, len(r.got)
		r.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("%w, with %d deliveries", context.Cause(ctx), n)
		}
	}
}

// Expect waits for n deliveries and returns all so far. It fails the test if they do not
// arrive within a minute, or are out of order.
func (r *Recorder) Expect(t *testing.T, n int) []adapter.Delivery {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := r.Await(ctx, func(got []adapter.Delivery, _ []error) bool { return len(got) >= n })
	if err != nil {
		t.Fatalf("wait for %d deliveries: %v", n, err)
	}
	got := r.Deliveries()
	for i := 1; i < len(got); i++ {
		if got[i].Offset.Position <= got[i-1].Offset.Position {
			t.Fatalf("delivery %d at position %d comes after position %d", i, got[i].Offset.Position, got[i-1].Offset.Position)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, fault := range r.faults {
		t.Error(fault)
	}
	return got
}

// Bound binds a new Recorder to the node and returns it with the offset of Bind. It fails
// the test on an error.
func Bound(t *testing.T, a adapter.Adapter) (*Recorder, adapter.Offset) {
	t.Helper()
	r := &Recorder{}
	at, err := a.Bind(r)
	if err != nil {
		t.Fatalf("Bind: %v", err)
	}
	return r, at
}

// Event returns an event for every socket of the namespace "/", whose payload is the
// formatted text.
func Event(format string, args ...any) *adapter.Envelope {
	return &adapter.Envelope{Namespace: "/", Payload: fmt.Appendf(nil, format, args...)}
}

// Publish publishes e and returns its receipt. It fails the test on an error.
func Publish(t *testing.T, a interface {
	Publish(ctx context.Context, e *adapter.Envelope) (*adapter.Receipt, error)
}, e *adapter.Envelope,
) *adapter.Receipt {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := a.Publish(ctx, e)
	if err != nil {
		t.Fatalf("Publish: %v", err)
	}
	return r
}

// Append publishes e, waits until it is in the log, and returns its offset. It fails the
// test on an error.
func Append(t *testing.T, a interface {
	Publish(ctx context.Context, e *adapter.Envelope) (*adapter.Receipt, error)
}, e *adapter.Envelope,
) adapter.Offset {
	t.Helper()
	r := Publish(t, a, e)
	if err := r.Wait(within(t)); err != nil {
		t.Fatalf("Wait: %v", err)
	}
	return r.Offset()
}

// Payloads returns the payloads of deliveries as text.
func Payloads(ds []adapter.Delivery) []string {
	texts := make([]string, len(ds))
	for i, d := range ds {
		texts[i] = string(d.Payload)
	}
	return texts
}

// Collect returns all deliveries that a Read yields, up to its first error.
func Collect(seq iter.Seq2[[]adapter.Delivery, error]) ([]adapter.Delivery, error) {
	var all []adapter.Delivery
	for ds, err := range seq {
		if err != nil {
			return all, err
		}
		all = append(all, ds...)
	}
	return all, nil
}

// completesWithin reports whether the receipt completes within the time.
func completesWithin(r *adapter.Receipt, d time.Duration) bool {
	select {
	case <-r.Done():
		return true
	case <-time.After(d):
		return false
	}
}
