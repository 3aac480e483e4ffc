package adapter

import (
	"context"
	"sync/atomic"
)

// A Receipt is the future result of a write: of an envelope to the log, or of a session
// to a recovery.Store. Its methods may be called from any goroutine.
type Receipt struct {
	outcome   *Outcome
	index     int32
	withdrawn atomic.Bool
}

// Completed returns a Receipt whose result is known: nil, or the error of the write.
func Completed(err error) *Receipt { return completed(Offset{}, err) }

// CompletedAt returns the Receipt of an envelope that is in the log at the given offset.
func CompletedAt(at Offset) *Receipt { return completed(at, nil) }

// Done returns a channel that is closed when the result is known.
func (r *Receipt) Done() <-chan struct{} {
	r.outcome.await()
	return r.outcome.wait()
}

// Wait waits until the result is known or ctx ends. It returns nil if the write took
// effect, durable as the log or the store is, or the error of the write. If ctx ends
// first, it returns the cause of ctx; the write may then still take effect, unless
// Withdraw returns true.
func (r *Receipt) Wait(ctx context.Context) error {
	if r.withdrawn.Load() || r.outcome.known() {
		return r.result()
	}
	r.outcome.await()
	select {
	case <-r.outcome.done:
		return r.result()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *Receipt) result() error {
	if r.withdrawn.Load() {
		return ErrWithdrawn
	}
	return r.outcome.err
}

// Offset returns the offset of an envelope that is in the log. It is zero until Wait has
// returned nil, and for writes to a store.
func (r *Receipt) Offset() Offset {
	if r.withdrawn.Load() || !r.outcome.known() || r.outcome.first == (Offset{}) {
		return Offset{}
	}
	o := r.outcome.first
	o.Position += Position(r.index)
	return o
}

// Withdraw cancels the write if it has not been sent yet, and reports whether it did. It
// returns true once: a withdrawn envelope is never delivered, and Wait returns
// ErrWithdrawn from then on. A write to a store is never withdrawn.
func (r *Receipt) Withdraw() bool {
	if r.outcome.Withdraw == nil || !r.outcome.Withdraw(int(r.index)) {
		return false
	}
	r.withdrawn.Store(true)
	return true
}

// An Outcome is the result of writes that an engine makes together. The engine sets it
// once; each write has a Receipt, on which its caller waits. It helps to implement an
// [Adapter] or a recovery.Store. Its methods may be called from any goroutine. Its fields
// are optional; they are set before the first call of Receipt, and called from any
// goroutine.
type Outcome struct {
	// Withdraw cancels the write with the given index if it has not been sent yet, and
	// reports whether it did; it returns true once for each index. Without it no write is
	// withdrawn.
	Withdraw func(index int) bool

	// OnAwaited is called once, by the first caller that waits for one of the receipts,
	// before it waits. An engine that delays an append, so that more writes share it,
	// ends the delay.
	OnAwaited func()

	awaited atomic.Bool
	done    chan struct{} // nil: the result was known from the beginning
	first   Offset
	err     error
	receipt Receipt // of the first write
}

// NewOutcome returns an Outcome without a result.
func NewOutcome() *Outcome {
	o := &Outcome{done: make(chan struct{})}
	o.receipt.outcome = o
	return o
}

// Receipt returns the Receipt of the write with the given index, which begins at zero. It
// is called once for each.
func (o *Outcome) Receipt(index int) *Receipt {
	if index == 0 {
		return &o.receipt
	}
	return &Receipt{outcome: o, index: int32(index)}
}

// Complete sets the result of all receipts: nil, or the error of the writes. Either it or
// CompleteAt is called, once.
func (o *Outcome) Complete(err error) {
	o.err = err
	close(o.done)
}

// CompleteAt sets the result of the receipts of envelopes that are in the log: first is
// the offset of the one with the index zero. The others follow it at consecutive
// positions, with the same check value.
func (o *Outcome) CompleteAt(first Offset) {
	o.first = first
	close(o.done)
}

func completed(at Offset, err error) *Receipt {
	o := &Outcome{first: at, err: err}
	o.receipt.outcome = o
	return &o.receipt
}

func (o *Outcome) await() {
	if o.OnAwaited != nil && !o.awaited.Swap(true) {
		o.OnAwaited()
	}
}

// wait returns a channel that is closed when the result is known.
func (o *Outcome) wait() <-chan struct{} {
	if o.done != nil {
		return o.done
	}
	closed := make(chan struct{})
	close(closed)
	return closed
}

func (o *Outcome) known() bool {
	if o.done == nil {
		return true
	}
	select {
	case <-o.done:
		return true
	default:
		return false
	}
}
