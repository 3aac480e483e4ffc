package recovery

import "github.com/pgsocket/socketio/adapter"

// A ContinuityCheck is the question whether a returning client can be given everything it
// missed: the claim, what is known of the session, and the extent of the log.
// It states the rule of the package comment once, for every Store.
type ContinuityCheck struct {
	ResumeRequest

	Opened        adapter.Position
	Applied       adapter.Position // up to here the session's rooms are complete
	InitialOffset string
	BoundIdentity string           // the identity that the session is bound to
	Log           uint32           // the log's number
	Low           adapter.Position // the newest position that is no longer kept
	Head          adapter.Position // the newest position of all

	// Checkpoints are what is known of the session. Three are enough: the newest that a
	// node recorded; the one before it, for a client that did not get what came
	// between; and what the last claim has proven, the offset that Check returned
	// with the position. That holds until a later claim proves something else: a
	// client that is cut off again and again, before it has processed anything, comes
	// back with the same offset, whatever was sent to it meanwhile.
	Checkpoints []Checkpoint
}

// A Checkpoint is that nothing was addressed to the session after the offset Last, zero
// for none, up to the position Covered.
type Checkpoint struct {
	Last    adapter.Offset
	Covered adapter.Position
}

// Check returns the position after which the replay starts and the offset that
// the client holds, or the reason why continuity cannot be proven. At returns
// the offset of the record that the log has at a position after Low; the zero
// Offset if it has none.
func (p *ContinuityCheck) Check(at func(adapter.Position) adapter.Offset) (adapter.Position, adapter.Offset, error) {
	if !p.Fits(p.BoundIdentity) {
		return 0, adapter.Offset{}, ErrIdentity
	}
	from, last, err := p.check(at)
	if err == nil && p.Applied < p.Low {
		return 0, last, ErrTrimmed // and so may be operations that the session's rooms lack
	}
	return from, last, err
}

func (p *ContinuityCheck) check(at func(adapter.Position) adapter.Offset) (adapter.Position, adapter.Offset, error) {
	if p.Offset == "" || p.Offset == p.InitialOffset {
		if p.Opened > p.Head {
			return 0, adapter.Offset{}, ErrAhead
		}
		from, err := p.reach(p.Opened, adapter.Offset{})
		return from, adapter.Offset{}, err
	}
	o, err := adapter.ParseOffset(p.Offset)
	if err != nil {
		return 0, o, ErrMalformed
	}
	// All this before the facts: they may speak of what the session was not addressed by, or of an end of the log that
	// was lost, whose positions now belong to other records.
	switch {
	case o.Log != p.Log:
		return 0, o, ErrForeign
	case o.Position < p.Opened:
		return 0, o, ErrEarly
	case o.Position > p.Head:
		return 0, o, ErrAhead
	case o.Position > p.Low && at(o.Position) != o:
		return 0, o, ErrForeign
	}
	if covered, ok := p.covered(o); ok {
		return covered, o, nil
	}
	if o.Position == p.Low && p.Low > 0 {
		return 0, o, ErrTrimmed // nothing after it is missing, but whether it is ours cannot be told any more
	}
	from, err := p.reach(o.Position, o)
	return from, o, err
}

// reach returns the start of the replay for a client that holds the offset last
// and was served up to from.
func (p *ContinuityCheck) reach(from adapter.Position, last adapter.Offset) (adapter.Position, error) {
	if from >= p.Low {
		return from, nil
	}
	if covered, ok := p.covered(last); ok {
		return covered, nil
	}
	return 0, ErrTrimmed
}

// covered returns how far a recorded fact reaches for a client that holds the
// offset last, if the log goes on from there.
func (p *ContinuityCheck) covered(last adapter.Offset) (adapter.Position, bool) {
	best, ok := last.Position, false // who holds an offset has all that came before it
	for _, f := range p.Checkpoints {
		if f.Last == last && f.Covered >= p.Low {
			best, ok = max(best, f.Covered), true
		}
	}
	return best, ok
}
