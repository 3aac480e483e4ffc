package pgadapter

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// Postgres keeps text that is valid UTF-8 without U+0000. The names of rooms and
// the offsets of clients are any strings at all, so what text cannot hold is
// written in hexadecimal behind a prefix.
const (
	hexPrefix    = "\x7fhex:"
	digestPrefix = "\x7fsha256:"
)

// toText returns s in a form that a text column takes, one to one.
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

// heldText returns what stands for an offset that a client came with. It is only
// ever compared, so a long one is represented by its digest.
func heldText(s string) string {
	if len(s) <= 256 {
		return toText(s)
	}
	sum := sha256.Sum256([]byte(s))
	return digestPrefix + hex.EncodeToString(sum[:])
}

func isText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// isPIDHash reports whether s can be the hash of a private id. Longer ones would
// not fit into an index.
func isPIDHash(s string) bool { return s != "" && len(s) <= 1024 && isText(s) }
