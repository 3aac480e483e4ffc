package socketio

import (
	"math"

	"github.com/pgsocket/socketio/recovery"
)

// A claimState is what a node learns of a session while claims of it are under way:
// from before the store is asked until the socket holds the session. The answer of
// the store may be overtaken by a later claim, whose socket or eviction arrives at
// this node first, and possibly has gone again.
type claimState struct {
	underWay int
	epoch    int64 // the newest epoch that the node knows of
}

// beginClaim notes that a claim of the session is under way, until endClaim.
func (h *hub) beginClaim(pid string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, ok := h.claims[pid]
	if !ok {
		c = &claimState{}
		h.claims[pid] = c
	}
	c.underWay++
}

func (h *hub) endClaim(pid string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.claims[pid]; c.underWay > 1 {
		c.underWay--
	} else {
		delete(h.claims, pid)
	}
}

// epochSeenLocked notes that the session has gone on to an epoch.
func (h *hub) epochSeenLocked(k recovery.Key) {
	if c, ok := h.claims[k.PIDHash]; ok {
		c.epoch = max(c.epoch, k.Epoch)
	}
}

// voidClaimsLocked has all claims that are under way fail: what the store has
// proven for them may not hold any more.
func (h *hub) voidClaimsLocked() {
	for _, c := range h.claims {
		c.epoch = math.MaxInt64
	}
}

// claim registers s as the holder of its session, in place of a holder of an
// earlier epoch, which is dropped in any case. It returns false if s is gone
// already, or has been overtaken; the session is let go of then, unless it is
// another's.
func (h *hub) claim(s *Socket, session *recovery.Session) bool {
	h.mu.Lock()
	defer h.unlock()
	overtaken := h.claims[session.PIDHash].epoch > session.Epoch
	h.epochSeenLocked(session.Key)
	if old, ok := h.sessions[session.PIDHash]; ok && old.key.Epoch < session.Epoch {
		old.dropLocked(&DisconnectError{Reason: ReasonTakenOver})
	}
	if s.member.state == detached || overtaken {
		// The socket is gone, or the client has come once more and was faster: it
		// may have come here last all the same, so it is not told of a new session.
		at := min(session.From, session.Applied, h.cursor.Position)
		h.endLocked(session.Key, recovery.Release{Park: true, At: at, Last: session.Last})
		return false
	}
	h.ownLocked(&s.member, session)
	return true
}
