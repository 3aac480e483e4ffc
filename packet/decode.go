package packet

import (
	"fmt"
	"unicode/utf8"
)

// Limits bound the cost of one packet. A field that is zero or less means its
// default.
type Limits struct {
	// MaxAttachments is the greatest number of attachments of one packet.
	// The official server and clients have the same default. It applies to
	// received packets only; a client may accept more than the server.
	// Default: 10.
	MaxAttachments int

	// MaxNamespace is the greatest length of a namespace, in bytes. Namespaces
	// become map keys and log attributes before the server has checked that
	// they exist.
	// Default: 1024.
	MaxNamespace int

	// MaxDepth is how deep the JSON may nest; the array of arguments is the
	// first level. Decoders of JSON recurse, and ten thousand levels, which
	// encoding/json allows, take megabytes of stack from 20 kB of text.
	// Default: 128.
	MaxDepth int

	// MaxArguments is the greatest number of arguments of an event or an
	// acknowledgement, including the name of the event. Each takes a slice header
	// for as few as two bytes of text. JavaScript passes arguments on the stack,
	// and fails beyond about 120,000.
	// Default: 65,536.
	MaxArguments int

	// MaxPacketBytes bounds a binary packet in bytes: its text and all its
	// attachments, which are buffered until the last one arrives. It does not apply
	// to packets without attachments. The default allows ten attachments and a text
	// of 1 MB each; raise it together with the transport's limit for one message.
	// Default: 16 MiB.
	MaxPacketBytes int
}

// WithDefaults returns the limits with the default of each field that is zero or less.
func (l Limits) WithDefaults() Limits {
	return Limits{
		MaxAttachments: positive(l.MaxAttachments, 10),
		MaxNamespace:   positive(l.MaxNamespace, 1024),
		MaxDepth:       positive(l.MaxDepth, 128),
		MaxArguments:   positive(l.MaxArguments, 1<<16),
		MaxPacketBytes: positive(l.MaxPacketBytes, 16<<20),
	}
}

func positive(value, fallback int) int {
	if value > 0 {
		return value
	}
	return fallback
}

// Decoder decodes the messages of one connection. The zero Decoder is ready to use,
// with the default limits. It is not safe for concurrent use.
//
// After an error the decoder drops the current packet and is ready for the next, but
// the peer violates the protocol and should be disconnected.
type Decoder struct {
	limits    Limits
	gathering *gathering // the packet that waits for attachments, usually nil
}

// NewDecoder returns a decoder with these limits.
func NewDecoder(l Limits) Decoder { return Decoder{limits: l} }

// Text decodes a text message. It returns the packet, or nil and no error if the
// packet waits for attachments.
//
// Text does not keep b. The caller owns the packet.
func (d *Decoder) Text(b []byte) (*Packet, error) {
	if d.gathering != nil {
		missing := d.gathering.missing
		d.gathering = nil
		return nil, fmt.Errorf("%w: %d still awaited", ErrUnexpectedText, missing)
	}
	if !utf8.Valid(b) {
		return nil, ErrUTF8
	}
	limits := d.limits.WithDefaults()
	r := reader{text: b, limits: limits}
	h, err := r.header()
	if err != nil {
		return nil, err
	}
	body, err := r.body(h)
	if err != nil {
		return nil, err
	}
	p := h.packet(body)
	if !p.Type.binary() {
		return p, nil
	}
	if len(b) > limits.MaxPacketBytes {
		return nil, fmt.Errorf("%w: text of a binary packet over %d bytes", ErrLimit, limits.MaxPacketBytes)
	}
	d.gathering = &gathering{packet: p, missing: h.attachments, room: limits.MaxPacketBytes - len(b)}
	return nil, nil
}

// Binary decodes a binary message, the next attachment. It returns the packet if
// the attachment is the last one, and nil otherwise.
//
// Binary does not keep b. The caller owns the packet.
func (d *Decoder) Binary(b []byte) (*Packet, error) {
	if d.gathering == nil {
		return nil, ErrUnexpectedBinary
	}
	if err := d.gathering.add(b); err != nil {
		d.gathering = nil
		return nil, err
	}
	if d.gathering.missing > 0 {
		return nil, nil
	}
	p := d.gathering.packet
	d.gathering = nil
	return p, nil
}
