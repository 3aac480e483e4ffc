package packet

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
)

// gathering is a packet whose attachments are on their way.
type gathering struct {
	packet  *Packet
	missing int // attachments still to come
	room    int // bytes that may still be held
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

// AppendPlaceholder appends the JSON that stands for attachment num.
func AppendPlaceholder(dst []byte, num int) []byte {
	dst = append(dst, `{"_placeholder":true,"num":`...)
	dst = strconv.AppendInt(dst, int64(num), 10)
	return append(dst, '}')
}

// Placeholder reports whether a JSON value is a placeholder, and of which
// attachment: an object with the two members _placeholder, true, and num, an
// integer, in either order and with any white space.
//
// In a binary packet from a [Decoder], num is the index of an attachment, and no
// other placeholder has it. In other packets a client may write what it likes, so
// check before indexing.
func Placeholder(raw []byte) (num int, ok bool) {
	raw = trimSpace(raw)
	num, end := placeholderAt(raw, 0)
	return num, end > 0 && end == len(raw)
}

// placeholderAt returns the number of the placeholder that begins at i and the
// place behind it, or 0, 0 if none does.
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
		case !marked && claims(b, key, value):
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
// included, and the place of its value. The key is nil if no member begins there.
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

// claims reports whether a member is the mark of a placeholder.
func claims(b, key []byte, value int) bool {
	return bytes.HasPrefix(b[value:], []byte("true")) && literalIs(key, "_placeholder")
}

// integerAt returns the integer that begins at i and the place behind it, or
// 0, 0. Numbers nobody could have as many attachments as are not integers here.
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

// CheckPlaceholders reports, as ErrPlaceholder, whether data is anything but the
// JSON of a packet with that many attachments: in which each attachment has
// exactly one placeholder, and nothing else claims to be one. Without attachments
// all JSON passes: placeholders mean nothing there.
//
// A [Decoder] has checked its packets. What is encoded here is checked before it
// is sent: a receiver would put an attachment in the place of a foreign object
// that looks like a placeholder, or give the connection up.
func CheckPlaceholders(data []byte, attachments int) error {
	if attachments == 0 {
		return nil
	}
	if at, detail := misplaced(data, attachments); detail != "" {
		return fmt.Errorf("%w: %s, at byte %d", ErrPlaceholder, detail, at)
	}
	return nil
}

// misplaced returns the first fault of the placeholders in the body, which is
// JSON, and its place. An object that claims to be a placeholder but is not
// exactly one is a fault, and not data: the JavaScript parser would put an
// attachment, or nothing, in its place. So is a number that was there before: the
// size of what a packet stands for would not be bounded by that of the packet.
func misplaced(b []byte, attachments int) (at int, detail string) {
	if attachments > len(b)/minPlaceholder { // the number alone is no reason to allocate
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
			if key, value := memberAt(b, i); key != nil && claims(b, key, value) {
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
