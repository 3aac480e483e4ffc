package frame

import (
	"encoding/base64"
	"unicode/utf16"
)

const binaryPrefix = 'b'

// AppendBase64 appends a binary packet as text, for a polling payload or the WebSocket
// of a client that asks for it (b64=1).
func AppendBase64(dst, data []byte) []byte {
	return base64.StdEncoding.AppendEncode(append(dst, binaryPrefix), data)
}

// decodeBase64 decodes like Node, and so like the official parser: the standard and the
// URL-safe alphabet, with or without padding, up to the first "="; other characters are
// skipped, and an incomplete last byte is dropped. Only the low byte of a UTF-16 code unit
// counts. It accepts any text.
func decodeBase64(text []byte) []byte {
	if data, err := base64.StdEncoding.AppendDecode(nil, text); err == nil {
		return data
	}

	clean := make([]byte, 0, len(text))
	for _, r := range string(text) {
		units := [2]rune{r, skipped}
		if r > 0xffff {
			units[0], units[1] = utf16.EncodeRune(r)
		}
		for _, unit := range units {
			c, more := sextet(byte(unit))
			if !more {
				return decodeClean(clean)
			}
			if c != skipped {
				clean = append(clean, c)
			}
		}
	}
	return decodeClean(clean)
}

// skipped represents a character of neither alphabet.
const skipped = ' '

// sextet returns a character in the standard alphabet, and whether more may follow.
func sextet(c byte) (standard byte, more bool) {
	switch {
	case c == '=':
		return 0, false
	case c == '-':
		return '+', true
	case c == '_':
		return '/', true
	case 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '+' || c == '/':
		return c, true
	default:
		return skipped, true
	}
}

// decodeClean decodes characters of the standard alphabet.
func decodeClean(text []byte) []byte {
	if len(text)%4 == 1 {
		text = text[:len(text)-1]
	}
	data, _ := base64.RawStdEncoding.AppendDecode(nil, text) // the text is valid
	return data
}
