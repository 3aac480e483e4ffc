package checker

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A ViolationKind is a way in which a history can be wrong.
type ViolationKind string

// The kinds of violation.
const (
	Lost          ViolationKind = "lost"            // a client did not receive an acknowledged event of its own
	Duplicated    ViolationKind = "duplicated"      // a client received an event twice
	NeverEmitted  ViolationKind = "never emitted"   // a client received an event that was never emitted
	Misdelivered  ViolationKind = "misdelivered"    // a client received an event that was not for it
	Reordered     ViolationKind = "reordered"       // a publisher's later event came before its earlier one, or before one acknowledged earlier
	NoCommonOrder ViolationKind = "no common order" // no order of events agrees with all clients
)

// A ViolationError is the first violation in a history, with a transcript.
type ViolationError struct {
	Kind ViolationKind
	Text string
}

// Error implements error.
func (v *ViolationError) Error() string { return string(v.Kind) + ": " + v.Text }

// Check returns the first violation, or nil. All clients must be connected and must have received everything that is
// on its way. An event to everybody that was emitted last and has arrived proves that.
func (h *History) Check() *ViolationError {
	h.mu.Lock()
	defer h.mu.Unlock()
	numbers := slices.Sorted(maps.Keys(h.clients))
	for _, number := range numbers {
		c := h.clients[number]
		for _, check := range []func(*client) *ViolationError{h.unexpected, h.lost, h.reordered} {
			if v := check(c); v != nil {
				return v
			}
		}
	}
	return h.commonOrder(numbers)
}

// unexpected looks for events that a client should not have received.
func (h *History) unexpected(c *client) *ViolationError {
	seen := make(map[ID]int, len(c.receipts))
	for i, id := range c.receipts {
		e, ok := h.emits[id]
		if !ok {
			return &ViolationError{NeverEmitted, fmt.Sprintf("client %d received %s\n%s", c.number, h.describe(id), c.around(i))}
		}
		if first, again := seen[id]; again {
			return &ViolationError{Duplicated, fmt.Sprintf("client %d received twice: %s\nfirst:\n%ssecond:\n%s",
				c.number, h.describe(id), c.around(first), c.around(i))}
		}
		seen[id] = i
		if h.addressed(c, e) == no {
			return &ViolationError{Misdelivered, fmt.Sprintf("client %d received %s\nbut was %s\n%s",
				c.number, h.describe(id), h.describeRooms(c, e), c.around(i))}
		}
	}
	return nil
}

