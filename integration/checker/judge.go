package checker

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Further kinds of violation, of which only a Book can tell.
const (
	Unlogged Kind = "unlogged" // an acknowledged event is not in the log
	Refused  Kind = "refused"  // a session was not recovered, though nothing was against it
)

// Judge returns the first violation of a book, or nil. The clients have to have received all that was on its way.
//
//   - The log has every acknowledged event once, every other at most once, and none that nobody emitted. It keeps the
//     order of each publisher, and no event comes before one that was acknowledged before it was emitted.
//   - What a session got is in the order of the log, without doubles, without holes, and without what it was not in
//     the room for. A session ends where its client hears that it was not recovered.
func (b *Book) Judge() *ViolationError {
	b.mu.Lock()
	defer b.mu.Unlock()
	j := newJudge(b.records)
	if v := j.log(); v != nil {
		return v
	}
	for _, c := range j.clients {
		for i := range c.sessions {
			if v := j.session(c, &c.sessions[i]); v != nil {
				return v
			}
		}
	}
	return nil
}

type judge struct {
	begin   int64
	emits   map[ID]*Record
	entries []*Record // of the log, in its order
	places  map[ID]int64
	since   []since // by start
	clients []*witness
}

// A since says that everything from a position on came later than a moment.
type since struct{ start, position int64 }

// A witness is a client.
type witness struct {
	number   int
	records  []*Record
	sessions []session
}

// A session is a part of a client's records: the first is Connected.
type session struct {
	from, to int
	last     bool // of its client: it goes on to the end of the log
}

func newJudge(records []Record) *judge {
	j := &judge{emits: make(map[ID]*Record), places: make(map[ID]int64)}
	clients := make(map[int]*witness)
	for i := range records {
		r := &records[i]
		if j.begin == 0 {
			j.begin = r.At
		}
		switch r.What {
		case Published:
			j.emits[r.Event] = r
		case Logged:
			j.entries = append(j.entries, r)
		default:
			c, ok := clients[r.Client]
			if !ok {
				c = &witness{number: r.Client}
				clients[r.Client] = c
				j.clients = append(j.clients, c)
			}
			c.add(r)
		}
	}
	slices.SortStableFunc(j.entries, func(a, b *Record) int { return cmp.Compare(a.Position, b.Position) })
	for _, e := range j.entries {
		if _, again := j.places[e.Event]; e.Do == "" && !again {
			j.places[e.Event] = e.Position
			if emit := j.emits[e.Event]; emit != nil {
				j.since = append(j.since, since{emit.Start, e.Position})
			}
		}
	}
	slices.SortFunc(j.since, func(a, b since) int { return cmp.Compare(a.start, b.start) })
	for i := len(j.since) - 2; i >= 0; i-- {
		j.since[i].position = min(j.since[i].position, j.since[i+1].position)
	}
	return j
}

