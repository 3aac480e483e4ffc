// Package pgadapter makes Postgres the log, the bell and the memory of a cluster
// of servers.
//
//	err := migrations.Up(ctx, dsn, nil)
//	db, err := pgadapter.Open(ctx, dsn, nil)
//	defer db.Close(ctx)
//
// A [DB] is the adapter.Adapter of one node, and its [DB.Sessions] the
// recovery.Store beside it.
//
// # The road of an event
//
//	Publish ─► gathering batch ─► append: lock, id, insert, bell, commit      one round trip
//	                                         │
//	             every node's tail:  bell ◄──┘  the batch itself if it is small
//	                                  │ continues the cursor: deliver
//	                                  └ else: read the table after the cursor, deliver
//
// While one batch is on its way the next gathers. Only events that nobody waits for
// may wait for company, see Options.Linger; and a batch that concerns sockets of its
// own node alone rings no bell, see adapter.Envelope. The bell is a hint. The table
// is read after every LISTEN, and once a second besides.
//
// # Invariants
//
//  1. Batches commit in the order of their ids: append takes its lock before it
//     takes an id, and holds it until it has committed. So nothing ever appears
//     before a cursor that has moved on.
//  2. A batch is in the log once. It is named by the publisher and its number
//     there, append looks for the name before it inserts, and a node never has
//     two batches in flight. So a batch without an answer is simply sent again.
//  3. The tail delivers a batch only if nothing can lie between it and the
//     cursor, and moves the cursor only when it delivers.
//  4. Whoever reads the table learns in the same snapshot up to where it has been
//     trimmed, so no range with a hole passes for a complete one. This is why
//     connections have to run at the isolation level read committed.
//  5. Each look at the table checks that the batch behind the cursor is still the
//     one that was delivered. If it is not, the database lost the end of the log;
//     the tail goes back to the last batch that both have.
//  6. A node delivers only while its lease runs: others take its sessions no
//     earlier than a lease after the last heartbeat that it knows of. A node that
//     was frozen finds its row gone, resets its server, and begins another life
//     without sessions.
//  7. A node is declared dead by one that has looked at its row without a break
//     for the length of a lease. An outage of Postgres breaks it, and so kills
//     nobody.
//  8. A session is written only by the node and in the epoch that hold it; and no
//     position is written that this log does not have. Both are checked in the
//     transaction that writes.
//  9. What a checkpoint says counts for a session only if that session was part
//     of a checkpoint of the same tenure. A session that was claimed and is not
//     attached yet is covered no further than before the claim.
//  10. Row locks are taken in one order: the node, its sessions by pid_hash, the rest.
//  11. Any role of the database can LISTEN, NOTIFY and take advisory locks. So what comes
//     along with a bell is sealed and bound to its place, a bell without that is no more
//     than a reason to read the log, and the locks are those of tables. Neither a private
//     id nor an identity reaches Postgres, see recovery.HashPID and HashIdentity.
//
// # When Postgres goes away
//
// Nodes stay up and clients stay connected. What is published waits in a bounded
// queue; when that is full, Publish waits as its ctx allows and then fails.
// Writes of sessions wait too, as does Resume, as their ctx allows. Everything
// connects again by itself, with pauses of up to two seconds. A batch that was
// on its way is sent again until it is answered, so its receipt tells the truth
// in the end; after half of Options.Retention it is given up, with ErrUnanswered.
//
// When Postgres comes back with less than it had (a standby that lagged was
// promoted, or a crash with synchronous_commit off) nodes go on from what is
// left, see invariant 5, and clients that know more are refused as ahead of the
// log or of another branch of it.
//
// # Poolers
//
// Everything but the listening connection may go through a transaction-mode
// pooler; give the direct address as Options.ListenDSN, or set Options.PollOnly.
// Put default_query_exec_mode=exec into the address if the pooler does not know
// prepared statements.
//
// # Load on Postgres
//
// A node has two connections of its own and a pool of up to Options.MaxConns.
// An idle node runs fewer than two statements a second.
package pgadapter
