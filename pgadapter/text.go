package pgadapter

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// Postgres stores text that is valid UTF-8 without U+0000. Names of rooms and offsets of
// clients are arbitrary strings, so other strings are stored in hexadecimal behind a
// prefix.
const (
	hexPrefix    = "\x7fhex:"
	digestPrefix = "\x7fsha256:"
)

// toText returns s in an unambiguous form that a text column accepts.
func toText(s string) string {
	if isText(s) && !strings.HasPrefix(s, hexPrefix) {
		return s
	}
	return hexPrefix + hex.EncodeToString([]byte(s))
}

// fromText is the inverse of toText.
func fromText(s string) string {
	if h, ok := strings.CutPrefix(s, hexPrefix); ok {
		if b, err := hex.DecodeString(h); err == nil {
			return string(b)
		}
	}
	return s
}

// offsetText returns the stored form of the offset that a client connected with. It is only
// compared for equality, so a long one is replaced by its digest.
func offsetText(s string) string {
	if len(s) <= 256 {
		return toText(s)
	}
	sum := sha256.Sum256([]byte(s))
	return digestPrefix + hex.EncodeToString(sum[:])
}

func isText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// isPIDHash reports whether s can be the hash of a private id. Longer ones do not fit
// into an index.
func isPIDHash(s string) bool { return s != "" && len(s) <= 1024 && isText(s) }
