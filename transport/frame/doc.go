// Package frame turns Engine.IO 4 packets into bytes and bytes into packets.
//
// It knows the two shapes a packet has on the wire and nothing about the
// connections that carry them: no network, no clock, no goroutine, only the
// standard library.
//
// # One packet
//
// A text packet is a type digit followed by its data. It fills one text frame
// of a WebSocket, or one place in a polling payload.
//
//	0{"sid":"…"}   OPEN      server → client, once, first
//	1              CLOSE     either side gives up the transport
//	2  2probe      PING      server → client; "2probe" the other way, in an upgrade
//	3  3probe      PONG      client → server; "3probe" the other way, in an upgrade
//	4…             MESSAGE   what the layer above has to say
//	5              UPGRADE   client → server, ends an upgrade
//	6              NOOP      server → client, ends a poll that has nothing to tell
//
// A binary packet is always a MESSAGE. On a WebSocket it is a binary frame that
// holds the data and no type, and nothing is to be encoded; or, for clients that
// ask for it, a text frame as it has a place in a payload.
//
// # A payload
//
// Long-polling sends several packets in one HTTP body. They are joined by the
// record separator 0x1E; a binary message is the letter b and its data in
// base64, in both directions: padded and of the standard alphabet as it is
// written, and as lenient as in Node when it is read.
//
//	4hello 0x1E bAQIDBA== 0x1E 2
//
// The separator cannot be escaped. AppendPayload therefore refuses text that
// contains it; JSON, which writes control characters as \u001e, never does.
//
// # Promises
//
//   - Parse(Append(nil, p)) yields p, and so does a payload with each of its packets.
//   - No input panics.
//   - Nothing is allocated for text; base64 takes three quarters of its input.
//   - What Parse and Payload yield aliases the input, except decoded base64.
package frame
