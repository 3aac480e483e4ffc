// Package recovery keeps what outlives a lost connection: the sessions that
// clients may come back to, and the proof that nothing is missing when they do.
//
// # A session
//
// A [Session] is what a client can return to: its private id, its socket id,
// its namespace, the rooms with the positions at which they were joined and
// left, and its data. It is in the [Store] before the client hears of it, and
// every change of its rooms and data is in the Store before the application
// hears that the change was made. A node that is killed therefore leaves
// complete sessions behind.
//
// Rooms are intervals: a record at position p addresses the session if its
// audience matches the rooms held at p ([Session.Matches]). That makes a
// replay exact in both directions, without asking what the node did.
//
// # Secrets
//
// The private id is all that a client needs to come back, so a [Store] is given
// its hash only ([HashPID]): nothing that can be read in a database, in a log or in
// a notification brings anybody into a session. A session that is bound to an
// identity ([Session.Identity]) is given to no client of another one, whatever
// private id it has.
//
// # Coming back
//
// A client returns with its private id, its identity and the offset of the last event that it
// processed. [Store.Resume] claims the session for the asking node, in one
// step, whoever holds it: it raises the session's epoch, so that whatever the
// former holder still writes is refused. It claims nothing unless continuity is
// proven:
//
//	the client's offset                     replay starts
//	─────────────────────────────────────   ──────────────────────────────────
//	none, or the one it came with when      where the session was opened
//	the session was opened
//	a record that the log still has         after that record
//	trimmed, but the last event ever        where the record of that fact
//	addressed to the session, as recorded   reaches to
//	anything else                           not at all: the reason is an error
//
// The second line of the table needs the record's check value to agree; a
// client that is ahead of the log, or of another log, is refused. The offset
// that a client came with is remembered because official clients keep the
// offset of the old session until the first event of the new one: equal to it
// means "nothing of this session was processed".
//
// The third line is for quiet clients. A node tells its Store at intervals how
// far its sessions have come ([Node.Checkpoint]): the last offset of those that
// have gone quiet, written once, and the position at which it was true. After a
// checkpoint at position c nothing lies between a quiet session's last event
// and c, for every session of the node at once; so the checkpoint costs nothing
// for the sessions that stayed quiet. What a claim has proven is kept until a later
// one proves something else, so that a client may be cut off any number of times
// before it has processed anything.
//
// A refusal is one of the errors of this package, and its text is the reason
// that logs, metrics and the application see.
package recovery
