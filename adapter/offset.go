package adapter

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
)

// ErrOffset reports a string that is not an offset of ours.
var ErrOffset = errors.New("malformed offset")

// A Position is a place in a log. Positions are totally ordered; a later
// record has a greater position. Positions need not be dense. Zero stands
// before the first record.
type Position int64

// An Offset is a position with the proof of where it came from. The zero Offset
// means "none"; the offset before the first record of a log has the number of
// that log.
type Offset struct {
	Position Position
	Log      uint32 // which log: two logs have different numbers, but for chance
	Check    uint32 // which record: two records that ever held one position differ, but for chance
}

// A Range is the positions from First to Last.
type Range struct{ First, Last Position }

// A StartPosition is where a reader of the log begins: with the records after After, but
// for those that are in Seen.
type StartPosition struct {
	After Position
	Skip  []Range
}

// offsetLength is the length of an offset's text: 16 bytes in base64.
const offsetLength = 22

// String returns the offset as clients carry it: 22 characters of URL-safe
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

// ParseOffset is the inverse of Offset.String. A string that String cannot have
// produced is refused with ErrOffset, whatever its length or content; the empty
// string is the zero Offset.
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