// lost looks for events that a client should have received.
func (h *History) lost(c *client) *ViolationError {
	seen := make(map[ID]bool, len(c.receipts))
	for _, id := range c.receipts {
		seen[id] = true
	}
	var missing []ID
	for id, e := range h.emits {
		if !seen[id] && e.acknowledged() && h.addressed(c, e) == yes {
			missing = append(missing, id)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.SortFunc(missing, func(a, b ID) int { return int(h.emits[a].Start - h.emits[b].Start) })
	id := missing[0]
	text := fmt.Sprintf("client %d did not receive %d of its events, %v, the first of them: %s\nit was %s\n",
		c.number, len(missing), missing[:min(len(missing), 12)], h.describe(id), h.describeRooms(c, h.emits[id]))
	return &ViolationError{Lost, text + h.explainLoss(c, seen, id)}
}

// explainLoss shows where another client received the event, and what this client received there.
func (h *History) explainLoss(victim *client, seen map[ID]bool, id ID) string {
	for _, other := range h.clients {
		at := slices.Index(other.receipts, id)
		if at < 0 {
			continue
		}
		text := fmt.Sprintf("client %d received it:\n%s", other.number, other.around(at))
		for i := at - 1; i >= 0; i-- {
			if seen[other.receipts[i]] {
				return text + fmt.Sprintf("client %d, after the last event that both had received:\n%s",
					victim.number, victim.around(slices.Index(victim.receipts, other.receipts[i])))
			}
		}
		return text + fmt.Sprintf("client %d received:\n%s", victim.number, victim.around(0))
	}
	for i, r := range victim.receipts { // the first later event
		if h.emits[r].Start > h.emits[id].Start {
			return fmt.Sprintf("no client received it; client %d received instead:\n%s", victim.number, victim.around(i))
		}
	}
	return fmt.Sprintf("no client received it; client %d received last:\n%s", victim.number, victim.around(len(victim.receipts)-1))
}

// reordered looks for an event that a client received after one that was emitted later than its acknowledgement.
func (h *History) reordered(c *client) *ViolationError {
	last := make(map[int]int) // by publisher: receipt of its newest event
	latest := -1              // receipt of the latest emit so far
	for i, id := range c.receipts {
		e := h.emits[id]
		if j, ok := last[id.Publisher()]; ok && c.receipts[j].Seq() > id.Seq() {
			return c.reordered(h, j, i, "both are of one publisher")
		}
		last[id.Publisher()] = i
		if latest >= 0 && e.End != 0 && e.Err == "" && e.End < h.emits[c.receipts[latest]].Start {
			return c.reordered(h, latest, i, "the second was acknowledged before the first was emitted")
		}
		if latest < 0 || e.Start > h.emits[c.receipts[latest]].Start {
			latest = i
		}
	}
	return nil
}

func (c *client) reordered(h *History, first, second int, why string) *ViolationError {
	return &ViolationError{Reordered, fmt.Sprintf("client %d received\n  %s\nbefore\n  %s\nbut %s\n%s",
		c.number, h.describe(c.receipts[first]), h.describe(c.receipts[second]), why, c.around(second))}
}

// commonOrder looks for an order of all events that agrees with every client. A client that received b right after a
// states that a is before b. A common order exists if and only if these statements have no cycle.
func (h *History) commonOrder(numbers []int) *ViolationError {
	says := make(map[ID]map[ID]int) // a → b → a client that states it
	before := make(map[ID]int)      // number of statements that put another event before this one
	for _, number := range numbers {
		receipts := h.clients[number].receipts
		for i := 1; i < len(receipts); i++ {
			a, b := receipts[i-1], receipts[i]
			if says[a] == nil {
				says[a] = make(map[ID]int)
			}
			if _, said := says[a][b]; !said {
				says[a][b] = number
				before[b]++
			}
		}
	}
	var free []ID
	for a := range says {
		if before[a] == 0 {
			free = append(free, a)
		}
	}
	for len(free) > 0 {
		a := free[len(free)-1]
		free = free[:len(free)-1]
		for b := range says[a] {
			if before[b]--; before[b] == 0 {
				delete(before, b)
				free = append(free, b)
			}
		}
		delete(says, a)
		delete(before, a)
	}
	if len(before) == 0 {
		return nil
	}
	return h.explainCycle(says, before)
}

// explainCycle explains why there is no common order, given the statements in cycles.
func (h *History) explainCycle(says map[ID]map[ID]int, left map[ID]int) *ViolationError {
	// Every remaining event has a remaining predecessor, so walking back from any one leads into a cycle.
	previous := make(map[ID]ID)
	for a, followers := range says {
		for b := range followers {
			if _, ok := left[a]; ok {
				previous[b] = a
			}
		}
	}
	at := slices.Min(slices.Collect(maps.Keys(left)))
	for visited := make(map[ID]bool); !visited[at]; at = previous[at] {
		visited[at] = true
	}
	ring := []ID{at}
	for id := previous[at]; id != at; id = previous[id] {
		ring = append(ring, id)
	}
	slices.Reverse(ring) // each is stated to be before the next, and the last before the first

	for i, a := range ring {
		b := ring[(i+1)%len(ring)]
		one := h.clients[says[a][b]]
		for _, other := range h.clients {
			x, y := slices.Index(other.receipts, a), slices.Index(other.receipts, b)
			if x >= 0 && y >= 0 && y < x {
				return &ViolationError{NoCommonOrder, fmt.Sprintf("client %d received %v before %v, client %d in the other order\n  %s\n  %s\nclient %d:\n%sclient %d:\n%s",
					one.number, a, b, other.number, h.describe(a), h.describe(b),
					one.number, one.around(slices.Index(one.receipts, b)), other.number, other.around(x))}
			}
		}
	}
	var text strings.Builder
	text.WriteString("these statements contradict each other:\n")
	for i, a := range ring {
		b := ring[(i+1)%len(ring)]
		fmt.Fprintf(&text, "  client %d received %v right before %v\n", says[a][b], a, b)
	}
	return &ViolationError{NoCommonOrder, text.String()}
}

// around shows what a client received before and after a receipt, with its notes.
func (c *client) around(receipt int) string {
	const context = 4
	var text strings.Builder
	from, to := max(0, receipt-context), min(len(c.receipts), receipt+context+1)
	for i := from; i <= to; i++ {
		for _, n := range c.notes {
			if n.after == i {
				fmt.Fprintf(&text, "           · %s\n", n.text)
			}
		}
		if i == to {
			break
		}
		mark := " "
		if i == receipt {
			mark = ">"
		}
		fmt.Fprintf(&text, "  %s %6d  %v\n", mark, i, c.receipts[i])
	}
	return text.String()
}
