// Package frame encodes and decodes Engine.IO 4 packets.
//
// It implements the two forms of a packet on the wire. It uses no network, clock or
// goroutine, and only the standard library.
//
// # One packet
//
// A text packet is a type digit followed by its data. It is one text frame of a
// WebSocket, or one element of a polling payload.
//
//	0{"sid":"…"}   OPEN      server → client, once, first
//	1              CLOSE     either side closes the transport
//	2  2probe      PING      server → client; "2probe" the other way, in an upgrade
//	3  3probe      PONG      client → server; "3probe" the other way, in an upgrade
//	4…             MESSAGE   data of the layer above
//	5              UPGRADE   client → server, ends an upgrade
//	6              NOOP      server → client, ends a poll without data
//
// A binary packet is always a MESSAGE. On a WebSocket it is a binary frame with the
// data and without a type; or, for clients that ask for it, a text frame in the form
// of a payload.
//
// # A payload
//
// Long-polling sends several packets in one HTTP body. They are joined by the
// record separator 0x1E; a binary message is the letter b and its data in
// base64, in both directions. It is written with padding in the standard alphabet,
// and read as leniently as in Node.
//
//	4hello 0x1E bAQIDBA== 0x1E 2
//
// The separator cannot be escaped. AppendPayload therefore refuses text that
// contains it; JSON, which writes control characters as \u001e, never does.
//
// # Promises
//
//   - Parse(Append(nil, p)) returns p, and Payload yields the packets of AppendPayload.
//   - No input causes a panic.
//   - Text needs no allocation; base64 allocates three quarters of its input.
//   - The data of a packet aliases the input, except decoded base64.
package frame
