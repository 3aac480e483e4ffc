// Package recovery keeps sessions beyond the loss of a connection, and checks
// when a client resumes one that every missed event can be replayed.
//
// # Sessions
//
// A [Session] has a private id, a socket id, a namespace, the rooms with the
// positions at which they were joined and left, and data. It is in the [Store]
// before the client receives its ids, and every change of its rooms and data is
// in the Store before the application receives the result of the change. A node
// that is killed therefore leaves complete sessions.
//
// Rooms are intervals: the audience of a record at position p includes the
// session if it matches the rooms that the session was in at p
// ([Session.Matches]). A replay therefore contains exactly the events addressed
// to the session, independent of what its former node delivered.
//
// # Secrets
//
// The private id is a bearer secret: it is all that a client needs to resume. A
// [Store] receives only its hash ([HashPID]), so that the contents of a database,
// a log or a notification do not allow resuming a session. A session that is
// bound to an identity ([Session.Identity]) is never resumed by a client with
// another identity, even with the right private id.
//
// # Resuming
//
// A client presents its private id, its identity and the offset of the last event that it
// processed. [Store.Resume] claims the session for the calling node in one atomic
// step, even if another node owns it: it increments the session's epoch, so that
// later writes of the former owner are refused. It claims the session only if
// continuity is proven:
//
//	the client's offset                     replay starts
//	─────────────────────────────────────   ──────────────────────────────────
//	none, or the one it presented when      where the session was opened
//	the session was opened
//	a record that the log still has         after that record
//	trimmed, but the last event addressed   after the position that a
//	to the session, by a checkpoint         checkpoint covers
//	anything else                           no replay: an error with the reason
//
// The second row requires the record's check value to match; a client with an
// offset ahead of the log, or of another log, is refused. The store keeps the
// offset that the client presented when the session was opened
// ([Session.InitialOffset]), because official clients keep the offset of the old
// session until the first event of the new one: that offset means "no event of
// this session was processed".
//
// The third row is for sessions without recent events. A Store periodically asks
// its node for the progress of the sessions ([Node.Checkpoint]): the last offset
// of each session that has become quiet, written once, and the position at which
// it was true. After a checkpoint at position c, no event for a quiet session lies
// between its last event and c. The position is shared by all sessions of the
// node, so that a checkpoint writes nothing for sessions that stayed quiet. The
// result of a successful check is kept until the next one replaces it, so that a
// client may lose its connection any number of times before it processes an event.
//
// A refusal is one of the errors of this package. Its text is the reason that
// logs, metrics and the application receive.
package recovery
