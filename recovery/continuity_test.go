package recovery

import (
	"errors"
	"testing"

	"github.com/pgsocket/socketio/adapter"
)

const logNumber = 7

func recordAt(p adapter.Position) adapter.Offset {
	return adapter.Offset{Log: logNumber, Position: p, Check: uint32(p) * 31}
}

func TestContinuityCheck(t *testing.T) {
	t.Parallel()
	// A log that keeps (100, 200], and a session that was opened at 120.
	initial, last := recordAt(90).String(), recordAt(150)
	foreign := adapter.Offset{Log: 8, Position: 150, Check: 1}
	lost := adapter.Offset{Log: logNumber, Position: 150, Check: 1}
	for _, row := range []struct {
		name   string
		offset string
		change func(*ContinuityCheck)
		from   adapter.Position
		err    error
	}{
		{"nothing received", "", nil, 120, nil},
		{"nothing of this session received", initial, nil, 120, nil},
		{"a record", recordAt(150).String(), nil, 150, nil},
		{"the last record", recordAt(200).String(), nil, 200, nil},
		{"where the session was opened", recordAt(120).String(), nil, 120, nil},
		{"before the session", recordAt(110).String(), nil, 0, ErrEarly},
		{"ahead", recordAt(201).String(), nil, 0, ErrAhead},
		{"another log", foreign.String(), nil, 0, ErrForeign},
		{"a lost record", lost.String(), nil, 0, ErrForeign},
		{"a lost record, with a checkpoint", lost.String(), func(p *ContinuityCheck) { p.Checkpoints = []Checkpoint{{lost, 140}} }, 0, ErrForeign},
		{"ahead, with a checkpoint", recordAt(201).String(), func(p *ContinuityCheck) { p.Checkpoints = []Checkpoint{{recordAt(201), 140}} }, 0, ErrAhead},
		{"another log, with a checkpoint", foreign.String(), func(p *ContinuityCheck) { p.Checkpoints = []Checkpoint{{foreign, 140}} }, 0, ErrForeign},
		{"text", "hello", nil, 0, ErrMalformed},
		{"long text", string(make([]byte, 1<<16)), nil, 0, ErrMalformed},
		{"trimmed", recordAt(50).String(), func(p *ContinuityCheck) { p.Opened = 10 }, 0, ErrTrimmed},
		{"trimmed, nothing received", "", func(p *ContinuityCheck) { p.Opened = 10 }, 0, ErrTrimmed},
		{"trimmed just now", recordAt(100).String(), func(p *ContinuityCheck) { p.Opened = 10 }, 0, ErrTrimmed},
		{"quiet", recordAt(50).String(), func(p *ContinuityCheck) {
			p.Opened, p.Checkpoints = 10, []Checkpoint{{recordAt(50), 130}}
		}, 130, nil},
		{"quiet, nothing received", "", func(p *ContinuityCheck) { p.Opened, p.Checkpoints = 10, []Checkpoint{{adapter.Offset{}, 130}} }, 130, nil},
		{"quiet, checkpoint before the kept records", recordAt(50).String(), func(p *ContinuityCheck) {
			p.Opened, p.Checkpoints = 10, []Checkpoint{{recordAt(50), 99}}
		}, 0, ErrTrimmed},
		{"older than the checkpoint", recordAt(50).String(), func(p *ContinuityCheck) {
			p.Opened, p.Checkpoints = 10, []Checkpoint{{last, 180}}
		}, 0, ErrTrimmed},
		{"quiet until an event that the client did not receive", recordAt(50).String(), func(p *ContinuityCheck) {
			p.Opened, p.Checkpoints = 10, []Checkpoint{{last, 180}, {recordAt(50), 130}}
		}, 130, nil},
		{"checkpoint before the offset", last.String(), func(p *ContinuityCheck) { p.Opened, p.Checkpoints = 10, []Checkpoint{{last, 140}} }, 150, nil},
		{"rooms incomplete", recordAt(150).String(), func(p *ContinuityCheck) { p.Applied = 99 }, 0, ErrTrimmed},
		{"rooms complete up to the kept records", recordAt(150).String(), func(p *ContinuityCheck) { p.Applied = 100 }, 150, nil},
		{"nothing received of an event that was sent", "", func(p *ContinuityCheck) {
			p.Opened, p.Checkpoints = 10, []Checkpoint{{last, 180}}
		}, 0, ErrTrimmed},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p := ContinuityCheck{ResumeRequest: ResumeRequest{Offset: row.offset}, Opened: 120, Applied: 150, InitialOffset: initial, Log: logNumber, Low: 100, Head: 200}
			if row.change != nil {
				row.change(&p)
			}
			from, _, err := p.Check(recordAt)
			if from != row.from || !errors.Is(err, row.err) {
				t.Errorf("from %d, %v; want %d, %v", from, err, row.from, row.err)
			}
			if err != nil && RefusalReason(err) == nil {
				t.Errorf("RefusalReason(%v) is nil", err)
			}
		})
	}
}

