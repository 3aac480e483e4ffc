package checker

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Further kinds of violation, which only a Recorder can find.
const (
	NotLogged    ViolationKind = "not logged"    // an acknowledged event is not in the log
	NotRecovered ViolationKind = "not recovered" // a session was not recovered without a reason
)

// Check returns the first violation, or nil. The clients must have received everything that is on its way.
//
// The log has every acknowledged event once, every other emit at most once, and nothing else. It keeps the order of
// each publisher, and no event is before one that was acknowledged before it was emitted.
//
// A session received its events in the order of the log, without duplicates, without gaps, and without events for
// rooms that it was not in. A session ends when its client is not recovered.
func (b *Recorder) Check() *ViolationError {
	b.mu.Lock()
	defer b.mu.Unlock()
	j := newLogChecker(b.records)
	if v := j.checkLog(); v != nil {
		return v
	}
	for _, c := range j.clients {
		for i := range c.sessions {
			if v := j.checkSession(c, &c.sessions[i]); v != nil {
				return v
			}
		}
	}
	return nil
}

type logChecker struct {
	begin       int64
	emits       map[ID]*Record
	entries     []*Record // of the log, in its order
	positions   map[ID]int64
	startBounds []startBound // by start
	clients     []*clientLog
}

// A startBound states that everything from a position on was appended later than a moment.
type startBound struct{ start, position int64 }

// A clientLog is the records of one client.
type clientLog struct {
	number   int
	records  []*Record
	sessions []session
}

// A session is a range of a client's records. The first one is Connected.
type session struct {
	from, to int
	last     bool // the last one of its client, which lasts to the end of the log
}

func newLogChecker(records []Record) *logChecker {
	j := &logChecker{emits: make(map[ID]*Record), positions: make(map[ID]int64)}
	clients := make(map[int]*clientLog)
	for i := range records {
		r := &records[i]
		if j.begin == 0 {
			j.begin = r.At
		}
		switch r.Kind {
		case Published:
			j.emits[r.Event] = r
		case Logged:
			j.entries = append(j.entries, r)
		default:
			c, ok := clients[r.Client]
			if !ok {
				c = &clientLog{number: r.Client}
				clients[r.Client] = c
				j.clients = append(j.clients, c)
			}
			c.add(r)
		}
	}
	slices.SortStableFunc(j.entries, func(a, b *Record) int { return cmp.Compare(a.Position, b.Position) })
	for _, e := range j.entries {
		if _, again := j.positions[e.Event]; e.Op == "" && !again {
			j.positions[e.Event] = e.Position
			if emit := j.emits[e.Event]; emit != nil {
				j.startBounds = append(j.startBounds, startBound{emit.Start, e.Position})
			}
		}
	}
	slices.SortFunc(j.startBounds, func(a, b startBound) int { return cmp.Compare(a.start, b.start) })
	for i := len(j.startBounds) - 2; i >= 0; i-- {
		j.startBounds[i].position = min(j.startBounds[i].position, j.startBounds[i+1].position)
	}
	return j
}

func (c *clientLog) add(r *Record) {
	if r.Kind == Connected && (!r.Recovered || len(c.sessions) == 0) {
		if n := len(c.sessions); n > 0 {
			c.sessions[n-1].last = false
		}
		c.sessions = append(c.sessions, session{from: len(c.records), last: true})
	}
	c.records = append(c.records, r)
	if n := len(c.sessions); n > 0 {
		c.sessions[n-1].to = len(c.records)
	}
}

// positionAfter returns a position such that it and all after it were appended later than a moment.
func (j *logChecker) positionAfter(moment int64) int64 {
	i, _ := slices.BinarySearchFunc(j.startBounds, moment+1, func(s startBound, at int64) int { return cmp.Compare(s.start, at) })
	if i == len(j.startBounds) {
		return math.MaxInt64
	}
	return j.startBounds[i].position
}

// checkLog checks the log against the emits.
func (j *logChecker) checkLog() *ViolationError {
	seen := make(map[ID]int64)
	for _, entry := range j.entries {
		if entry.Op != "" {
			continue
		}
		e, ok := j.emits[entry.Event]
		if !ok {
			return &ViolationError{NeverEmitted, fmt.Sprintf("the log has at %d event %v, which was never emitted", entry.Position, entry.Event)}
		}
		if at, again := seen[e.Event]; again {
			return &ViolationError{Duplicated, fmt.Sprintf("the log has twice, at %d and %d: %s", at, entry.Position, j.describe(e))}
		}
		seen[e.Event] = entry.Position
	}
	for id, e := range j.emits {
		if _, ok := seen[id]; !ok && e.End != 0 && e.Err == "" {
			return &ViolationError{NotLogged, "the log lacks " + j.describe(e)}
		}
	}
	return j.checkLogOrder()
}

