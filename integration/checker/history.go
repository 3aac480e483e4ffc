// Package checker checks the promises of the server. It collects every emit and every receipt, and decides whether the
// clients saw what was promised:
//
//   - nothing is lost: an acknowledged event reached every client in its target;
//   - nothing is duplicated: no client received an event twice, and a failed emit arrived at most once;
//   - nothing unexpected: no client received an event that was never emitted, or was not for it;
//   - one order: there is one order of all events that every client's receipts follow, that keeps the order of each
//     publisher, and in which no event comes before one that was acknowledged before it was emitted.
//
// It trusts nothing that the server reports: it reads no offsets, and takes the order from the receipts.
package checker

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// An ID names an event: its publisher and its number there.
type ID int64

const numbers = 1e8

// NewID returns the ID of a publisher's event.
func NewID(publisher, seq int) ID { return ID(publisher*numbers + seq) }

// Publisher returns the number of the publisher.
func (id ID) Publisher() int { return int(id / numbers) }

// Seq returns the event's number at its publisher.
func (id ID) Seq() int { return int(id % numbers) }

// String returns publisher/number.
func (id ID) String() string { return fmt.Sprintf("%d/%d", id.Publisher(), id.Seq()) }

// A Target selects the clients in any of Rooms, or all if it is empty, without those in any of Except.
type Target struct{ Rooms, Except []string }

// An Emit is one event as its publisher saw it. Times are in nanoseconds of one clock for all.
type Emit struct {
	ID         ID
	To         Target
	Start, End int64  // of the call; End is 0 if the outcome is unknown
	Err        string // of a failed emit; "" if it was acknowledged
}

func (e *Emit) acknowledged() bool { return e.End != 0 && e.Err == "" }

// Everybody is the name of a room that every client is in while its session lasts.
const Everybody = ""

// A History collects emits and receipts. Its methods may be called from any goroutine.
type History struct {
	// Lag is how far a node may lag behind another: an event that was acknowledged less than that before a client
	// joined or left a room may count either way. Default: 0.
	Lag time.Duration

	mu      sync.Mutex
	emits   map[ID]*Emit
	clients map[int]*client
	begin   int64
}

type client struct {
	number      int
	receipts    []ID
	notes       []note
	memberships map[string][]membership
}

// A note is text about a client, after a number of receipts.
type note struct {
	after int
	text  string
}

// A membership is the time in a room. It begins and ends at some moment of two intervals. A zero left means not yet.
type membership struct{ joining, joined, leaving, left int64 }

// Emitted records an emit.
func (h *History) Emitted(e Emit) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.emits == nil {
		h.emits = make(map[ID]*Emit)
	}
	h.emits[e.ID] = &e
	if h.begin == 0 || e.Start < h.begin {
		h.begin = e.Start
	}
}

// Received records what a client received, in order.
func (h *History) Received(client int, ids ...ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.clientLocked(client)
	c.receipts = append(c.receipts, ids...)
}

// Note records text that helps to understand a transcript.
func (h *History) Note(client int, format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.clientLocked(client)
	c.notes = append(c.notes, note{len(c.receipts), fmt.Sprintf(format, args...)})
}

// Joined records that a client joined a room at some moment between start and end.
func (h *History) Joined(client int, room string, start, end int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.clientLocked(client)
	c.memberships[room] = append(c.memberships[room], membership{joining: start, joined: end})
}

// Left records that a client left a room at some moment between start and end.
func (h *History) Left(client int, room string, start, end int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	stays := h.clientLocked(client).memberships[room]
	if len(stays) > 0 {
		stays[len(stays)-1].leaving, stays[len(stays)-1].left = start, end
	}
}

// Receipts returns the number of events that all clients received.
func (h *History) Receipts() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, c := range h.clients {
		n += len(c.receipts)
	}
	return n
}

// Of returns how many events one client got.
func (h *History) Of(client int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.clientLocked(client).receipts)
}

