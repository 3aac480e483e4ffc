package transport

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

const (
	// readBuffer is the size in bytes of the buffer that an idle connection keeps. A
	// payload that fits is returned in place; a larger one is read into a pooled buffer.
	readBuffer = 512
	// firstRead bounds the first allocation for a larger payload, in bytes. Further
	// allocations are at most twice the bytes that have arrived.
	firstRead = 4 << 10
)

// frameReader reads a client's WebSocket frames (RFC 6455) and assembles the messages.
// Its errors are *ending.
type frameReader struct {
	in      *bufio.Reader
	limit   int64
	deflate bool // permessage-deflate was negotiated
	pools   *pools
	session *Session // whose receiver counts fragments; nil during an upgrade
	budget  int      // the number of further frames that are accepted; 0 for any number

	op     ws.OpCode // of the message that is being assembled, 0 if there is none
	small  bool      // that message is compressed
	text   *buffer   // a decompressed message that was returned
	part   *buffer   // the received part of the message
	valid  int       // the length of the prefix of part that is valid UTF-8
	whole  bool      // part was returned
	peeked int       // the bytes of in that were returned
}

// next returns the next message (OpText or OpBinary) or control frame, which may
// be between the fragments of a message. The data are valid until the next call.
func (r *frameReader) next() (ws.OpCode, []byte, *ending) {
	r.release()

	for {
		h, err := r.header()
		if err != nil {
			return 0, nil, err
		}

		op, data, whole, err := r.payload(h)
		if err != nil {
			return 0, nil, err
		}
		if !whole {
			if err := r.session.meter(0); err != nil {
				return 0, nil, err
			}
			continue
		}

		if r.small && !op.IsControl() {
			r.small = false
			r.text = r.pools.buffer()
			if err := r.pools.inflate(r.text, data, r.limit); err != nil {
				return 0, nil, err
			}
			data = r.text.bytes
		}
		if op == ws.OpText && !utf8.Valid(data[r.valid:]) {
			return 0, nil, violation(ws.StatusInvalidFramePayloadData, errInvalidUTF8)
		}
		return op, data, nil
	}
}

// release frees the data that the last call returned.
func (r *frameReader) release() {
	if r.peeked > 0 {
		_, _ = r.in.Discard(r.peeked) // it was peeked, so it is there
		r.peeked = 0
	}
	if r.text != nil {
		r.pools.putBuffer(r.text)
		r.text = nil
	}
	if r.whole {
		r.pools.putBuffer(r.part)
		r.part, r.whole, r.valid = nil, false, 0
	}
}

func (r *frameReader) header() (ws.Header, *ending) {
	h, err := r.readHeader()
	if err != nil {
		return h, err
	}
	if r.budget > 0 {
		if r.budget--; r.budget == 0 {
			return h, violation(ws.StatusPolicyViolation, errFrames)
		}
	}

	state := ws.StateServerSide
	if r.op != 0 {
		state = state.Set(ws.StateFragmented)
	}
	if r.deflate {
		state = state.Set(ws.StateExtended)
	}
	if err := ws.CheckHeader(h, state); err != nil {
		return h, violation(ws.StatusProtocolError, err)
	}
	if h.Rsv2() || h.Rsv3() || h.Rsv1() && (h.OpCode.IsControl() || r.op != 0) {
		return h, violation(ws.StatusProtocolError, errReserved)
	}
	if h.OpCode.IsData() && r.op == 0 {
		r.small = h.Rsv1()
	}

	if !h.OpCode.IsControl() && h.Length > r.limit-r.have() {
		return h, violation(ws.StatusMessageTooBig, errMessageLimit)
	}
	return h, nil
}