// checkLogOrder looks for events that are out of order in the log.
func (j *logChecker) checkLogOrder() *ViolationError {
	last := make(map[int]*Record) // by publisher
	var latest *Record            // the latest emit so far
	for _, entry := range j.entries {
		if entry.Op != "" {
			continue
		}
		e := j.emits[entry.Event]
		before := last[e.Event.Publisher()]
		switch {
		case before != nil && before.Event.Seq() > e.Event.Seq():
			return j.reordered(before, e, "both are of one publisher")
		case latest != nil && e.End != 0 && e.Err == "" && e.End < latest.Start:
			return j.reordered(latest, e, "the second was acknowledged before the first was emitted")
		}
		last[e.Event.Publisher()] = e
		if latest == nil || e.Start > latest.Start {
			latest = e
		}
	}
	return nil
}

func (j *logChecker) reordered(first, second *Record, why string) *ViolationError {
	return &ViolationError{Reordered, fmt.Sprintf("the log has\n  %s\nbefore\n  %s\nbut %s", j.describe(first), j.describe(second), why)}
}

// A transition is a change of the certainty that a session is in a room, from a position on.
type transition struct {
	from          int64
	room          string
	to            certainty
	unlessCertain bool // has no effect if the session is certain to be in the state unlessAlready
	unlessAlready certainty
}

// checkSession checks what one session received.
func (j *logChecker) checkSession(c *clientLog, s *session) *ViolationError {
	got := make(map[int64]int) // by position: the record
	last := int64(-1)
	for i := s.from; i < s.to; i++ {
		r := c.records[i]
		if r.Kind != Received {
			continue
		}
		at, ok := j.positions[r.Event]
		if !ok {
			return j.violation(NeverEmitted, c, i, "received event %v, which is not in the log", r.Event)
		}
		if first, again := got[at]; again {
			v := j.violation(Duplicated, c, i, "received twice: %s", j.describe(j.emits[r.Event]))
			v.Text += "first:\n" + j.around(c, first)
			return v
		}
		got[at] = i
		if at < last {
			return j.violation(Reordered, c, i, "received %s\nafter an event that is behind it in the log", j.describe(j.emits[r.Event]))
		}
		last = at
	}
	if s.last {
		last = math.MaxInt64
	}
	return j.checkDeliveries(c, j.steps(c, s), got, last)
}

// A timeline is how the rooms of a session changed, as far as its client knows.
type timeline struct {
	j       *logChecker
	steps   []transition
	pending []transition // hold from the next receipt on, at the latest
	at      int64        // position of the last receipt
}

func (j *logChecker) steps(c *clientLog, s *session) []transition {
	o := &timeline{j: j, at: -1}
	for i := s.from; i < s.to; i++ {
		switch r := c.records[i]; {
		case i == s.from:
			o.begin(r)
		case r.Kind == Received:
			o.at = j.positions[r.Event]
			o.apply(o.at)
		case r.Kind == Requested:
			o.requested(r)
		case r.Kind == Confirmed:
			o.confirmed(r)
		}
	}
	o.apply(math.MaxInt64)
	slices.SortStableFunc(o.steps, func(a, b transition) int { return cmp.Compare(a.from, b.from) })
	return o.steps
}

func (o *timeline) begin(r *Record) {
	for _, room := range []string{Everybody, r.Socket} {
		o.steps = append(o.steps, transition{from: -1, room: room, to: maybe})
		o.pending = append(o.pending, transition{from: o.j.positionAfter(r.At), room: room, to: yes})
	}
}

func (o *timeline) requested(r *Record) {
	for _, room := range r.Rooms {
		// There may have been no receipt since the last confirmed change.
		o.pending = slices.DeleteFunc(o.pending, func(before transition) bool { return before.room == room })
		o.steps = append(o.steps, transition{from: o.at + 1, room: room, to: maybe, unlessCertain: true, unlessAlready: membershipAfter(r.Op)})
	}
}

func (o *timeline) confirmed(r *Record) {
	for _, room := range r.Rooms {
		o.pending = append(o.pending, transition{from: o.j.positionAfter(r.At), room: room, to: membershipAfter(r.Op)})
	}
}

func (o *timeline) apply(before int64) {
	for _, s := range o.pending {
		s.from = min(s.from, before)
		o.steps = append(o.steps, s)
	}
	o.pending = o.pending[:0]
}

func membershipAfter(do RoomOp) certainty {
	if do == Join {
		return yes
	}
	return no
}

// checkDeliveries walks the log up to a position, with what is known of the session's rooms.
func (j *logChecker) checkDeliveries(c *clientLog, steps []transition, got map[int64]int, last int64) *ViolationError {
	in := make(map[string]certainty)
	for _, e := range j.entries {
		for len(steps) > 0 && steps[0].from <= e.Position {
			if s := steps[0]; !s.unlessCertain || in[s.room] != s.unlessAlready {
				in[s.room] = s.to
			}
			steps = steps[1:]
		}
		concerned := audienceCertainty(in, e.To)
		if e.Op != "" {
			applyOperation(in, e, concerned)
			continue
		}
		i, received := got[e.Position]
		switch {
		case received && concerned == no:
			return j.violation(Misdelivered, c, i, "received %s\nat position %d, but was not in the room", j.describe(j.emits[e.Event]), e.Position)
		case !received && concerned == yes && e.Position <= last:
			return j.lostEvent(c, e, got)
		}
	}
	return nil
}