func TestRoomInterval(t *testing.T) {
	t.Parallel()
	s := &Session{ID: "me", Namespace: "/", Opened: 10, Rooms: []RoomInterval{
		{Room: "a", Joined: 20, Ended: true, Left: 30}, {Room: "a", Joined: 40}, {Room: "b", Joined: 50, Ended: true, Left: 50},
	}}
	for _, row := range []struct {
		rooms, except string
		at            adapter.Position
		want          bool
	}{
		{"", "", 10, false},
		{"", "", 11, true},
		{"me", "", 11, true},
		{"", "me", 11, false},
		{"a", "", 20, false},
		{"a", "", 21, true},
		{"a", "", 30, true},
		{"a", "", 31, false},
		{"a", "", 40, false},
		{"a", "", 41, true},
		{"", "a", 35, true},
		{"", "a", 41, false},
		{"b", "", 50, false},
		{"b", "", 51, false},
	} {
		d := &adapter.Delivery{Envelope: &adapter.Envelope{Namespace: "/"}, Offset: adapter.Offset{Position: row.at}}
		if row.rooms != "" {
			d.Audience.Rooms = []string{row.rooms}
		}
		if row.except != "" {
			d.Audience.Except = []string{row.except}
		}
		if got := s.Matches(d); got != row.want {
			t.Errorf("rooms %q except %q at %d: %t, want %t", row.rooms, row.except, row.at, got, row.want)
		}
		d.Kind = adapter.Volatile
		if s.Matches(d) {
			t.Error("a volatile event matches")
		}
	}
	if s.MaxPosition() != 50 {
		t.Errorf("MaxPosition %d, want 50", s.MaxPosition())
	}
}

// A connection that was lost early in its replay reports a checkpoint that covers less than
// the stored one, which stays unchanged.
func TestCheckpoint_CoversLess_StaysUnchanged(t *testing.T) {
	t.Parallel()
	var r record
	for _, covered := range []adapter.Position{100, 200, 150} {
		r.addCheckpoint(Checkpoint{recordAt(50), covered})
	}
	if len(r.checkpoints) != 1 || r.checkpoints[0].Covered != 200 {
		t.Errorf("checkpoints %+v, want one that covers 200", r.checkpoints)
	}
	p := ContinuityCheck{ResumeRequest: ResumeRequest{Offset: recordAt(50).String()}, Opened: 10, Applied: 250, Log: logNumber, Low: 120, Head: 300}
	p.Checkpoints = []Checkpoint{{recordAt(50), 130}, {recordAt(60), 250}, {recordAt(50), 200}}
	if from, _, err := p.Check(recordAt); from != 200 || err != nil {
		t.Errorf("from %d, %v; want 200, the greatest covered position", from, err)
	}
}
