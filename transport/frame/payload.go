package frame

import (
	"bytes"
	"errors"
	"iter"
)

const separator = 0x1e

// Errors of the payload codec.
var (
	ErrSeparator = errors.New("engine.io text packet contains the record separator")
	ErrTooMany   = errors.New("engine.io payload has too many packets")
)

// AppendPayload appends packets to dst as one polling payload. It writes no separator
// between dst and the first packet.
func AppendPayload(dst []byte, packets ...Packet) ([]byte, error) {
	for i, p := range packets {
		if i > 0 {
			dst = append(dst, separator)
		}

		if p.Binary {
			dst = AppendBase64(dst, p.Data)
			continue
		}

		if bytes.IndexByte(p.Data, separator) >= 0 {
			return dst, ErrSeparator
		}
		dst = Append(dst, p.Type, p.Data)
	}

	return dst, nil
}

// Payload yields the packets of a polling payload in order, at most limit of
// them. The first error ends the sequence. An empty payload is one empty packet,
// and therefore an error.
func Payload(payload []byte, limit int) iter.Seq2[Packet, error] {
	return func(yield func(Packet, error) bool) {
		for n := 0; ; n++ {
			if n == limit {
				yield(Packet{}, ErrTooMany)
				return
			}

			record, rest, more := bytes.Cut(payload, []byte{separator})
			p, err := Parse(record)
			if !yield(p, err) || err != nil || !more {
				return
			}
			payload = rest
		}
	}
}
