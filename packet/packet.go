package packet

import "fmt"

// Type is the type of a packet: its first digit on the wire.
type Type byte

// The types of revision 5 of the protocol.
const (
	Connect Type = iota
	Disconnect
	Event
	Ack
	ConnectError
	BinaryEvent
	BinaryAck
)

// String returns the protocol's name of the type.
func (t Type) String() string {
	switch t {
	case Connect:
		return "CONNECT"
	case Disconnect:
		return "DISCONNECT"
	case Event:
		return "EVENT"
	case Ack:
		return "ACK"
	case ConnectError:
		return "CONNECT_ERROR"
	case BinaryEvent:
		return "BINARY_EVENT"
	case BinaryAck:
		return "BINARY_ACK"
	}
	return fmt.Sprintf("Type(%d)", byte(t))
}

// carrying returns the type on the wire of a packet with that many attachments: an
// event with attachments is a BINARY_EVENT, one without is an EVENT.
func (t Type) carrying(attachments int) Type {
	switch {
	case t == Event && attachments > 0:
		return BinaryEvent
	case t == Ack && attachments > 0:
		return BinaryAck
	case t == BinaryEvent && attachments == 0:
		return Event
	case t == BinaryAck && attachments == 0:
		return Ack
	}
	return t
}

// binary reports whether packets of the type are followed by attachments.
func (t Type) binary() bool { return t == BinaryEvent || t == BinaryAck }

// named reports whether the first item of the body is the name of an event.
func (t Type) named() bool { return t == Event || t == BinaryEvent }

// Packet is one Socket.IO packet, with its attachments.
type Packet struct {
	Type Type

	// Namespace is "/" if the text has none. A decoded one begins with a slash and
	// may otherwise contain any characters, including quotes, spaces and control
	// characters.
	Namespace string

	// ID is the ack id, at most 2^53-1. It is valid only if HasID. An ack without an
	// id acknowledges no event.
	ID    uint64
	HasID bool

	// Data is JSON: an array for events and acks, whose first element is the
	// name in an event; an object or nothing for CONNECT; nothing for
	// DISCONNECT; an object or a string for CONNECT_ERROR. In a decoded packet it
	// has no white space at either end, and is nil if the packet has no data, which
	// the official parser accepts for every type.
	Data []byte

	// Attachments are the binary data of the placeholders in Data, by number.
	// Decoded packets have them for BinaryEvent and BinaryAck only.
	Attachments [][]byte
}
