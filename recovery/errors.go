package recovery

import "errors"

// The reasons for which a returning client becomes a new session. Resume
// returns them wrapped or as they are; their texts are stable.
var (
	ErrUnknown   = errors.New("unknown session")             // no such session in the namespace: never was, was closed, or expired and was removed, before its time if too many were parked
	ErrIdentity  = errors.New("session of another identity") // the session is bound to an identity, and the client has another one or none
	ErrExpired   = errors.New("session expired")             // the client was away for longer than the window
	ErrTrimmed   = errors.New("events no longer kept")       // the log no longer reaches back far enough to prove that nothing is missing
	ErrAhead     = errors.New("offset ahead of the log")     // the client knows records that the log never had, or lost
	ErrForeign   = errors.New("offset of another log")       // the offset was made by another log, or by a lost branch of this one
	ErrMalformed = errors.New("malformed offset")            // not an offset of ours at all
	ErrEarly     = errors.New("offset before the session")   // a record from before the session was opened
	ErrRejected  = errors.New("rejected by the application") // a gate refused the returning client
	ErrOver      = errors.New("disconnected meanwhile")      // the audience that the session was in was disconnected
	ErrRepeated  = errors.New("replayed too often")          // the client came back again and again without getting on
)

// ErrLost reports a write to a session that another node has taken over, that
// was parked by others because its node was thought dead, or that is over.
var ErrLost = errors.New("session is no longer held by this node")

// RefusalReason returns the reason in err's chain for which a client was not
// recovered, and nil if err is none of them: then the store could not answer.
func RefusalReason(err error) error {
	for _, r := range []error{ErrUnknown, ErrIdentity, ErrExpired, ErrTrimmed, ErrAhead, ErrForeign, ErrMalformed, ErrEarly, ErrRejected, ErrOver, ErrRepeated} {
		if errors.Is(err, r) {
			return r
		}
	}
	return nil
}
