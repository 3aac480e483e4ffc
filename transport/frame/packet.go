package frame

import "errors"

// Type is the type of a packet: the first digit on the wire.
type Type byte

// The packet types of Engine.IO 4.
const (
	Open    Type = '0'
	Close   Type = '1'
	Ping    Type = '2'
	Pong    Type = '3'
	Message Type = '4'
	Upgrade Type = '5'
	Noop    Type = '6'
)

// Errors of the parser. Each means that the peer violates Engine.IO 4.
var (
	ErrEmpty = errors.New("engine.io packet is empty")
	ErrType  = errors.New("engine.io packet has an unknown type")
)

// String returns the protocol's name of the type.
func (t Type) String() string {
	switch t {
	case Open:
		return "open"
	case Close:
		return "close"
	case Ping:
		return "ping"
	case Pong:
		return "pong"
	case Message:
		return "message"
	case Upgrade:
		return "upgrade"
	case Noop:
		return "noop"
	default:
		return "unknown"
	}
}

// Packet is one Engine.IO packet. Binary is true only for a MESSAGE whose data
// are bytes rather than text.
type Packet struct {
	Type   Type
	Binary bool
	Data   []byte
}

// Append appends a text packet to dst: the type digit, then the data.
func Append(dst []byte, t Type, data []byte) []byte {
	return append(append(dst, byte(t)), data...)
}

// Parse parses the packet in text: a text packet, whose data alias text, or a binary
// one in base64.
func Parse(text []byte) (Packet, error) {
	if len(text) == 0 {
		return Packet{}, ErrEmpty
	}
	if text[0] == binaryPrefix {
		return Packet{Type: Message, Binary: true, Data: decodeBase64(text[1:])}, nil
	}

	t := Type(text[0])
	if t < Open || t > Noop {
		return Packet{}, ErrType
	}

	return Packet{Type: t, Data: text[1:]}, nil
}
