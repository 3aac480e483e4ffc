package recovery

import "github.com/pgsocket/socketio/adapter"

// A Proof is the question whether a returning client can be given everything it
// missed: the claim, what is known of the session, and the extent of the log.
// It states the rule of the package comment once, for every Store.
type Proof struct {
	Claim

	Opened adapter.Position
	Held   string
	Log    uint32           // the log's number
	Low    adapter.Position // the newest position that is no longer kept
	Head   adapter.Position // the newest position of all

	// Known says that after Last, which is the last offset sent to the client
	// (zero for none), nothing was addressed to the session up to Covered.
	Known   bool
	Last    adapter.Offset
	Covered adapter.Position
}

// Check returns the position after which the replay starts and the offset that
// the client holds, or the reason why continuity cannot be proven. At returns
// the offset of the record that the log has at a position after Low; the zero
// Offset if it has none.
func (p *Proof) Check(at func(adapter.Position) adapter.Offset) (adapter.Position, adapter.Offset, error) {
	if p.Offset == "" || p.Offset == p.Held {
		from, err := p.reach(p.Opened, adapter.Offset{})
		return from, adapter.Offset{}, err
	}
	o, err := adapter.ParseOffset(p.Offset)
	if err != nil {
		return 0, o, ErrMalformed
	}
	if p.Known && o == p.Last && p.Covered >= p.Low {
		return p.Covered, o, nil
	}
	switch {
	case o.Log != p.Log:
		return 0, o, ErrForeign
	case o.Position > p.Head:
		return 0, o, ErrAhead
	case o.Position > p.Low && at(o.Position) != o:
		return 0, o, ErrForeign
	case o.Position < p.Opened:
		return 0, o, ErrEarly
	case o.Position == p.Low && p.Low > 0:
		return 0, o, ErrTrimmed // nothing after it is missing, but whether it is ours cannot be told any more
	}
	from, err := p.reach(o.Position, o)
	return from, o, err
}

// reach returns the start of the replay for a client that holds the offset last
// and was served up to from.
func (p *Proof) reach(from adapter.Position, last adapter.Offset) (adapter.Position, error) {
	if from >= p.Low {
		return from, nil
	}
	if p.Known && last == p.Last && p.Covered >= p.Low {
		return p.Covered, nil
	}
	return 0, ErrTrimmed
}
