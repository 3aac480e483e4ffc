package packet

import "bytes"

// A Parser is another form for packets to travel in than the one of this
// package, such as MessagePack. Client and server must agree on it beforehand:
// nothing on the wire tells which it is.
//
// Whatever the form, a [Packet] is the same: JSON with placeholders, and the
// attachments that they stand for.
type Parser interface {
	// Encode returns the messages of a packet, in the order in which they are
	// sent. The packet is only read, and may be of any goroutine's making. The
	// deliveries of the node wait for Encode: it may call the server, but what
	// waits for deliveries, such as Socket.Join, waits until its ctx ends.
	Encode(p *Packet) ([]Message, error)

	// NewDecoder returns the decoder of one connection.
	NewDecoder(l Limits) MessageDecoder
}

// A MessageDecoder turns the messages of one connection into packets, and keeps
// the promises of a [Decoder]: what it returns needs no further check of form
// and shares no memory with the message, what it holds is bounded by the limits,
// and an error means that the connection is to be closed.
type MessageDecoder interface {
	// Decode returns the packet that the message completes, or nil.
	Decode(data []byte, binary bool) (*Packet, error)
}

// A Message is one message of the transport.
type Message struct {
	Data   []byte
	Binary bool
}

// AppendArgs appends the arguments of an event to dst, with the offset as one
// more, as [AppendEvent] does.
func AppendArgs(dst, args []byte, offset string) []byte {
	if offset == "" {
		return append(dst, args...)
	}
	dst = append(dst, bytes.TrimSuffix(args, []byte("]"))...)
	dst = append(dst, `,"`...)
	dst = append(dst, offset...)
	return append(dst, `"]`...)
}
