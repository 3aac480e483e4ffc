package packet

import (
	"strconv"
	"unicode"
	"unicode/utf8"
)

// stringEnd returns the place behind the string literal that begins at i, or
// len(b) if it has no end.
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

// literalIs reports whether a string literal stands for want, which is made of
// letters and underscores. Those may be written as escapes, and JavaScript
// would recognize them. A client may send nothing but such keys, and json.Unmarshal
// of each took seven times as long.
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

// byteAt returns b[i], or 0 behind the end: no byte of JSON outside a string.
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

// isSpace knows the white space of JSON, which is less than that of Unicode.
func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// spacesAt returns the length in bytes of the white space at i, as JavaScript knows it.
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
