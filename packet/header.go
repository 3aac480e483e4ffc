package packet

import (
	"bytes"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// header is the part before the body. Its namespace aliases the text.
type header struct {
	kind        Type
	attachments int
	namespace   []byte
	id          uint64
	hasID       bool
}

// packet returns a packet with copies of the namespace and the body.
func (h header) packet(body []byte) *Packet {
	p := &Packet{Type: h.kind, Namespace: "/", ID: h.id, HasID: h.hasID}
	if len(h.namespace) > 1 {
		p.Namespace = string(h.namespace)
	}
	if len(body) > 0 {
		p.Data = bytes.Clone(body)
	}
	return p
}

// reader reads the text of one packet, from left to right.
type reader struct {
	text   []byte
	at     int
	limits Limits
}

func (r *reader) rest() []byte { return r.text[r.at:] }

func (r *reader) fail(err error, detail string) error {
	return fmt.Errorf("%w: %s, at byte %d", err, detail, r.at)
}

func (r *reader) header() (h header, err error) {
	if h.kind, err = r.kind(); err != nil {
		return header{}, err
	}
	if h.kind.binary() {
		if h.attachments, err = r.attachments(); err != nil {
			return header{}, err
		}
	}
	if h.namespace, err = r.namespace(); err != nil {
		return header{}, err
	}
	h.id, h.hasID, err = r.ackID()
	return h, err
}

func (r *reader) kind() (Type, error) {
	if len(r.text) == 0 {
		return 0, r.fail(ErrType, "empty text")
	}
	if n := spacesAt(r.text, 0); n > 0 { // JavaScript converts white space to 0
		_, r.at = utf8.DecodeRune(r.text)
		return Connect, nil
	}
	t := Type(r.text[0] - '0') // a character below '0' wraps around to a large value
	if t > BinaryAck {
		return 0, r.fail(ErrType, strconv.Quote(string(r.text[:1])))
	}
	r.at++
	return t, nil
}

func (r *reader) attachments() (int, error) {
	r.at += spacesAt(r.text, r.at)
	digits := r.digits()
	if len(digits) == 0 {
		return 0, r.fail(ErrAttachments, "no count")
	}
	// The number is only compared: no memory is allocated by it.
	n, err := strconv.Atoi(string(digits))
	if err != nil || n > r.limits.MaxAttachments {
		return 0, r.fail(ErrLimit, fmt.Sprintf("more than %d attachments", r.limits.MaxAttachments))
	}
	if n < 1 {
		return 0, r.fail(ErrAttachments, "a binary packet has at least one")
	}
	r.at += len(digits)
	r.at += spacesAt(r.text, r.at)
	if byteAt(r.text, r.at) != '-' {
		return 0, r.fail(ErrAttachments, "no dash after the count")
	}
	r.at++
	return n, nil
}

func (r *reader) namespace() ([]byte, error) {
	if byteAt(r.text, r.at) != '/' {
		return nil, nil
	}
	namespace, _, found := bytes.Cut(r.rest(), []byte(","))
	if len(namespace) > r.limits.MaxNamespace {
		return nil, r.fail(ErrLimit, fmt.Sprintf("namespace over %d bytes", r.limits.MaxNamespace))
	}
	r.at += len(namespace)
	if found {
		r.at++
	}
	return namespace, nil
}

// ackID reads the longest run of digits and white space, as the JavaScript parser does.
// The id is the number of the digits, or 0 if there are none.
func (r *reader) ackID() (id uint64, found bool, err error) {
	start := r.at
	r.at += spacesAt(r.text, r.at)
	digits := r.digits()
	if len(digits) == 0 {
		return 0, r.at > start, nil
	}
	const maxSafeInteger = 1<<53 - 1
	id, err = strconv.ParseUint(string(digits), 10, 64)
	if err != nil || id > maxSafeInteger {
		return 0, false, r.fail(ErrAckID, "above 2^53-1")
	}
	r.at += len(digits)
	r.at += spacesAt(r.text, r.at)
	if len(r.digits()) > 0 {
		return 0, false, r.fail(ErrAckID, "white space within")
	}
	return id, true, nil
}

func (r *reader) digits() []byte {
	rest := r.rest()
	return rest[:countDigits(rest)]
}
