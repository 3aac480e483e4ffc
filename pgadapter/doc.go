// Package pgadapter uses Postgres as the event log, the notification channel and
// the session store of a cluster of servers.
//
//	err := migrations.Up(ctx, dsn, nil)
//	db, err := pgadapter.Open(ctx, dsn, nil)
//	defer db.Close(ctx)
//
// A [DB] is the adapter.Adapter of one node, and its [DB.Sessions] is the
// recovery.Store of that node.
//
// # Data flow of an event
//
//	Publish ─► pending batch ─► append: lock, id, insert, notify, commit      one round trip
//	                                         │
//	         every node's tail: notification ◄┘  contains the batch if it is small
//	                                  │ batch follows the cursor: deliver it
//	                                  └ else: read the table after the cursor, deliver
//
// While one batch is in flight, the next one collects events. Only events that no
// caller waits for are delayed to share a batch, see Options.Linger. A batch that
// concerns only sockets of its own node sends no notification, see
// adapter.Envelope.LocalOnly. Notifications are hints: the tail reads the table after
// every LISTEN, and at least once every Options.PollInterval.
//
// # Invariants
//
//  1. Batches commit in the order of their ids: append takes its lock before it
//     takes an id, and holds the lock until the commit. So no batch ever appears
//     behind a cursor that has moved on.
//  2. A batch is in the log at most once. Its name is the publisher and a sequence
//     number, append looks for the name before it inserts, and a node never has two
//     batches in flight. So a batch without an answer can be sent again.
//  3. The tail delivers a batch only if no other batch can lie between it and the
//     cursor, and moves the cursor only when it delivers.
//  4. Each read of the table returns, from the same snapshot, the position up to which
//     the table is trimmed, so a range with a gap is never taken for a complete one.
//     This is why connections must run at the isolation level read committed.
//  5. Each read of the table checks that the batch at the cursor is still the one
//     that was delivered. If it is not, the database lost the end of the log, and the
//     tail goes back to the last batch that both have.
//  6. A node delivers only while its lease is valid: other nodes take over its sessions
//     no earlier than one lease after the last heartbeat that was confirmed. A node
//     that was frozen finds its row gone, resets its server, and registers again
//     without sessions.
//  7. A node is declared dead by a node that has observed its row without a break
//     for the length of a lease. An outage of Postgres is such a break, so an outage
//     never makes a node dead.
//  8. A session is written only by the node that owns it, in the epoch of that
//     ownership, and never with a position that the log does not have. The transaction
//     that writes checks both.
//  9. A checkpoint counts for a session only if the session was part of a checkpoint
//     in the same epoch. For a session that was claimed and is not attached yet, only what
//     was proven before the claim holds.
//  10. Row locks are taken in one order: the node, its sessions by pid_hash, the rest.
//  11. Any role of the database can LISTEN, NOTIFY and take advisory locks. So the frame
//     in a notification is sealed and bound to its position, a notification without a
//     seal only triggers a read of the log, and all locks are locks of tables. Private
//     ids and identities never reach Postgres, see recovery.HashPID and HashIdentity.
//
// # When Postgres is unavailable
//
// Nodes stay up and clients stay connected. Published events wait in a bounded
// queue; when it is full, Publish waits until its ctx ends and then fails. Writes of
// sessions and Resume wait too, until their ctx ends. All connections are opened
// again with a backoff of up to two seconds. A batch in flight is sent again until it
// is answered, so its receipt has the true outcome; after half of Options.Retention
// the publisher gives up, with ErrUnanswered.
//
// If Postgres returns with a shorter log (a standby that lagged was promoted, or a
// crash with synchronous_commit off), nodes continue from the last batch that is
// left, see invariant 5. Clients with a later offset are refused as ahead of the log
// or as on another timeline.
//
// # Poolers
//
// All connections except the one that listens may use a transaction-mode pooler; set
// Options.ListenDSN to the direct address of Postgres, or set Options.PollOnly. Add
// default_query_exec_mode=exec to the address if the pooler does not support prepared
// statements.
//
// # Connections
//
// A node has two dedicated connections and a pool of up to Options.MaxConns. [New] makes
// them as a pool of the application makes its own, with its TLS, DialFunc, tracer and hooks,
// and takes none of its connections.
//
// # Load on Postgres
//
// An idle node runs fewer than two statements a second.
package pgadapter