func (c *witness) add(r *Record) {
	if r.What == Connected && (!r.Recovered || len(c.sessions) == 0) {
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

// after returns a position that came later than a moment, and so did all after it.
func (j *judge) after(moment int64) int64 {
	i, _ := slices.BinarySearchFunc(j.since, moment+1, func(s since, at int64) int { return cmp.Compare(s.start, at) })
	if i == len(j.since) {
		return math.MaxInt64
	}
	return j.since[i].position
}

// log judges the log.
func (j *judge) log() *ViolationError {
	seen := make(map[ID]int64)
	for _, entry := range j.entries {
		if entry.Do != "" {
			continue
		}
		e, ok := j.emits[entry.Event]
		if !ok {
			return &ViolationError{Invented, fmt.Sprintf("the log has at %d event %v, which nobody emitted", entry.Position, entry.Event)}
		}
		if at, again := seen[e.Event]; again {
			return &ViolationError{Doubled, fmt.Sprintf("the log has twice, at %d and %d: %s", at, entry.Position, j.describe(e))}
		}
		seen[e.Event] = entry.Position
	}
	for id, e := range j.emits {
		if _, ok := seen[id]; !ok && e.End != 0 && e.Err == "" {
			return &ViolationError{Unlogged, "the log has not " + j.describe(e)}
		}
	}
	return j.overtaken()
}

// overtaken looks for an event that the log has too late.
func (j *judge) overtaken() *ViolationError {
	last := make(map[int]*Record) // by publisher
	var latest *Record            // the one that was emitted latest
	for _, entry := range j.entries {
		if entry.Do != "" {
			continue
		}
		e := j.emits[entry.Event]
		before := last[e.Event.Publisher()]
		switch {
		case before != nil && before.Event.Seq() > e.Event.Seq():
			return j.swapped(before, e, "both are of one publisher")
		case latest != nil && e.End != 0 && e.Err == "" && e.End < latest.Start:
			return j.swapped(latest, e, "the second was acknowledged before the first was emitted")
		}
		last[e.Event.Publisher()] = e
		if latest == nil || e.Start > latest.Start {
			latest = e
		}
	}
	return nil
}

func (j *judge) swapped(first, second *Record, why string) *ViolationError {
	return &ViolationError{Overtaken, fmt.Sprintf("the log has\n  %s\nbefore\n  %s\nbut %s", j.describe(first), j.describe(second), why)}
}

// A step is a change of what is believed of a session, from a position on.
type step struct {
	from  int64
	room  string
	to    belief
	doubt bool // only if it is not believed already
	was   belief
}

// session judges what one session got.
func (j *judge) session(c *witness, s *session) *ViolationError {
	got := make(map[int64]int) // by position: the record
	last := int64(-1)
	for i := s.from; i < s.to; i++ {
		r := c.records[i]
		if r.What != Got {
			continue
		}
		at, ok := j.places[r.Event]
		if !ok {
			return j.violation(Invented, c, i, "got event %v, which is not in the log", r.Event)
		}
		if first, again := got[at]; again {
			v := j.violation(Doubled, c, i, "got twice: %s", j.describe(j.emits[r.Event]))
			v.Text += "the first time:\n" + j.around(c, first)
			return v
		}
		got[at] = i
		if at < last {
			return j.violation(Overtaken, c, i, "got %s\nafter what the log has behind it", j.describe(j.emits[r.Event]))
		}
		last = at
	}
	if s.last {
		last = math.MaxInt64
	}
	return j.walk(c, j.steps(c, s), got, last)
}

// A course is how a session's rooms changed, as far as its client knows.
type course struct {
	j     *judge
	steps []step
	open  []step // that are true from the next receipt on, if not before
	at    int64  // of the last receipt
}

func (j *judge) steps(c *witness, s *session) []step {
	o := &course{j: j, at: -1}
	for i := s.from; i < s.to; i++ {
		switch r := c.records[i]; {
		case i == s.from:
			o.begin(r)
		case r.What == Got:
			o.at = j.places[r.Event]
			o.settle(o.at)
		case r.What == Asked:
			o.asked(r)
		case r.What == Done:
			o.done(r)
		}
	}
	o.settle(math.MaxInt64)
	slices.SortStableFunc(o.steps, func(a, b step) int { return cmp.Compare(a.from, b.from) })
	return o.steps
}

func (o *course) begin(r *Record) {
	for _, room := range []string{Everybody, r.Socket} {
		o.steps = append(o.steps, step{from: -1, room: room, to: maybe})
		o.open = append(o.open, step{from: o.j.after(r.At), room: room, to: yes})
	}
}

func (o *course) asked(r *Record) {
	for _, room := range r.Rooms {
		// Between what was done last and what is asked now it may have got nothing.
		o.open = slices.DeleteFunc(o.open, func(before step) bool { return before.room == room })
		o.steps = append(o.steps, step{from: o.at + 1, room: room, to: maybe, doubt: true, was: outcome(r.Do)})
	}
}

func (o *course) done(r *Record) {
	for _, room := range r.Rooms {
		o.open = append(o.open, step{from: o.j.after(r.At), room: room, to: outcome(r.Do)})
	}
}

func (o *course) settle(before int64) {
	for _, s := range o.open {
		s.from = min(s.from, before)
		o.steps = append(o.steps, s)
	}
	o.open = o.open[:0]
}

func outcome(do Do) belief {
	if do == Join {
		return yes
	}
	return no
}

// walk goes along the log, up to a position, with what is believed of the session's rooms.
func (j *judge) walk(c *witness, steps []step, got map[int64]int, last int64) *ViolationError {
	in := make(map[string]belief)
	for _, e := range j.entries {
		for len(steps) > 0 && steps[0].from <= e.Position {
			if s := steps[0]; !s.doubt || in[s.room] != s.was {
				in[s.room] = s.to
			}
			steps = steps[1:]
		}
		concerned := believed(in, e.To)
		if e.Do != "" {
			follow(in, e, concerned)
			continue
		}
		i, received := got[e.Position]
		switch {
		case received && concerned == no:
			return j.violation(Misdelivered, c, i, "got %s\nat position %d, but was not in the room", j.describe(j.emits[e.Event]), e.Position)
		case !received && concerned == yes && e.Position <= last:
			return j.missing(c, e, got)
		}
	}
	return nil
}

// believed tells whether a packet of the log is for a session that is in rooms as believed.
func believed(in map[string]belief, to *Target) belief {
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

// follow changes the rooms as an operation of the log does.
func follow(in map[string]belief, e *Record, concerned belief) {
	to := outcome(e.Do)
	for _, room := range e.Rooms {
		switch {
		case concerned == yes:
			in[room] = to
		case concerned == maybe && in[room] != to:
			in[room] = maybe
		}
	}
}

// missing explains a loss: what the client got before and after the place in the log.
func (j *judge) missing(c *witness, e *Record, got map[int64]int) *ViolationError {
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
	v := j.violation(Lost, c, place, "never got %s\nat position %d of the log, between %d and %d, which it got", j.describe(j.emits[e.Event]), e.Position, before, after)
	var text strings.Builder
	at, _ := slices.BinarySearchFunc(j.entries, e.Position, func(r *Record, p int64) int { return cmp.Compare(r.Position, p) })
	for i := max(0, at-4); i < min(len(j.entries), at+5); i++ {
		l := j.entries[i]
		mark := " "
		if i == at {
			mark = ">"
		}
		what := fmt.Sprintf("event %v", l.Event)
		if l.Do != "" {
			what = fmt.Sprintf("%s %q", l.Do, l.Rooms)
		}
		fmt.Fprintf(&text, "  %s %d  %s to %q but not %q\n", mark, l.Position, what, l.To.Rooms, l.To.Except)
	}
	v.Text += "the log has there:\n" + text.String()
	return v
}

func (j *judge) violation(kind Kind, c *witness, at int, format string, args ...any) *ViolationError {
	return &ViolationError{kind, fmt.Sprintf("client %d %s\n%s", c.number, fmt.Sprintf(format, args...), j.around(c, at))}
}

// around shows what happened to a client before and after a record of its own.
func (j *judge) around(c *witness, at int) string {
	var text strings.Builder
	first := at
	for receipts := 0; first > 0 && receipts < 6; first-- { // lines without receipts come in crowds
		if c.records[first].What == Got {
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
		fmt.Fprintf(&text, "  %s %s  %s\n", mark, j.clock(c.records[i].At), j.line(c.records[i]))
	}
	return text.String()
}

func (j *judge) line(r *Record) string {
	switch r.What {
	case Got:
		return fmt.Sprintf("got %v, at %d of the log", r.Event, j.places[r.Event])
	case Connected:
		return fmt.Sprintf("connected as %s, recovered: %v", r.Socket, r.Recovered)
	case Asked:
		return fmt.Sprintf("asks to %s %q", r.Do, r.Rooms)
	case Done:
		return fmt.Sprintf("hears that it did %s %q", r.Do, r.Rooms)
	case Noted, Published, Logged:
	}
	return r.Text
}

func (j *judge) describe(e *Record) string {
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

func (j *judge) clock(at int64) string { return fmt.Sprintf("%.6fs", float64(at-j.begin)/1e9) }
