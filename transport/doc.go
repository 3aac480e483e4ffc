// Package transport is an Engine.IO 4 server: it turns HTTP requests into
// sessions, and a [Session] is a full-duplex stream of text and binary messages
// with a heartbeat, whatever carries it. What the messages mean is the business
// of the layer above.
//
//	server, err := transport.NewServer(nil, func(s *transport.Session, r *http.Request) transport.Receiver {
//		return &conn{session: s} // its Message is called for every message of the peer
//	})
//	http.Handle("/engine.io/", server)
//
// Clients reach it over HTTP long-polling, over WebSocket, or over the one and then
// the other; see [HTTP]. What uses a session does not notice.
//
// # The life of a session
//
//	           request checked, hijacked if it is a WebSocket
//	                    │
//	                 opening      accept is called: the Receiver is attached,
//	                    │         then the handshake packet goes out
//	                  open        Message … Message
//	                    │
//	   ┌────────────────┼─────────────────────┐
//	 Close          the peer, an error,     Abort, a failed write,
//	 Shutdown       no PONG in time         a full queue
//	   │                │                     │
//	Closed           Closed                   │
//	   │                │                     │
//	flush queue      drop queue (*)        drop queue
//	   │                │                     │
//	close frame      close frame          drop connection
//	   │                │                     │
//	wait for the     wait for the           Closed
//	peer to leave    peer to leave            │
//	   └────────────────┼─────────────────────┘
//	                 forgotten
//
// (*) What was queued when the peer closed, or broke the protocol, may be the answer to
// what it sent before, and still goes out: before the close frame of a WebSocket, or with
// a poll that is open. The queue of a peer that is silent, or overlaps its requests, is
// dropped.
//
// A session that polls has no connection to close: the open poll is answered with a
// CLOSE packet, or the next one within two seconds after Close or Shutdown. What Close lets out leaves
// with polls, for WriteTimeout at most.
//
// The first of several endings wins and names the [Reason]; Closed is called
// exactly once, whatever happens at the same time.
//
// # The upgrade
//
//	polling ──WebSocket with the sid──▶ probing ──"2probe"──▶ probed ──"5"──▶ WebSocket
//	   ▲                                   │                     │
//	   └──────── closed, anything else, UpgradeTimeout ──────────┘
//
// While it is probed, polls are answered after 100 ms, so that the client can stop
// polling, and whatever is queued leaves with them. "5" waits for the answer that
// is being written and for the POST whose packets are being taken; then the
// WebSocket is the session's carrier for good. A session that is closed meanwhile
// may still send what is queued over the WebSocket.
//
// # Sending
//
// A [Message] is encoded once and shared by any number of sessions. Send never
// waits: it queues, and all that waits is written in one call. A few goroutines
// write for all WebSockets without waiting for any; a connection that does not take
// what it is given, or is no plain socket (TLS), gets a goroutine of its own until
// its queue is empty. What waits behind what is being written is bounded in messages
// and bytes; a peer that lets it fill up loses its session ([ReasonSlowConsumer]).
// Messages of any size reach a peer that reads: see [Options].QueueBytes.
// Messages of one Send stay together and leave in order. Heartbeats and pongs
// overtake the queue, so that a peer with a backlog is not taken for dead. Over
// polling there is no writer: a poll takes up to 64 KiB of the queue, or one larger
// message. Text with a record separator (0x1E) cannot be sent in a payload; it ends
// the session.
//
// # Receiving
//
// A receiver that cannot keep up pauses the reading ([Session.Pause]): TCP slows the
// peer down, or its POST is answered late, and nothing is dropped. The heartbeat goes
// on, and does not count the time in which nothing is read.
//
// # What runs concurrently
//
//   - Two goroutines at most per WebSocket: a reader always, a writer of its own
//     while its connection does not take what is queued. A polling session has those
//     of its requests, one for an upgrade, and one for its end. Per server, one turns
//     the heartbeat's wheel, and up to GOMAXPROCS write while there is something to.
//   - Receiver methods are called one at a time.
//   - Every exported method may be called from any goroutine, also from within
//     a Receiver.
//   - After Shutdown returns, no goroutine of the server runs. Requests may still
//     be about to return.
//
// # Where we differ from the official server
//
//   - A CLOSE packet on a WebSocket ends the session at once ([ReasonTransportClose]);
//     the official server waits for the ping timeout.
//   - A WebSocket request with the sid of a session that has one, or is upgrading,
//     is refused with code 3; the official server accepts and closes it.
//   - A PONG that nobody asked for does not postpone the next PING.
//   - RFC 6455 violations are named in the close frame: 1002, 1007, 1009. Other
//     endings send a close frame without a code, as the official server does.
//   - A WebSocket of a page of another origin is refused unless [Options].Origins
//     allows it.
//   - The text of an AllowRequest error is not for the client, except of a
//     [ForbiddenError].
package transport
