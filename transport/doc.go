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
// WebSocket is the one transport so far. A client that asks for long-polling is
// answered with code 0, "Transport unknown".
//
// # The life of a session
//
//	           request checked, upgraded
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
//	flush queue      drop queue            drop queue
//	   │                │                     │
//	close frame      close frame          drop connection
//	   │                │                     │
//	wait for the     wait for the           Closed
//	peer to leave    peer to leave            │
//	   └────────────────┼─────────────────────┘
//	                 forgotten
//
// The first of several endings wins and names the [Reason]; Closed is called
// exactly once, whatever happens at the same time.
//
// # Sending
//
// A [Message] is encoded once and shared by any number of sessions. Send never
// waits: it queues, and a writer goroutine that lives only while something is
// queued writes all that waits in one call. The queue is bounded in messages and
// bytes; a peer that lets it fill up loses its session ([ReasonSlowConsumer]).
// Messages of one Send stay together and leave in order. Heartbeats and pongs
// overtake the queue, so that a peer with a backlog is not taken for dead.
//
// # What runs concurrently
//
//   - Two goroutines at most per session: a reader always, a writer while there
//     is something to write. One more per server turns the heartbeat's wheel.
//   - Receiver methods are called by the session's reader, one at a time.
//   - Every exported method may be called from any goroutine, also from within
//     a Receiver.
//   - After Shutdown returns, no goroutine of the server runs.
//
// # Where we differ from the official server
//
//   - A CLOSE packet on a WebSocket ends the session at once ([ReasonTransportClose]);
//     the official server waits for the ping timeout.
//   - A WebSocket request with the sid of a live session is refused with code 3;
//     the official server accepts and closes it.
//   - A PONG that nobody asked for does not postpone the next PING.
//   - RFC 6455 violations are named in the close frame: 1002, 1007, 1009. Other
//     endings send a close frame without a code, as the official server does.
package transport
