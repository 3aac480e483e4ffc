package socketio

import (
	"context"
	"errors"

	"github.com/pgsocket/socketio/adapter"
)

var errNoSnapshots = errors.New("ResumeFrom needs Options.Recovery.Snapshots")

var errNoMiddleware = errors.New("ResumeFrom may only be called in connection middleware, with recovery on and for a client that does not opt out")

// ResumeFrom makes a new session begin where the application read its state, rather
// than now: the client receives every event that is addressed to it and that the state
// does not contain, and none that it contains. Call it in connection middleware that
// joins the rooms in question: the session counts as being in them from the snapshot
// token on.
//
// The token is created together with the state and sent to the client with it; in
// Postgres, the function snapshot_token in the query that reads the state creates it.
// It is neither secret nor signed: with a forged one a client receives at most what the
// log still keeps for its rooms.
//
// ResumeFrom needs Recovery.Snapshots. It fails for a socket that cannot recover, see
// Recovery.OptOut, because that has no session. It does nothing for a recovered socket:
// its client has continued from the token. The errors are ErrSnapshot, ErrTrimmed and
// ErrStale, after which the application must read its state again, or an error of the
// log. Middleware should return any of them, or an *Error of its own: the first three
// are an *Error with CodeBadPayload as well, which refuses the client.
func (s *Socket) ResumeFrom(ctx context.Context, token string) error {
	server := s.namespace.server
	if s.connected.Load() || !s.recovers {
		return errNoMiddleware
	}
	if s.result.Recovered {
		return nil
	}
	if server.opts.Recovery.Snapshots == nil {
		return errNoSnapshots
	}
	timeline := server.hub.currentTimeline()
	start, err := server.opts.Recovery.Snapshots.ResolveSnapshot(ctx, token)
	if errors.Is(err, ErrSnapshot) || errors.Is(err, ErrTrimmed) {
		return snapshotError{err}
	}
	if err != nil {
		return err
	}
	// A client whose session could not be recovered may present the token of that
	// session, and has received more since.
	if o, err := adapter.ParseOffset(s.clientOffset); err == nil && o.Position > start.After {
		// An offset that the log does not have proves nothing, and the client keeps it until it is connected.
		received, err := server.logged(ctx, o)
		switch {
		case err != nil:
			return err
		case received:
			return snapshotError{ErrStale}
		}
	}
	s.start, s.startTimeline = &start, timeline
	return nil
}

// A snapshotError is an error of ResumeFrom that a retry does not resolve: middleware
// that returns it refuses the client.
type snapshotError struct{ error }

func (r snapshotError) Unwrap() []error {
	return []error{r.error, &Error{Code: CodeBadPayload, Message: "snapshot token: " + r.Error()}}
}
