package packet

import "bytes"

// A Parser is an alternative encoding of packets, such as MessagePack. Client and
// server must be configured with the same one: the protocol does not negotiate it.
//
// A [Packet] is the same with every Parser: JSON with placeholders, and their
// attachments.
type Parser interface {
	// Encode returns the messages of a packet, in the order in which they are
	// sent. It must not change the packet, and may be called from any goroutine. The
	// deliveries of the node wait for Encode. It may call the server, but a call that
	// waits for deliveries, such as Socket.Join, waits until its ctx ends.
	Encode(p *Packet) ([]Message, error)

	// NewDecoder returns the decoder of one connection.
	NewDecoder(l Limits) MessageDecoder
}

// A MessageDecoder decodes the messages of one connection and keeps the promises of a
// [Decoder]: the form of a returned packet is valid, a packet shares no memory with the
// message, the memory that the decoder keeps is bounded by the limits, and after an error
// the connection is to be closed.
type MessageDecoder interface {
	// Decode returns the packet that the message completes, or nil.
	Decode(data []byte, binary bool) (*Packet, error)
}

// A Message is one message of the transport.
type Message struct {
	Data   []byte
	Binary bool
}

// AppendArgs appends the arguments of an event to dst, with the offset as an
// additional argument, as [AppendEvent] does.
func AppendArgs(dst, args []byte, offset string) []byte {
	if offset == "" {
		return append(dst, args...)
	}
	dst = append(dst, bytes.TrimSuffix(args, []byte("]"))...)
	dst = append(dst, `,"`...)
	dst = append(dst, offset...)
	return append(dst, `"]`...)
}
