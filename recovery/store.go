package recovery

import (
	"context"

	"github.com/pgsocket/socketio/adapter"
)

// A Store keeps sessions. Its methods may be called from any goroutine.
type Store interface { //nolint:interfacebloat // six: what becomes of a session
	// Bind attaches the node that will hold the sessions, once, before any
	// other call.
	Bind(Node) error

	// Admit returns nil when a change may be asked for, or the cause of ctx. The server
	// calls it before it changes a session, except for what the log demands: a store that
	// has too much to write waits here.
	Admit(ctx context.Context) error

	// Open makes a new session of this node durable. The session's Key is new,
	// and s the Store's from the call on. Like Change and End it does not block,
	// and comes before what is called later: who does not wait for the Outcome
	// calls End.
	Open(s *Session) *Outcome

	// Resume claims the session that the client names, or returns why not, see
	// the package comment; Refusal tells the reasons from failures. What it
	// refuses it does not touch. When ctx ends it may go on until what is under way
	// is decided, and then returns the session that it has claimed all the same: the
	// caller lets go of it, and tells the former holder. A
	// session without an identity is bound to that of the claim.
	Resume(ctx context.Context, c ResumeRequest) (*Session, error)

	// Change makes a change of a session durable. It does not block: the
	// changes and the ending of one session take effect in the order of the
	// calls, and the Outcome tells when, or ErrLost. A change whose ctx-bound
	// wait was given up is still made.
	Change(Key, Change) *Outcome

	// End lets go of a session, in order with the changes before it.
	End(Key, Release) *Outcome
}

// A Node is the server as its Store sees it.
type Node interface {
	// Checkpoint returns the node's position, and the standing of each session
	// whose standing changed since it was last returned. A session whose last
	// event lies after quiet is Busy, whatever its offset. The standings were
	// true at the position; the Store keeps them until they are written. With Anew
	// in the place of quiet, it returns the standings of all sessions, none of them
	// Busy: for a Store that may have lost what it had written.
	Checkpoint(quiet adapter.Position) (adapter.Position, []Progress)

	// Expired tells that a session ended because its client stayed away, or too
	// many did. In the whole cluster one node is told. It does not block.
	Expired(*Session)

	// Serving reports whether the node can be told of expired sessions. A node
	// that cannot, because it has been shut down, leaves them to others.
	Serving() bool
}

// All has [Node.Checkpoint] return the standings of all sessions.
const All adapter.Position = -1

// A Progress is how far the client of a session had come at a checkpoint.
type Progress struct {
	Key

	Busy bool           // events arrive: the offset is not worth writing down
	Last adapter.Offset // the last offset sent to the client; zero for none
}

// An Outcome is the result of a write, known later.
type Outcome struct {
	done chan struct{}
	err  error
}

// NewOutcome returns an Outcome without a result.
func NewOutcome() *Outcome { return &Outcome{done: make(chan struct{})} }

// Completed returns an Outcome with the given result.
func Completed(err error) *Outcome {
	o := NewOutcome()
	o.Complete(err)
	return o
}

// Complete makes the result known, once.
func (o *Outcome) Complete(err error) {
	o.err = err
	close(o.done)
}

// Done returns a channel that is closed when the result is known.
func (o *Outcome) Done() <-chan struct{} { return o.done }

// Wait returns the result, or the cause of ctx when that ends first.
func (o *Outcome) Wait(ctx context.Context) error {
	select {
	case <-o.done:
		return o.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
