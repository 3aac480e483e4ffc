package adapter

import (
	"context"
	"sync/atomic"
)

// A Receipt is the outcome of one Publish, known later.
type Receipt struct {
	group *Group
	index int
}

// Done returns a channel that is closed when the outcome is known.
func (r *Receipt) Done() <-chan struct{} {
	r.group.await()
	return r.group.done
}

// Wait returns the envelope's offset once it is in the log, the error that kept
// it out, or the cause of ctx when that ends first. In the last case the
// envelope may still get into the log, unless Withdraw takes it back.
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

// Withdraw takes the envelope back if it has not been sent to the log yet, and
// reports whether it did. What was withdrawn is never delivered.
func (r *Receipt) Withdraw() bool {
	return r.group.withdraw != nil && r.group.withdraw(r.index)
}

// A Group is a number of envelopes that an adapter appends to its log together,
// at consecutive positions, and that therefore share one outcome. It is a tool
// for those who write adapters.
type Group struct {
	withdraw  func(index int) bool
	onAwaited func()
	waited    atomic.Bool
	done      chan struct{}
	first     Offset
	err       error
}

// NewGroup returns a group without an outcome. Withdraw is called with the index
// of an envelope that its publisher wants back; nil refuses always. Wanted, if not
// nil, is called when somebody waits for the outcome, for the first time; see Wanted.
func NewGroup(withdraw func(index int) bool, wanted func()) *Group {
	return &Group{withdraw: withdraw, onAwaited: wanted, done: make(chan struct{})}
}

// Awaited tells whether somebody has waited for the outcome.
func (g *Group) Awaited() bool { return g.waited.Load() }

func (g *Group) await() {
	if !g.waited.Swap(true) && g.onAwaited != nil {
		g.onAwaited()
	}
}

// Receipt returns the receipt of the envelope with the given index.
func (g *Group) Receipt(index int) *Receipt { return &Receipt{group: g, index: index} }

// Complete makes the outcome known, once: the offset of the envelope with index 0,
// or the error that all of them share.
func (g *Group) Complete(first Offset, err error) {
	g.first, g.err = first, err
	close(g.done)
}
