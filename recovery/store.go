package recovery

import (
	"context"
	"time"

	"github.com/pgsocket/socketio/adapter"
)

// A Store keeps sessions. Its methods may be called from any goroutine.
//
// A Store checks what clients present against the log, so it needs the number, the extent
// and the offsets of the log of the server's adapter. When the node that owns a session
// dies, the Store parks the session: its window begins, and it expires as others do.
type Store interface { //nolint:interfacebloat // the life of a session in six methods
	// Bind attaches the node that will own the sessions. It is called once, before
	// any other method. It has no ctx, because it only keeps the node: it asks no
	// database and does not wait.
	Bind(Node) error

	// Admit waits while the store has too many writes queued. It returns nil when a
	// change may be made, or the cause of ctx. The server calls it before it changes a
	// session, except for the changes that operations of the log require.
	Admit(ctx context.Context) error

	// Open stores a new session of this node durably. The session's Key is new. The
	// Store owns s from the call on. Like Change and End it does not block, and takes
	// effect before later calls for the session. A caller that does not wait for the
	// Receipt calls End.
	Open(s *Session) *adapter.Receipt

	// Resume claims the session that the client names, or returns the reason for the
	// refusal, see the package comment; RefusalReason separates reasons from failures.
	// A refused session is not changed. When ctx ends, Resume may still wait for an
	// attempt in progress and return the session that it claimed; the caller then
	// releases it and publishes SessionMoved for its former owner. A session without
	// an identity becomes bound to the identity of the request.
	Resume(ctx context.Context, c ResumeRequest) (*Session, error)

	// Change stores a change of a session durably. It does not block. The changes
	// and the release of one session take effect in the order of the calls. The
	// Receipt's error is ErrLost if the Key no longer owns the session. A change
	// takes effect even if the caller stops waiting for its Receipt.
	Change(Key, Change) *adapter.Receipt

	// End releases a session, after the changes before it.
	End(Key, Release) *adapter.Receipt
}

// A Retainer is a Store that knows for how long the events that its sessions refer to are kept
// at least. A server refuses a Recovery.Window of more than half of that: a session that went quiet
// shortly before its node was killed is covered by a checkpoint, which may be older than its
// client's absence.
type Retainer interface {
	Retention() time.Duration
}

// A Node is the server that a Store belongs to.
type Node interface {
	// Checkpoint returns the node's position, and the progress of each session whose
	// progress changed since it was last returned. A session with an event after since,
	// which is the position of the checkpoint before, is Busy. The progress was true at
	// the returned position; the Store keeps it until it is written. If since is All,
	// Checkpoint returns the progress of all sessions, none of them Busy, for a Store
	// that may have lost earlier writes.
	Checkpoint(since adapter.Position) (adapter.Position, []Progress)

	// Expired reports that a session ended because its client stayed away longer than
	// the window, or because too many sessions were parked. The Store calls it on one
	// node of the cluster. It does not block.
	Expired(*Session)

	// Serving reports whether Expired may be called. A node that has been shut down
	// returns false, and the Store leaves expired sessions to other nodes.
	Serving() bool
}

// All makes [Node.Checkpoint] return the progress of all sessions.
const All adapter.Position = -1

// A Progress is how far the client of a session had come at a checkpoint.
type Progress struct {
	Key

	Busy bool           // events arrive often: the offset need not be written
	Last adapter.Offset // the last offset sent to the client; zero for none
}
