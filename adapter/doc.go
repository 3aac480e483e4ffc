// Package adapter is the contract between the nodes of a cluster: one log that
// every node appends to and every node reads in the same order.
//
// It stands to the server as database/sql/driver stands to database/sql. An
// application never calls it; it passes an implementation to the server
// ([Memory] for a single node, pgadapter.DB for a cluster on Postgres).
//
// # The log
//
// An [Envelope] is what one emit puts on the road: a namespace, an [Audience]
// and an encoded event. [Adapter.Publish] appends it to the log, where it gets
// a [Position]. Every node, the publishing one included, receives every
// envelope through [Local.Deliver], in the order of the positions. There is no
// local short cut: a node that handed its own event 12 to its sockets before it
// had read event 11 of another node would give a client the offset 12, and a
// connection lost at that moment would lose event 11 for good.
//
// # What an adapter promises
//
//   - One order. Deliveries reach every node in the same order, each once, with
//     none left out after the position that [Adapter.Bind] returned. What one
//     goroutine publishes keeps its order.
//   - An answer. A [Receipt] settles with nil only when the envelope is in the
//     log, as durable as the log is. An envelope whose Receipt settles with an
//     error is delivered at most once.
//   - Bounds. A full queue makes Publish wait for as long as its ctx allows,
//     and then fail; nothing is dropped silently.
//   - Truth. [Adapter.Read] yields a complete range of the log or an error,
//     never a range with a hole. A node that cannot continue its deliveries
//     without a hole is told so by [Local.Reset].
//
// # Offsets
//
// An [Offset] is a Position together with the proof of which log, and which
// record in it, the position came from. It travels to the client as an opaque
// string, comes back when the client reconnects, and is believed only as far as
// the log confirms it.
//
// The suite in adaptertest holds every implementation to these promises.
package adapter
