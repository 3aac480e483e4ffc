package recovery

import "errors"

// The reasons for which a client that resumes gets a new session. Resume returns
// them wrapped or unwrapped; their texts are stable.
var (
	ErrUnknown   = errors.New("unknown session")             // the namespace has no such session: it never existed, ended, or expired and was removed, early if too many were parked
	ErrIdentity  = errors.New("session of another identity") // the session is bound to an identity, and the client has another one or none
	ErrExpired   = errors.New("session expired")             // the client was away for longer than the window
	ErrTrimmed   = errors.New("events no longer kept")       // the log no longer keeps the records that prove continuity
	ErrAhead     = errors.New("offset ahead of the log")     // the offset is of a record that the log never had, or lost
	ErrForeign   = errors.New("offset of another log")       // the offset is of another log, or of a lost record of this one
	ErrMalformed = errors.New("malformed offset")            // the text is not an offset
	ErrEarly     = errors.New("offset before the session")   // the offset is of a record from before the session was opened
	ErrRejected  = errors.New("rejected by the application") // a middleware refused the client
	ErrOver      = errors.New("disconnected meanwhile")      // a Disconnect operation included the session while the client was away
	ErrRepeated  = errors.New("replayed too often")          // the client resumed many times without processing the replay
)

// ErrLost reports a write to a session that another node has claimed, that
// another node parked because it declared this node dead, or that has ended.
var ErrLost = errors.New("session is no longer owned by this node")

// RefusalReason returns the reason in err's chain for which a client was not
// recovered. It returns nil if err contains none: then the store failed.
func RefusalReason(err error) error {
	for _, r := range []error{ErrUnknown, ErrIdentity, ErrExpired, ErrTrimmed, ErrAhead, ErrForeign, ErrMalformed, ErrEarly, ErrRejected, ErrOver, ErrRepeated} {
		if errors.Is(err, r) {
			return r
		}
	}
	return nil
}
