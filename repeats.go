package socketio

import (
	"time"

	"github.com/pgsocket/socketio/adapter"
)

// repeats is what replays of this node have sent to the client of one session more
// than once: a client that comes back again and again without getting on makes the
// node send what it missed each time.
type repeats struct {
	upTo  adapter.Position // the newest that a replay has sent
	from  adapter.Position // the newest after which one has begun
	back  bool             // one has begun before that
	bytes int              // sent again, less what progress makes up for
	last  time.Time
}

// allRepeats are those of the sessions that had a replay on this node within the
// last window. The hub's lock guards them.
type allRepeats struct {
	of    map[string]*repeats // by private id
	sweep int                 // how many there are when old ones are looked for
}

// sweepRepeats is how many sessions are remembered before old ones are looked for.
const sweepRepeats = 1024

// progressWeight is for how many times its size in repetitions an event makes up that
// is sent for the first time: so a client whose line breaks again and again gets on,
// though each time what was on its way is lost.
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

// sweepRepeatsLocked forgets sessions that are over, and says when to do so again.
func (h *hub) sweepRepeatsLocked(now time.Time) {
	if len(h.repeats.of) < h.repeats.sweep {
		return
	}
	window := h.server.opts.Recovery.Window
	for pid, r := range h.repeats.of {
		if _, held := h.sessions[pid]; !held && now.Sub(r.last) > window {
			delete(h.repeats.of, pid)
		}
	}
	h.repeats.sweep = max(sweepRepeats, 2*len(h.repeats.of))
}

// tooMany reports whether the session's client, to which a replay is about to begin,
// has been sent too much again. One that has got beyond what was replayed begins anew,
// unless it has gone back before: it presents what offset it likes.
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
