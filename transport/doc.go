// Package transport is an Engine.IO 4 server: it turns HTTP requests into
// sessions. A [Session] is a full-duplex stream of text and binary messages with
// a heartbeat, over any transport. The layer above interprets the messages.
//
//	server, err := transport.NewServer(nil, func(s *transport.Session, r *http.Request) transport.Receiver {
//		return &conn{session: s} // its Message method receives every message of the peer
//	})
//	http.Handle("/engine.io/", server)
//
// Clients connect over HTTP long-polling, over WebSocket, or over polling and then
// WebSocket; see [HTTP]. The transport makes no difference to a user of a session.
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
//	peer to close    peer to close            │
//	   └────────────────┼─────────────────────┘
//	                 removed
//
// (*) If the peer closed the session or violated the protocol, messages that are queued
// then may be responses to its earlier messages. They are still sent: before the close
// frame of a WebSocket, or with the open poll. The queue is dropped if the peer timed
// out or overlapped its requests.
//
// A polling session has no connection to close: the open poll, or the next one within
// two seconds after Close or Shutdown, is answered with a CLOSE packet. After Close,
// polls take the queued messages for WriteTimeout at most.
//
// If a session ends for several reasons at once, the first one is the [Reason]. Closed
// is called exactly once.
//
// # The upgrade
//
//	polling ──WebSocket with the sid──▶ probing ──"2probe"──▶ probed ──"5"──▶ WebSocket
//	   ▲                                   │                     │
//	   └──────── closed, anything else, UpgradeTimeout ──────────┘
//
// While a session is probed, polls are answered after 100 ms, so that the client can
// stop polling; they take the queued messages. After "5" the server waits until the
// current poll answer is written and the current POST is processed; then the WebSocket
// is the session's transport until the end. A session that is closed meanwhile may
// still send queued messages over the WebSocket.
//
// # Sending
//
// A [Message] is encoded once and shared by any number of sessions. Send never
// blocks: it queues messages, and one write takes all of them. A pool of goroutines
// writes for all WebSockets with nonblocking writes. A connection whose socket buffer
// is full, or that is not a plain socket (TLS), gets its own writer goroutine until
// its queue is empty. The queue is bounded in messages and bytes; if it is full, the
// session ends with [ReasonSlowConsumer]. A peer that reads can receive messages of
// any size: see [Options].QueueBytes. Messages of one Send stay together and in order.
// PINGs and pongs overtake the queue, so that a peer with a backlog does not time out.
// A polling session has no writer: a poll takes up to 64 KiB of the queue, or one
// larger message. Text with a record separator (0x1E) cannot be sent in a payload; it
// ends the session.
//
// # Receiving
//
// A receiver that cannot keep up pauses reading ([Session.Pause]): TCP flow control
// slows the peer down, or its POST is answered late, and no message is dropped. The
// heartbeat continues, and does not count the time while reading is paused.
//
// # Concurrency
//
//   - A WebSocket has a reader goroutine, and a writer goroutine while its socket
//     buffer is full. A polling session has the goroutines of its requests, one for
//     an upgrade, and one for its end. A server has one goroutine for the heartbeat,
//     and up to GOMAXPROCS that write while messages are queued.
//   - Receiver methods are called one at a time.
//   - Every exported method may be called from any goroutine, including from a
//     Receiver.
//   - After Shutdown returns, no goroutine of the server runs. ServeHTTP may still
//     be about to return.
//
// # Differences from the official server
//
//   - A CLOSE packet on a WebSocket ends the session at once ([ReasonTransportClose]);
//     the official server waits for the ping timeout.
//   - A WebSocket request with the sid of a session that has one, or is upgrading,
//     is refused with code 3; the official server accepts and closes it.
//   - An unsolicited PONG does not postpone the next PING.
//   - The close frame after an RFC 6455 violation has a code: 1002, 1007 or 1009.
//     Other close frames have no code, as in the official server.
//   - A WebSocket from a page of another origin is refused unless [Options].Origins
//     allows it.
//   - The text of an AllowRequest error is not sent to the client, except that of a
//     [ForbiddenError].
package transport