// All returns all emits, in no order.
func (h *History) All() []Emit {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]Emit, 0, len(h.emits))
	for _, e := range h.emits {
		all = append(all, *e)
	}
	return all
}

// Emits returns how many events were emitted, and how many of them acknowledged.
func (h *History) Emits() (all, acknowledged int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.emits {
		if e.acknowledged() {
			acknowledged++
		}
	}
	return len(h.emits), acknowledged
}

func (h *History) clientLocked(number int) *client {
	c, ok := h.clients[number]
	if !ok {
		if h.clients == nil {
			h.clients = make(map[int]*client)
		}
		c = &client{number: number, memberships: make(map[string][]membership)}
		h.clients[number] = c
	}
	return c
}

// A certainty is how certain it is that an event was for a client.
type certainty int

const (
	no certainty = iota
	maybe
	yes
)

// in reports whether the client was in the room at the position of the event.
func (h *History) in(c *client, room string, e *Emit) certainty {
	b := no
	lag := int64(h.Lag)
	for _, s := range c.memberships[room] {
		surelyBefore := e.End != 0 && e.End+lag < s.joining
		surelyAfter := s.left != 0 && e.Start > s.left
		surelyJoined := e.Start > s.joined
		surelyThere := s.left == 0 || e.End != 0 && e.End+lag < s.leaving
		switch {
		case surelyJoined && surelyThere:
			return yes
		case !surelyBefore && !surelyAfter:
			b = maybe
		}
	}
	return b
}

// addressed reports whether the event was for the client.
func (h *History) addressed(c *client, e *Emit) certainty {
	b := h.in(c, Everybody, e)
	if len(e.To.Rooms) > 0 {
		inAny := no
		for _, room := range e.To.Rooms {
			inAny = max(inAny, h.in(c, room, e))
		}
		b = min(b, inAny)
	}
	for _, room := range e.To.Except {
		b = min(b, yes-h.in(c, room, e))
	}
	return b
}

// describe describes an event in one line.
func (h *History) describe(id ID) string {
	e, ok := h.emits[id]
	if !ok {
		return fmt.Sprintf("event %v, which was never emitted", id)
	}
	var to strings.Builder
	to.WriteString("everybody")
	if len(e.To.Rooms) > 0 {
		to.Reset()
		fmt.Fprintf(&to, "rooms %q", e.To.Rooms)
	}
	if len(e.To.Except) > 0 {
		fmt.Fprintf(&to, " but not %q", e.To.Except)
	}
	outcome := "acknowledged"
	switch {
	case e.End == 0:
		outcome = "outcome unknown"
	case e.Err != "":
		outcome = "failed: " + e.Err
	}
	return fmt.Sprintf("event %v to %s, emitted at %s, %s at %s", id, &to, h.clock(e.Start), outcome, h.clock(e.End))
}

// describeRooms describes when the client was in the rooms of the event.
func (h *History) describeRooms(c *client, e *Emit) string {
	names := append([]string{Everybody}, append(slices.Clone(e.To.Rooms), e.To.Except...)...)
	var text []string
	for _, room := range names {
		for _, s := range c.memberships[room] {
			line := fmt.Sprintf("in %q since %s–%s", room, h.clock(s.joining), h.clock(s.joined))
			if room == Everybody {
				line = fmt.Sprintf("connected since %s–%s", h.clock(s.joining), h.clock(s.joined))
			}
			if s.left != 0 {
				line += fmt.Sprintf(" until %s–%s", h.clock(s.leaving), h.clock(s.left))
			}
			text = append(text, line)
		}
	}
	if len(text) == 0 {
		return "in none of the rooms, and not connected"
	}
	return strings.Join(text, "; ")
}

func (h *History) clock(at int64) string {
	if at == 0 {
		return "?"
	}
	return fmt.Sprintf("%.6fs", float64(at-h.begin)/1e9)
}
