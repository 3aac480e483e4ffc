package packet

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
)

// gathering is a packet that waits for its attachments.
type gathering struct {
	packet  *Packet
	missing int // the number of attachments that have not arrived
	room    int // the bytes that they may have
}

func (g *gathering) add(b []byte) error {
	if len(b) > g.room {
		return fmt.Errorf("%w: attachment %d is %d bytes too long for its packet",
			ErrLimit, len(g.packet.Attachments), len(b)-g.room)
	}
	g.room -= len(b)
	g.missing--
	g.packet.Attachments = append(g.packet.Attachments, append(make([]byte, 0, len(b)), b...))
	return nil
}

// AppendPlaceholder appends the placeholder of attachment num.
func AppendPlaceholder(dst []byte, num int) []byte {
	dst = append(dst, `{"_placeholder":true,"num":`...)
	dst = strconv.AppendInt(dst, int64(num), 10)
	return append(dst, '}')
}

// Placeholder reports whether a JSON value is a placeholder, and returns the number of
// its attachment. A placeholder is an object with the two members _placeholder, true, and
// num, an integer, in either order and with any white space.
//
// In a binary packet from a [Decoder], num is the index of an attachment, and no two
// placeholders have the same. In other packets num may be any number: check it before
// indexing.
func Placeholder(raw []byte) (num int, ok bool) {
	raw = trimSpace(raw)
	num, end := placeholderAt(raw, 0)
	return num, end > 0 && end == len(raw)
}

// placeholderAt returns the number of the placeholder that begins at i and the index
// after it, or 0, 0 if there is none.
func placeholderAt(b []byte, i int) (num, end int) {
	if byteAt(b, i) != '{' {
		return 0, 0
	}
	i++
	marked, numbered := false, false
	for _, next := range []byte(",}") {
		key, value := memberAt(b, skipSpace(b, i))
		switch {
		case key == nil:
			return 0, 0
		case !marked && isMark(b, key, value):
			marked = true
			i = value + len("true")
		case !numbered && literalIs(key, "num"):
			numbered = true
			if num, i = integerAt(b, value); i == 0 {
				return 0, 0
			}
		default:
			return 0, 0
		}
		if i = skipSpace(b, i); byteAt(b, i) != next {
			return 0, 0
		}
		i++
	}
	return num, i
}

// memberAt returns the key of the object member that begins at i, quotes
// included, and the index of its value. The key is nil if there is no member.
func memberAt(b []byte, i int) (key []byte, value int) {
	if byteAt(b, i) != '"' {
		return nil, 0
	}
	end := stringEnd(b, i)
	colon := skipSpace(b, end)
	if byteAt(b, colon) != ':' {
		return nil, 0
	}
	return b[i:end], skipSpace(b, colon+1)
}

// isMark reports whether a member is "_placeholder": true.
func isMark(b, key []byte, value int) bool {
	return bytes.HasPrefix(b[value:], []byte("true")) && literalIs(key, "_placeholder")
}

// integerAt returns the integer of at most nine digits that begins at i and the index
// after it, or 0, 0. No packet can have more attachments.
func integerAt(b []byte, i int) (num, end int) {
	const most = 9
	n := countDigits(b[i:])
	if n == 0 || n > most || n > 1 && b[i] == '0' {
		return 0, 0
	}
	for _, digit := range b[i : i+n] {
		num = num*10 + int(digit-'0')
	}
	return num, i + n
}

// minPlaceholder is the length of the shortest placeholder.
const minPlaceholder = len(`{"_placeholder":true,"num":0}`)

// CheckPlaceholders returns ErrPlaceholder unless data may be the JSON of a packet with
// that many attachments: each attachment has exactly one placeholder, and no other object
// has a member "_placeholder": true. Without attachments it accepts any JSON, because
// placeholders then have no meaning.
//
// A [Decoder] has checked its packets. A server checks its own events before they are
// sent: a receiver would replace an object that looks like a placeholder with an
// attachment, or close the connection.
func CheckPlaceholders(data []byte, attachments int) error {
	if attachments == 0 {
		return nil
	}
	if at, detail := misplaced(data, attachments); detail != "" {
		return fmt.Errorf("%w: %s, at byte %d", ErrPlaceholder, detail, at)
	}
	return nil
}

// HasPlaceholder reports whether a receiver of a packet with attachments would take an object
// in data, which is valid JSON, for a placeholder.
func HasPlaceholder(data []byte) bool {
	_, detail := misplaced(data, 0)
	return detail != ""
}

// AppendRenumbered appends data, the JSON of a packet with that many attachments, with by
// added to the number of each placeholder: data becomes part of a packet in which by other
// attachments come first.
func AppendRenumbered(dst, data []byte, attachments, by int) []byte {
	if attachments == 0 || by == 0 {
		return append(dst, data...)
	}
	copied := 0
	for i := 0; i < len(data); {
		switch data[i] {
		case '{':
			num, end := placeholderAt(data, i)
			if end == 0 {
				i++
				continue
			}
			dst = AppendPlaceholder(append(dst, data[copied:i]...), num+by)
			i, copied = end, end
		case '"':
			i = stringEnd(data, i)
		default:
			i++
		}
	}
	return append(dst, data[copied:]...)
}

// misplaced returns the first fault of the placeholders in the body, which is valid
// JSON, and its index. An object with a member "_placeholder": true that is not exactly a
// placeholder is a fault, because the JavaScript parser would replace it with an
// attachment or undefined. A repeated number is a fault, because the size of the decoded
// packet would not be bounded by that of the messages.
func misplaced(b []byte, attachments int) (at int, detail string) {
	if attachments > len(b)/minPlaceholder { // before memory is allocated by the number
		return len(b), "more attachments than placeholders"
	}
	placed := make([]bool, attachments)
	missing := attachments
	for i := 0; i < len(b); {
		switch b[i] {
		case '{':
			num, end := placeholderAt(b, i)
			switch {
			case end == 0:
				i++
				continue
			case num >= attachments:
				return i, fmt.Sprintf("number %d of %d attachments", num, attachments)
			case placed[num]:
				return i, fmt.Sprintf("a second one for attachment %d", num)
			}
			placed[num] = true
			missing--
			i = end
		case '"':
			if key, value := memberAt(b, i); key != nil && isMark(b, key, value) {
				return i, "not exactly _placeholder and num"
			}
			i = stringEnd(b, i)
		default:
			i++
		}
	}
	if missing > 0 {
		return len(b), fmt.Sprintf("none for attachment %d", slices.Index(placed, false))
	}
	return 0, ""
}
