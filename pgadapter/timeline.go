package pgadapter

import (
	"slices"

	"github.com/pgsocket/socketio/adapter"
)

// A timeline numbers the histories of the log: a new one begins where the end of the log was lost.
type timeline struct {
	number int
	forks  []forkPoint // oldest first, the last one is the start of this timeline; each lies after the one before
}

// A forkPoint is where a timeline forks from the one before: after the last position
// that both have.
type forkPoint struct {
	number int // of the timeline
	at     adapter.Position
}

// maxForks bounds the fork points that are kept. Beyond it, the oldest two are merged.
const maxForks = 64

// clamp maps a position of the earlier timeline with the number taken to this one: no further
// than the first fork since then.
func (l timeline) clamp(p adapter.Position, taken int) int64 {
	for _, j := range l.forks {
		if j.number > taken {
			p = min(p, j.at) // the earliest of them has the least position
			break
		}
	}
	return int64(p)
}

// fork returns the timeline that forks from l after the position at.
func (l timeline) fork(at adapter.Position) timeline {
	n := len(l.forks)
	for n > 0 && l.forks[n-1].at >= at {
		n--
	}
	forks := append(slices.Clone(l.forks[:n]), forkPoint{l.number + 1, at})
	if len(forks) > maxForks {
		forks[1].at = forks[0].at
		forks = forks[1:]
	}
	return timeline{l.number + 1, forks}
}
