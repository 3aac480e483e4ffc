package model

import (
	"fmt"
	"hash/maphash"
	"strings"
)

// A Report is the result of an exploration.
type Report struct {
	States     int  // number of different states
	Moves      int  // number of moves tried
	Depth      int  // number of moves to the farthest state
	Exhausted  bool // all states were visited
	Violation  string
	Transcript []string // the shortest sequence of moves to the violation
}

// String formats the report.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d states, %d moves, depth %d", r.States, r.Moves, r.Depth)
	if !r.Exhausted {
		b.WriteString(", not exhausted")
	}
	if r.Violation != "" {
		for i, move := range r.Transcript {
			fmt.Fprintf(&b, "\n%3d  %s", i+1, move)
		}
		fmt.Fprintf(&b, "\n     %s", r.Violation)
	}
	return b.String()
}

// A digest identifies a state. Two states have the same digest with a probability of one in 2^128.
type digest [2]uint64

// An edge is the move by which a state was reached first.
type edge struct {
	from digest
	by   Move
}

// An explorer visits all states breadth first, so that the first violation has the fewest moves.
type explorer struct {
	model   *model
	report  Report
	seeds   [2]maphash.Seed
	reached map[digest]edge
	level   []State
	next    []State
}

// Explore tries every order of moves from the start of the configuration, until a state violates a promise, all are
// visited, or the limit of states is reached.
func Explore(c Config, limit int) *Report {
	x := &explorer{
		model: &model{Config: c}, reached: make(map[digest]edge),
		seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
	}
	start := x.model.start()
	x.reached[x.digest(&start)] = edge{}
	x.level = []State{start}
	for len(x.level) > 0 {
		for i := range x.level {
			x.expand(&x.level[i])
			if x.report.Violation != "" || len(x.reached) > limit {
				x.report.States = len(x.reached)
				return &x.report
			}
		}
		x.report.Depth++
		x.level, x.next = x.next, x.level[:0]
	}
	x.report.Depth--
	x.report.States = len(x.reached)
	x.report.Exhausted = true
	return &x.report
}

func (x *explorer) digest(s *State) digest {
	return digest{maphash.Comparable(x.seeds[0], *s), maphash.Comparable(x.seeds[1], *s)}
}

// expand tries every move from a state.
func (x *explorer) expand(s *State) {
	from := x.digest(s)
	x.model.moves(s, func(by Move, to *State, violation string) {
		if x.report.Violation != "" {
			return
		}
		x.report.Moves++
		if violation == "" {
			violation = x.model.check(to)
		}
		if violation != "" {
			x.report.Violation = violation
			x.report.Transcript = append(x.way(from), by.String())
			return
		}
		to.normalize()
		d := x.digest(to)
		if _, known := x.reached[d]; known {
			return
		}
		x.reached[d] = edge{from, by}
		x.next = append(x.next, *to)
	})
}

// way returns the moves that led to a state.
func (x *explorer) way(to digest) []string {
	e := x.reached[to]
	if e == (edge{}) {
		return nil
	}
	return append(x.way(e.from), e.by.String())
}
