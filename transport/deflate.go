package transport

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"strings"

	"github.com/gobwas/ws"
)

const (
	// deflateName is the name of the extension (RFC 7692), and deflateAnswer accepts it.
	deflateName   = "permessage-deflate"
	deflateAnswer = deflateName + "; server_no_context_takeover; client_no_context_takeover"
	// deflateFrom is the size in bytes from which a message is compressed.
	deflateFrom = 1024
	// flushed ends the output of a flushed compressor; RFC 7692 omits it on the wire.
	flushed = "\x00\x00\xff\xff"
	// lastBlock makes the decompressor return io.EOF at the end.
	lastBlock = "\x01\x00\x00\xff\xff"
)

var (
	errReserved = errors.New("frame with reserved bits that no extension defines")
	errDeflate  = errors.New("message cannot be decompressed")
)

// negotiate returns the answer to the first acceptable offer of permessage-deflate, or
// "" to decline. An offer with a parameter that is unknown, repeated or has a wrong
// value is declined (RFC 7692, 7), and so is one that limits the window of the server:
// the compressor of the standard library has one size only.
//
// No message refers to the one before: a connection keeps no window of 32 KiB, and a
// message that is sent to many is compressed once.
func negotiate(offers []extension) string {
	for _, offer := range offers {
		if strings.EqualFold(offer.name, deflateName) && acceptable(offer.params) {
			return deflateAnswer
		}
	}
	return ""
}

func acceptable(params []parameter) bool {
	seen := make(map[string]bool)
	for _, p := range params {
		if seen[p.name] {
			return false
		}
		seen[p.name] = true

		switch p.name {
		case "server_no_context_takeover", "client_no_context_takeover":
			if p.given {
				return false
			}
		case "client_max_window_bits":
			if p.given && !isWindow(p.value) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// isWindow reports whether the value is a valid number of window bits: 8 to 15.
func isWindow(bits string) bool {
	switch bits {
	case "8", "9", "10", "11", "12", "13", "14", "15":
		return true
	default:
		return false
	}
}

// deflated returns the message as a compressed frame, or uncompressed if that is not
// longer. The first call compresses it for all.
func (m *Message) deflated(p *pools) []byte {
	if frame := m.small.Load(); frame != nil {
		return *frame
	}

	frame := m.frame
	if small := m.deflate(p); len(small) < len(m.frame) {
		frame = small
	}
	m.small.Store(&frame)
	return frame
}

func (m *Message) deflate(p *pools) []byte {
	data := m.data()
	if len(data) < deflateFrom {
		return m.frame
	}

	c, ok := p.deflaters.Get().(*flate.Writer)
	if !ok {
		c, _ = flate.NewWriter(nil, flate.DefaultCompression) // fails for unknown levels only
	}
	defer p.deflaters.Put(c)

	var out bytes.Buffer
	c.Reset(&out)
	_, _ = c.Write(data) // to memory: never fails
	_ = c.Flush()
	body := bytes.TrimSuffix(out.Bytes(), []byte(flushed))
	frame := appendHeader(make([]byte, 0, ws.MaxHeaderSize+len(body)), ws.OpCode(m.frame[0]&0xf), len(body))
	frame[0] |= ws.Rsv(true, false, false) << 4
	return append(frame, body...)
}

// inflate decompresses a message into b, at most limit bytes.
func (p *pools) inflate(b *buffer, data []byte, limit int64) *ending {
	in := io.MultiReader(bytes.NewReader(data), bytes.NewReader([]byte(flushed+lastBlock)))
	r, ok := p.inflaters.Get().(io.ReadCloser)
	if ok {
		ok = r.(flate.Resetter).Reset(in, nil) == nil //nolint:forcetypeassert // the package says so
	}
	if !ok {
		r = flate.NewReader(in)
	}
	defer p.inflaters.Put(r)

	switch err := readUpTo(r, b, limit); {
	case errors.Is(err, errMessageLimit):
		return violation(ws.StatusMessageTooBig, err)
	case err != nil:
		return violation(ws.StatusInvalidFramePayloadData, errors.Join(errDeflate, err))
	}
	return nil
}