// audienceCertainty returns how certain it is that a packet of the log is for a session.
func audienceCertainty(in map[string]certainty, to *Target) certainty {
	b := in[Everybody]
	if len(to.Rooms) > 0 {
		inAny := no
		for _, room := range to.Rooms {
			inAny = max(inAny, in[room])
		}
		b = min(b, inAny)
	}
	for _, room := range to.Except {
		b = min(b, yes-in[room])
	}
	return b
}

// applyOperation changes the rooms as an operation in the log does.
func applyOperation(in map[string]certainty, e *Record, concerned certainty) {
	to := membershipAfter(e.Op)
	for _, room := range e.Rooms {
		switch {
		case concerned == yes:
			in[room] = to
		case concerned == maybe && in[room] != to:
			in[room] = maybe
		}
	}
}

// lostEvent explains a loss with the receipts before and after its position in the log.
func (j *logChecker) lostEvent(c *clientLog, e *Record, got map[int64]int) *ViolationError {
	before, after := int64(-1), int64(math.MaxInt64)
	for at := range got {
		if at < e.Position {
			before = max(before, at)
		} else {
			after = min(after, at)
		}
	}
	place := len(c.records) - 1
	if i, ok := got[after]; ok {
		place = i
	} else if i, ok := got[before]; ok {
		place = i
	}
	v := j.violation(Lost, c, place, "did not receive %s\nat position %d of the log, between %d and %d, which it received", j.describe(j.emits[e.Event]), e.Position, before, after)
	var text strings.Builder
	at, _ := slices.BinarySearchFunc(j.entries, e.Position, func(r *Record, p int64) int { return cmp.Compare(r.Position, p) })
	for i := max(0, at-4); i < min(len(j.entries), at+5); i++ {
		l := j.entries[i]
		mark := " "
		if i == at {
			mark = ">"
		}
		what := fmt.Sprintf("event %v", l.Event)
		if l.Op != "" {
			what = fmt.Sprintf("%s %q", l.Op, l.Rooms)
		}
		fmt.Fprintf(&text, "  %s %d  %s to %q but not %q\n", mark, l.Position, what, l.To.Rooms, l.To.Except)
	}
	v.Text += "the log has there:\n" + text.String()
	return v
}

func (j *logChecker) violation(kind ViolationKind, c *clientLog, at int, format string, args ...any) *ViolationError {
	return &ViolationError{kind, fmt.Sprintf("client %d %s\n%s", c.number, fmt.Sprintf(format, args...), j.around(c, at))}
}

// around shows the records of a client before and after one of them.
func (j *logChecker) around(c *clientLog, at int) string {
	var text strings.Builder
	first := at
	for receipts := 0; first > 0 && receipts < 6; first-- { // there can be many records between receipts
		if c.records[first].Kind == Received {
			receipts++
		}
		if at-first > 40 {
			break
		}
	}
	for i := first; i < min(len(c.records), at+12); i++ {
		mark := " "
		if i == at {
			mark = ">"
		}
		fmt.Fprintf(&text, "  %s %s  %s\n", mark, j.clock(c.records[i].At), j.describeRecord(c.records[i]))
	}
	return text.String()
}

func (j *logChecker) describeRecord(r *Record) string {
	switch r.Kind {
	case Received:
		return fmt.Sprintf("received %v, at %d of the log", r.Event, j.positions[r.Event])
	case Connected:
		return fmt.Sprintf("connected as %s, recovered: %v", r.Socket, r.Recovered)
	case Requested:
		return fmt.Sprintf("requests %s %q", r.Op, r.Rooms)
	case Confirmed:
		return fmt.Sprintf("confirmed: %s %q", r.Op, r.Rooms)
	case Noted, Published, Logged:
	}
	return r.Text
}

func (j *logChecker) describe(e *Record) string {
	to := "everybody"
	if len(e.To.Rooms) > 0 {
		to = fmt.Sprintf("rooms %q", e.To.Rooms)
	}
	if len(e.To.Except) > 0 {
		to += fmt.Sprintf(" but not %q", e.To.Except)
	}
	outcome := "acknowledged at " + j.clock(e.End)
	switch {
	case e.End == 0:
		outcome = "outcome unknown"
	case e.Err != "":
		outcome = "failed: " + e.Err
	}
	return fmt.Sprintf("event %v to %s, emitted at %s, %s", e.Event, to, j.clock(e.Start), outcome)
}

func (j *logChecker) clock(at int64) string { return fmt.Sprintf("%.6fs", float64(at-j.begin)/1e9) }
