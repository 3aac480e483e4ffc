package adapter

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
)

// ErrOffset reports a string that Offset.String cannot have produced.
var ErrOffset = errors.New("malformed offset")

// A Position is the position of a record in a log. A later record has a greater
// position; positions need not be consecutive. Zero precedes the first record.
type Position int64

// An Offset is a position with check values that identify the log and the record.
// The zero Offset means "none". The offset before the first record of a log has
// position zero and the number of that log.
type Offset struct {
	Position Position
	Log      uint32 // identifies the log; two logs have the same number only by chance
	Check    uint32 // identifies the record; two records that ever had one position have the same value only by chance
}

// A Range is the positions from First to Last, both included.
type Range struct{ First, Last Position }

// A StartPosition is where a reader of the log begins: with the records after After,
// except those in Skip.
type StartPosition struct {
	After Position
	Skip  []Range
}

// offsetLength is the length of an offset's text: 16 bytes in base64.
const offsetLength = 22

// String returns the text of the offset that clients receive: 22 characters of URL-safe
// base64, or the empty string for the zero Offset.
func (o Offset) String() string {
	if o == (Offset{}) {
		return ""
	}
	var b [16]byte
	binary.BigEndian.PutUint32(b[0:], o.Log)
	binary.BigEndian.PutUint64(b[4:], uint64(o.Position))
	binary.BigEndian.PutUint32(b[12:], o.Check)
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// ParseOffset is the inverse of Offset.String. It returns ErrOffset for a string that
// String cannot have produced, of any length and content. The empty string is the
// zero Offset.
func ParseOffset(s string) (Offset, error) {
	if s == "" {
		return Offset{}, nil
	}
	if len(s) != offsetLength {
		return Offset{}, ErrOffset
	}
	var b [16]byte
	if n, err := base64.RawURLEncoding.Strict().Decode(b[:], []byte(s)); err != nil || n != len(b) {
		return Offset{}, ErrOffset
	}
	o := Offset{
		Log:      binary.BigEndian.Uint32(b[0:]),
		Position: Position(binary.BigEndian.Uint64(b[4:])),
		Check:    binary.BigEndian.Uint32(b[12:]),
	}
	if o.Position < 0 || o == (Offset{}) {
		return Offset{}, ErrOffset
	}
	return o, nil
}
