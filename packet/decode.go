package packet

import (
	"fmt"
	"unicode/utf8"
)

// Limits bound what one packet may cost. A field that is zero or less stands
// for its default.
type Limits struct {
	// MaxAttachments is the greatest number of attachments of one packet.
	// The official server and clients accept as many as the default; there,
	// too, it is a limit on what is received, so a client may send more.
	// Default: 10.
	MaxAttachments int

	// MaxNamespace is the greatest length of a namespace, in bytes. Namespaces
	// become keys of maps and words of log lines before anyone has agreed
	// that they exist.
	// Default: 1024.
	MaxNamespace int

	// MaxDepth is how deep the JSON may nest; the array of arguments is the
	// first level. Decoders of JSON recurse, and ten thousand levels, which
	// encoding/json allows, take megabytes of stack from 20 kB of text.
	// Default: 128.
	MaxDepth int

	// MaxArguments is the greatest number of arguments of an event or an
	// acknowledgement, the name of the event included. Each costs a slice header
	// for as few as two bytes of text. JavaScript, too, hands arguments to
	// functions on its stack, and fails beyond some 120,000.
	// Default: 65,536.
	MaxArguments int

	// MaxPacketBytes bounds a binary packet: its text and all its attachments
	// together, which are held until the last one arrives. Packets without
	// attachments are never held and are not subject to it. The default lets
	// through ten attachments and a text of 1 MB each; who raises the
	// transport's limit for one message will want to raise this.
	// Default: 16 MiB.
	MaxPacketBytes int
}

// WithDefaults returns the limits with their defaults in the place of what is
// zero or less.
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

// Decoder turns the messages of one connection into packets. The zero Decoder
// is ready to use, with the default limits. It is not safe for concurrent use:
// messages have an order.
//
// An error ends the packet it was found in and frees what was held of it. The
// decoder could go on, but the peer is broken and should be disconnected.
type Decoder struct {
	limits    Limits
	gathering *gathering // the packet whose attachments are awaited, usually nil
}

// NewDecoder returns a decoder with these limits.
func NewDecoder(l Limits) Decoder { return Decoder{limits: l} }

// Text takes a text message. It returns the packet, or nil and no error if the
// packet awaits attachments.
//
// b is not kept: the packet has its own memory and belongs to the caller.
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

// Binary takes a binary message: the next attachment. It returns the packet if
// this was the last, and otherwise nil.
//
// b is not kept: the packet has its own memory and belongs to the caller.
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
