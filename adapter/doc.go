// Package adapter is the contract between the nodes of a cluster: one log that
// every node appends to and every node reads in the same order.
//
// It relates to the server as database/sql/driver relates to database/sql. An
// application never calls it; it passes an implementation to the server
// ([Memory] for a single node, pgadapter.DB for a cluster on Postgres).
//
// # The log
//
// An [Envelope] is one emit: a namespace, an [Audience] and an encoded event.
// [Adapter.Publish] appends it to the log, which assigns it a [Position]. Every
// node, the publishing one included, receives every envelope through
// [Local.Deliver], in the order of the positions. A node does not deliver its
// own events early: if it sent its own event 12 to its sockets before it read
// event 11 of another node, a client would store the offset 12, and a client
// disconnected at that moment would never receive event 11.
//
// # What an adapter promises
//
//   - Order. Every node receives the same deliveries in the same order, each
//     exactly once, beginning after the offset that [Adapter.Bind] returned.
//     Envelopes published by one goroutine keep their order.
//   - Durability. A [Receipt] completes without an error only when the envelope
//     is in the log, as durable as the log is. An envelope whose Receipt
//     completes with an error is delivered at most once.
//   - Bounds. While the queue is full, Publish waits until its ctx ends, and
//     then fails; no envelope is dropped silently.
//   - Completeness. [Adapter.Read] yields a complete range of the log or an
//     error, never a range with a gap. If deliveries to a node cannot continue
//     without a gap, the adapter calls [Local.LogGap].
//
// # Offsets
//
// An [Offset] is a Position with check values that identify the log and the
// record it came from. The client receives it as an opaque string and returns
// it when it reconnects; the server verifies it against the log before use.
//
// The suite in adaptertest checks that an implementation keeps these promises.
package adapter
