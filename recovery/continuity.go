package recovery

import "github.com/pgsocket/socketio/adapter"

// A ContinuityCheck decides whether every event that a client missed can be replayed. It
// has the resume request, the stored state of the session, and the extent of the log.
// It implements the rule of the package comment for every Store.
type ContinuityCheck struct {
	ResumeRequest

	Opened        adapter.Position
	Applied       adapter.Position // the session's rooms are complete up to here
	InitialOffset string
	BoundIdentity string           // the identity that the session is bound to
	Log           uint32           // the log's number
	Low           adapter.Position // the newest position that is no longer kept
	Head          adapter.Position // the newest position of all

	// Checkpoints are those stored for the session. Three suffice: the newest that a
	// node recorded; the one before it, for a client that did not receive the events
	// between the two; and the result of the last successful check, the offset and the
	// position that Check returned. The last one is kept until another check succeeds:
	// a client that repeatedly loses its connection before it processes an event
	// presents the same offset again, regardless of what was sent to it meanwhile.
	Checkpoints []Checkpoint
}

// A Checkpoint records that no event was addressed to the session after the offset Last,
// zero for none, up to the position Covered.
type Checkpoint struct {
	Last    adapter.Offset
	Covered adapter.Position
}

// Check returns the position after which the replay starts and the offset that the
// client presented, or the reason why continuity cannot be proven. At returns the offset
// of the record at a position after Low, or the zero Offset if the log has none there.
func (p *ContinuityCheck) Check(at func(adapter.Position) adapter.Offset) (adapter.Position, adapter.Offset, error) {
	if !p.Fits(p.BoundIdentity) {
		return 0, adapter.Offset{}, ErrIdentity
	}
	from, last, err := p.check(at)
	if err == nil && p.Applied < p.Low {
		return 0, last, ErrTrimmed // operations that the session's rooms lack may be trimmed, too
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
	// These checks precede the checkpoints, which may refer to lost records whose positions
	// now belong to other records.
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
		return 0, o, ErrTrimmed // no later record is missing, but its check value can no longer be verified
	}
	from, err := p.reach(o.Position, o)
	return from, o, err
}

// reach returns the start of the replay for a client that presented the offset last
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

// covered returns the greatest position that a checkpoint covers for a client that
// presented the offset last, if the log keeps every record after it.
func (p *ContinuityCheck) covered(last adapter.Offset) (adapter.Position, bool) {
	best, ok := last.Position, false // a client with an offset has every record before it
	for _, c := range p.Checkpoints {
		if c.Last == last && c.Covered >= p.Low {
			best, ok = max(best, c.Covered), true
		}
	}
	return best, ok
}
