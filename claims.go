package socketio

import (
	"math"

	"github.com/pgsocket/socketio/recovery"
)

// A claimState tracks a session while claims of it are in progress, from before the
// call of the store until the socket owns the session. A later claim, whose socket or
// SessionMoved record arrives at this node first, may overtake the answer of the
// store; its socket may even be detached again.
type claimState struct {
	inProgress int
	epoch      int64 // the newest epoch that the node has seen
}

// beginClaim records that a claim of the session is in progress, until endClaim.
func (h *hub) beginClaim(pid string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, ok := h.claims[pid]
	if !ok {
		c = &claimState{}
		h.claims[pid] = c
	}
	c.inProgress++
}

func (h *hub) endClaim(pid string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.claims[pid]; c.inProgress > 1 {
		c.inProgress--
	} else {
		delete(h.claims, pid)
	}
}

// epochSeenLocked records that an epoch of the session has begun.
func (h *hub) epochSeenLocked(k recovery.Key) {
	if c, ok := h.claims[k.PIDHash]; ok {
		c.epoch = max(c.epoch, k.Epoch)
	}
}

// voidClaimsLocked makes all claims in progress fail: the continuity that the store has
// checked for them may not hold any more.
func (h *hub) voidClaimsLocked() {
	for _, c := range h.claims {
		c.epoch = math.MaxInt64
	}
}

// claim registers s as the owner of its session, in place of an owner of an earlier
// epoch, which is dropped in any case. It returns false if s is detached already, or
// was overtaken; it releases the session then, which has no effect if a later epoch
// owns it.
func (h *hub) claim(s *Socket, session *recovery.Session) bool {
	h.mu.Lock()
	defer h.unlock()
	overtaken := h.claims[session.PIDHash].epoch > session.Epoch
	h.epochSeenLocked(session.Key)
	if old, ok := h.sessions[session.PIDHash]; ok && old.key.Epoch < session.Epoch {
		old.dropLocked(&DisconnectError{Reason: ReasonTakenOver})
	}
	if s.member.state == detached || overtaken {
		// The socket is detached, or a later connection of the client was faster. This
		// one may still be the client's newest, so it does not get a new session.
		at := min(session.From, session.Applied, h.cursor.Position)
		h.endLocked(session.Key, recovery.Release{Park: true, At: at, Last: session.Last})
		return false
	}
	h.ownLocked(&s.member, session)
	s.member.catchingUp = true
	return true
}
