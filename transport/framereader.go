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
	// readBuffer is all that an idle connection keeps for reading. What fits into
	// it is handed on in place; what does not goes straight into a pooled buffer.
	readBuffer = 512
	// firstRead is what the first allocation for a larger payload is bounded by.
	// From there on memory at most doubles with what has really arrived.
	firstRead = 4 << 10
)

// frameReader reads a client's WebSocket frames (RFC 6455) and puts the messages
// together. Its errors are *ending.
type frameReader struct {
	in      *bufio.Reader
	limit   int64
	deflate bool // permessage-deflate was negotiated
	pools   *pools

	op     ws.OpCode // of the message that is being put together, 0 if none is
	small  bool      // that message is compressed
	text   *buffer   // a message that was compressed, and was handed on
	part   *buffer   // what there is of it
	valid  int       // so much of part is valid UTF-8
	whole  bool      // part was handed on
	peeked int       // so much of in was handed on
}

// next returns the next message (OpText or OpBinary) or control frame, which may
// stand between the fragments of a message. The data are valid until the
// following call.
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

// release takes back what the last call handed on.
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

// readHeader reads a header as it stands. A length in more bytes than it needs is a
// violation (RFC 6455, 5.2).
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
		h.Length = int64(binary.BigEndian.Uint64(head[ws.MinHeaderSize:])) //nolint:gosec // the highest bit is looked at
	}
	copy(h.Mask[:], head[start:])
	_, _ = r.in.Discard(size) // it was peeked, so it is there
	if h.Length < least {     // or less than nothing, if the highest bit is set
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

// payload reads the payload that follows h; whole tells that data are all of a
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

// peek hands on a payload where it lies, in the read buffer.
func (r *frameReader) peek(h ws.Header) ([]byte, *ending) {
	data, err := r.in.Peek(int(h.Length))
	if err != nil {
		return nil, lostRead(err)
	}

	r.peeked = len(data)
	ws.Cipher(data, h.Mask, 0)
	return data, nil
}

// grow appends a payload to the message. It never trusts the announced length
// with more memory than has been received already.
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
		if r.op == ws.OpText && !r.small && !r.sound() {
			return violation(ws.StatusInvalidFramePayloadData, errInvalidUTF8)
		}
	}

	return nil
}

// sound tells whether what there is of a text may become valid UTF-8: a text that cannot
// is refused before the rest of it has come.
func (r *frameReader) sound() bool {
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

// violation is the ending of a peer that breaks RFC 6455 or the payload limit.
func violation(code ws.StatusCode, err error) *ending {
	return &ending{reason: ReasonTransportError, cause: err, mode: flushOpen, code: code}
}

// lostRead is the ending of a connection that is gone.
func lostRead(err error) *ending {
	return &ending{reason: ReasonTransportClose, cause: fmt.Errorf("read: %w", err), mode: cut}
}
