package packet

import (
	"bytes"
	"fmt"
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
// In a binary packet from a [Decoder], num is the index of an attachment. In
// other packets a client may write what it likes, so check before indexing.
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

// checkPlaceholders checks every placeholder of the body, which is JSON. An object
// that claims to be one but is not exactly one is an error, and not data: the
// JavaScript parser would put an attachment, or nothing, in its place.
func (r *reader) checkPlaceholders(b []byte, attachments int) error {
	for i := 0; i < len(b); {
		switch b[i] {
		case '{':
			num, end := placeholderAt(b, i)
			if end == 0 {
				break
			}
			if num >= attachments {
				r.at += i
				return r.fail(ErrPlaceholder, fmt.Sprintf("number %d of %d attachments", num, attachments))
			}
			i = end
			continue
		case '"':
			if key, value := memberAt(b, i); key != nil && claims(b, key, value) {
				r.at += i
				return r.fail(ErrPlaceholder, "not exactly _placeholder and num")
			}
			i = stringEnd(b, i)
			continue
		}
		i++
	}
	return nil
}