// readHeader reads a header. A length in more bytes than necessary is a violation
// (RFC 6455, 5.2).
func (r *frameReader) readHeader() (h ws.Header, e *ending) {
	head, err := r.in.Peek(ws.MinHeaderSize)
	if err != nil {
		return h, lostRead(err)
	}
	h = ws.Header{
		Fin: head[0]&0x80 != 0, Rsv: head[0] & 0x70 >> 4, OpCode: ws.OpCode(head[0] & 0xf),
		Masked: head[1]&0x80 != 0, Length: int64(head[1] & 0x7f),
	}

	size, least := ws.MinHeaderSize, int64(0)
	switch h.Length {
	case 126:
		size, least = size+2, 126
	case 127:
		size, least = size+8, 1<<16
	}
	start := size
	if h.Masked {
		size += len(h.Mask)
	}
	if head, err = r.in.Peek(size); err != nil {
		return h, lostRead(err)
	}

	switch h.Length {
	case 126:
		h.Length = int64(binary.BigEndian.Uint16(head[ws.MinHeaderSize:]))
	case 127:
		h.Length = int64(binary.BigEndian.Uint64(head[ws.MinHeaderSize:])) //nolint:gosec // the highest bit is checked below
	}
	copy(h.Mask[:], head[start:])
	_, _ = r.in.Discard(size) // it was peeked, so it is there
	if h.Length < least {     // negative if the highest bit is set
		return h, violation(ws.StatusProtocolError, errLength)
	}
	return h, nil
}

func (r *frameReader) have() int64 {
	if r.part == nil {
		return 0
	}
	return int64(len(r.part.bytes))
}

// payload reads the payload that follows h; whole reports whether data are a complete
// message or control frame.
//
//nolint:revive // four results: a type for them would be used once
func (r *frameReader) payload(h ws.Header) (op ws.OpCode, data []byte, whole bool, err *ending) {
	alone := h.OpCode.IsControl() || h.Fin && r.op == 0
	if alone && h.Length <= readBuffer {
		data, err = r.peek(h)
		return h.OpCode, data, true, err
	}

	if r.op == 0 {
		r.op = h.OpCode
		r.part = r.pools.buffer()
	}
	if err := r.grow(h); err != nil || !h.Fin {
		return 0, nil, false, err
	}

	op, r.op = r.op, 0
	r.whole = true
	return op, r.part.bytes, true, nil
}

// peek returns a payload in place, in the read buffer.
func (r *frameReader) peek(h ws.Header) ([]byte, *ending) {
	data, err := r.in.Peek(int(h.Length))
	if err != nil {
		return nil, lostRead(err)
	}

	r.peeked = len(data)
	ws.Cipher(data, h.Mask, 0)
	return data, nil
}

// grow appends a payload to the message. It allocates memory by the bytes received, not
// by the announced length.
func (r *frameReader) grow(h ws.Header) *ending {
	for offset := 0; offset < int(h.Length); {
		have := len(r.part.bytes)
		n := min(int(h.Length)-offset, max(have, firstRead, cap(r.part.bytes)-have))

		r.part.bytes = slices.Grow(r.part.bytes, n)[:have+n]
		chunk := r.part.bytes[have:]
		if _, err := io.ReadFull(r.in, chunk); err != nil {
			return lostRead(err)
		}
		ws.Cipher(chunk, h.Mask, offset)
		offset += n
		if r.op == ws.OpText && !r.small && !r.validSoFar() {
			return violation(ws.StatusInvalidFramePayloadData, errInvalidUTF8)
		}
	}

	return nil
}

// validSoFar reports whether the received part of a text can become valid UTF-8, so that
// an invalid text is refused before the rest arrives.
func (r *frameReader) validSoFar() bool {
	rest := r.part.bytes[r.valid:]
	end := len(rest)
	for n := 1; n < utf8.UTFMax && n <= len(rest); n++ {
		if tail := rest[len(rest)-n:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				end -= n
			}
			break
		}
	}
	if !utf8.Valid(rest[:end]) {
		return false
	}
	r.valid += end
	return true
}

// violation returns the ending after a violation of RFC 6455 or the payload limit.
func violation(code ws.StatusCode, err error) *ending {
	return &ending{reason: ReasonTransportError, cause: err, mode: flushOpen, code: code}
}

// lostRead returns the ending after a lost connection.
func lostRead(err error) *ending {
	return &ending{reason: ReasonTransportClose, cause: fmt.Errorf("read: %w", err), mode: cut}
}
