package adapter

import (
	"context"
	"sync"
	"sync/atomic"
)

// A Receipt is the future result of a write: of an envelope to the log, or of a session
// to a recovery.Store. Its methods may be called from any goroutine.
type Receipt struct {
	outcome *Outcome
	index   int32

	withdrawn atomic.Bool // changes once, while deciding and outcome.mu are locked

	// Locked while Outcome.Withdraw decides whether the write takes effect: the result is
	// that of the outcome only if the write is not withdrawn.
	deciding sync.Mutex

	own chan struct{} // closed when the result is known; made by wait, guarded by outcome.mu
}

// Completed returns a Receipt whose result is known: nil, or the error of the write.
func Completed(err error) *Receipt { return completed(Offset{}, err) }

// CompletedAt returns the Receipt of an envelope that is in the log at the given offset.
func CompletedAt(at Offset) *Receipt { return completed(at, nil) }

// Done returns a channel that is closed when the result is known, also because Withdraw has
// returned true.
func (r *Receipt) Done() <-chan struct{} {
	r.outcome.await()
	return r.wait()
}

// Wait waits until the result is known or ctx ends. It returns nil if the write took
// effect, durable as the log or the store is, or the error of the write: ErrWithdrawn if
// Withdraw returns true, also to a caller that waits already. If ctx ends
// first, it returns the cause of ctx; the write may then still take effect, unless
// Withdraw returns true.
func (r *Receipt) Wait(ctx context.Context) error {
	if r.known() {
		return r.result()
	}
	r.outcome.await()
	select {
	case <-r.wait():
		return r.result()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *Receipt) known() bool { return r.withdrawn.Load() || r.outcome.known() }

// isWithdrawn reports whether the write is withdrawn, after the end of a call of Withdraw that
// is under way.
func (r *Receipt) isWithdrawn() bool {
	if r.outcome.Withdraw == nil {
		return false
	}
	r.deciding.Lock()
	defer r.deciding.Unlock()
	return r.withdrawn.Load()
}

func (r *Receipt) result() error {
	if r.isWithdrawn() {
		return ErrWithdrawn
	}
	return r.outcome.err
}

// Offset returns the offset of an envelope that is in the log. It is zero until Wait has
// returned nil, and for writes to a store.
func (r *Receipt) Offset() Offset {
	if !r.outcome.known() || r.outcome.first == (Offset{}) || r.isWithdrawn() {
		return Offset{}
	}
	o := r.outcome.first
	o.Position += Position(r.index)
	return o
}

// Withdraw cancels the write if it has not been sent yet, and reports whether it did. It
// returns true once: a withdrawn envelope is never delivered, Wait returns ErrWithdrawn from
// then on, and the channel of Done is closed. A write to a store is never withdrawn.
func (r *Receipt) Withdraw() bool {
	if r.outcome.Withdraw == nil {
		return false
	}
	r.deciding.Lock()
	defer r.deciding.Unlock()
	if !r.outcome.Withdraw(int(r.index)) {
		return false
	}
	r.outcome.mu.Lock()
	defer r.outcome.mu.Unlock()
	r.withdrawn.Store(true)
	r.wakeLocked()
	return true
}

// wait returns a channel that is closed when the result is known. Receipts that cannot be
// withdrawn share that of their outcome.
func (r *Receipt) wait() <-chan struct{} {
	o := r.outcome
	if o.Withdraw == nil && o.done != nil {
		return o.done
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if r.own == nil {
		r.own = make(chan struct{})
		if r.known() {
			close(r.own)
		} else {
			o.waiting = append(o.waiting, r)
		}
	}
	return r.own
}

// wakeLocked closes the channel of wait, if there is one that is open.
func (r *Receipt) wakeLocked() {
	if r.own == nil {
		return
	}
	select {
	case <-r.own:
	default:
		close(r.own)
	}
}

// An Outcome is the result of writes that an engine makes together. The engine sets it
// once; each write has a Receipt, on which its caller waits. It helps to implement an
// [Adapter] or a recovery.Store. Its methods may be called from any goroutine. Its fields
// are optional; they are set before the first call of Receipt, and called from any
// goroutine.
type Outcome struct {
	// Withdraw cancels the write with the given index if it has not been sent yet, and
	// reports whether it did; it returns true once for each index. Wait and Offset of this
	// receipt do not return before it returns, so it must not call them. Without it no write
	// is withdrawn.
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

	mu      sync.Mutex // no other lock is acquired while it is held
	waiting []*Receipt // those with a channel of their own that is open, or was closed by Withdraw
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
	o.finish()
}

// CompleteAt sets the result of the receipts of envelopes that are in the log: first is
// the offset of the one with the index zero. The others follow it at consecutive
// positions, with the same check value.
func (o *Outcome) CompleteAt(first Offset) {
	o.first = first
	o.finish()
}

func (o *Outcome) finish() {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.done)
	for _, r := range o.waiting {
		r.wakeLocked()
	}
	o.waiting = nil
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
