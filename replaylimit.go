package socketio

import (
	"time"

	"github.com/pgsocket/socketio/adapter"
)

// repeats counts what replays of this node have sent to the client of one session more
// than once: a client that returns again and again without progress makes the node send
// what it missed each time.
type repeats struct {
	upTo  adapter.Position // the newest position that a replay has sent
	from  adapter.Position // the newest position after which a replay has begun
	back  bool             // a replay has begun before an earlier one
	bytes int              // sent again, less progressWeight for new ones
	last  time.Time
}

// allRepeats are the repeats of the sessions that had a replay on this node within the
// last window. The hub's lock guards them.
type allRepeats struct {
	of    map[string]*repeats // by private id
	sweep int                 // the number at which old ones are removed
}

// sweepRepeats is the number of sessions up to which old ones are not removed.
const sweepRepeats = 1024

// progressWeight is how many repeated bytes each byte that is sent for the first time
// offsets: so a client whose connection breaks again and again makes progress, though
// it loses each time what was in transit.
const progressWeight = 8

// replayedLocked counts an event of a replay.
func (h *hub) replayedLocked(pid string, at adapter.Position, size int) {
	now := time.Now()
	r, ok := h.repeats.of[pid]
	if !ok {
		h.sweepRepeatsLocked(now)
		r = &repeats{}
		h.repeats.of[pid] = r
	}
	r.last = now
	if at <= r.upTo {
		r.bytes += size
		return
	}
	r.upTo = at
	r.bytes = max(0, r.bytes-progressWeight*size)
}

// sweepRepeatsLocked removes sessions that are over, and sets when to do so again.
func (h *hub) sweepRepeatsLocked(now time.Time) {
	if len(h.repeats.of) < h.repeats.sweep {
		return
	}
	window := h.server.opts.Recovery.Window
	for pid, r := range h.repeats.of {
		if _, owned := h.sessions[pid]; !owned && now.Sub(r.last) > window {
			delete(h.repeats.of, pid)
		}
	}
	h.repeats.sweep = max(sweepRepeats, 2*len(h.repeats.of))
}

// tooMany reports whether replays have sent too much to the session's client again. It
// is called before a replay. A client that has received all that was replayed starts
// from zero, unless it has gone back before: a client chooses the offset it presents.
func (h *hub) tooMany(pid string, from adapter.Position) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, ok := h.repeats.of[pid]
	if !ok {
		return false
	}
	r.back = r.back || from < r.from
	r.from = max(r.from, from)
	if from >= r.upTo && !r.back {
		r.bytes = 0
	}
	return r.bytes > h.server.opts.Recovery.MaxRepeatedBytes
}
