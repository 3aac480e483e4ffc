package socketio

import (
	"context"
	"errors"

	"github.com/pgsocket/socketio/adapter"
)

var errNoSnapshots = errors.New("Follow needs Recovery.Snapshots")

var errNoMiddleware = errors.New("Follow is for gates, of a server with recovery and a client that does not opt out")

// ResumeFrom makes a new session begin where the application read its state, rather
// than now: the client gets every event that is addressed to it and that the state
// does not show, and none that it shows. Call it in a gate, beside joining the
// rooms in question: the session counts as being in them from the bookmark on.
//
// The bookmark was made together with the state, with Postgres by the function
// bookmark in the query that read it, and went to the client with the state. It is
// not secret and not signed: a client that makes one up sees of its rooms what the
// log still has, at most.
//
// Follow needs Recovery.Snapshots. A socket that cannot come back, see Recovery.OptOut,
// has no session, and Follow fails. For a socket that was recovered Follow does nothing: its client has gone on from
// the bookmark. The errors are ErrSnapshot, ErrTrimmed and ErrStale, for which the
// application reads its state again, or what kept the log from answering. A gate
// should return any of them, or an *Error of its own: the first three are an *Error
// with CodeBadPayload as well, which refuses the client.
func (s *Socket) ResumeFrom(ctx context.Context, bookmark string) error {
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
	branch := server.hub.currentTimeline()
	place, err := server.opts.Recovery.Snapshots.ResolveSnapshot(ctx, bookmark)
	if errors.Is(err, ErrSnapshot) || errors.Is(err, ErrTrimmed) {
		return snapshotError{err}
	}
	if err != nil {
		return err
	}
	// A client whose session could not be recovered may come with the bookmark
	// of that session, and has seen more since.
	if o, err := adapter.ParseOffset(s.clientOffset); err == nil && o.Position > place.After {
		return snapshotError{ErrStale}
	}
	s.start, s.startTimeline = &place, branch
	return nil
}

// A snapshotError is an error of Follow for which asking again would not help: a
// gate that returns it refuses the client.
type snapshotError struct{ error }

func (r snapshotError) Unwrap() []error { return []error{r.error, badPayload("bookmark", r.error)} }
