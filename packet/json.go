package packet

import (
	"strconv"
	"unicode"
	"unicode/utf8"
)

// stringEnd returns the index after the string literal that begins at i, or len(b) if
// the literal has no end.
func stringEnd(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

// literalIs reports whether a string literal means want, which consists of letters and
// underscores. They may be written as escapes, which JavaScript would decode. It is
// seven times as fast as json.Unmarshal, because a client may send many such keys.
func literalIs(literal []byte, want string) bool {
	rest := literal[1 : len(literal)-1]
	for i := range len(want) {
		n := len(rest)
		if n > 0 && rest[0] == want[i] {
			rest = rest[1:]
			continue
		}
		if n < len(`\u0000`) || rest[0] != '\\' || rest[1] != 'u' {
			return false
		}
		code, err := strconv.ParseUint(string(rest[2:6]), 16, 16)
		if err != nil || code != uint64(want[i]) {
			return false
		}
		rest = rest[6:]
	}
	return len(rest) == 0
}

// byteAt returns b[i], or 0 after the end: no byte of valid JSON.
func byteAt(b []byte, i int) byte {
	if i < len(b) {
		return b[i]
	}
	return 0
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && isSpace(b[i]) {
		i++
	}
	return i
}

func trimSpace(b []byte) []byte {
	b = b[skipSpace(b, 0):]
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// isSpace reports whether c is white space in JSON, which has less than Unicode.
func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// spacesAt returns the length in bytes of the white space at i, as JavaScript defines it.
func spacesAt(b []byte, i int) int {
	n := 0
	for i+n < len(b) {
		r, size := utf8.DecodeRune(b[i+n:])
		if r != '\ufeff' && (r == '\u0085' || !unicode.IsSpace(r)) {
			break
		}
		n += size
	}
	return n
}

func countDigits(b []byte) int {
	n := 0
	for n < len(b) && '0' <= b[n] && b[n] <= '9' {
		n++
	}
	return n
}
