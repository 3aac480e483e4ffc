package adapter

import (
	"context"
	"sync/atomic"
)

// A Receipt is the future result of one Publish. Its methods may be called from any
// goroutine.
type Receipt struct {
	group *Group
	index int
}

// Done returns a channel that is closed when the result is known.
func (r *Receipt) Done() <-chan struct{} {
	r.group.await()
	return r.group.done
}

// Wait waits until the result is known or ctx ends. It returns the envelope's offset
// if it is in the log, or the error of the write. If ctx ends first, it returns the
// cause of ctx; the envelope may then still be written, unless Withdraw returns true.
func (r *Receipt) Wait(ctx context.Context) (Offset, error) {
	select {
	case <-r.group.done:
	default:
		r.group.await()
		select {
		case <-r.group.done:
		case <-ctx.Done():
			return Offset{}, context.Cause(ctx)
		}
	}
	if r.group.err != nil {
		return Offset{}, r.group.err
	}
	o := r.group.first
	o.Position += Position(r.index)
	return o, nil
}

// Withdraw cancels the envelope if it has not been sent to the log yet, and reports
// whether it did. A withdrawn envelope is never delivered.
func (r *Receipt) Withdraw() bool {
	return r.group.withdraw != nil && r.group.withdraw(r.index)
}

// A Group is the future result of envelopes that an adapter appends to its log
// together, at consecutive positions. It helps to implement an Adapter.
type Group struct {
	withdraw  func(index int) bool
	onAwaited func()
	waited    atomic.Bool
	done      chan struct{}
	first     Offset
	err       error
}

// NewGroup returns a group without a result. Receipt.Withdraw calls withdraw with the
// index of the envelope, and returns its result; if withdraw is nil, it returns false.
// The first call that waits for the result calls onAwaited, if not nil; see Awaited.
func NewGroup(withdraw func(index int) bool, onAwaited func()) *Group {
	return &Group{withdraw: withdraw, onAwaited: onAwaited, done: make(chan struct{})}
}

// Awaited reports whether any caller has waited for the result.
func (g *Group) Awaited() bool { return g.waited.Load() }

func (g *Group) await() {
	if !g.waited.Swap(true) && g.onAwaited != nil {
		g.onAwaited()
	}
}

// Receipt returns the receipt of the envelope with the given index.
func (g *Group) Receipt(index int) *Receipt { return &Receipt{group: g, index: index} }

// Complete sets the result: the offset of the envelope with index 0, or the error of
// all envelopes. It is called once.
func (g *Group) Complete(first Offset, err error) {
	g.first, g.err = first, err
	close(g.done)
}
