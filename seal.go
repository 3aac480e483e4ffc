package socketio

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"sync"
)

// A seal tells binary data in JSON apart from an object of a client that looks the
// same. It is a MAC of the data under a key that this process alone has, so nobody
// else can make one; a seal that leaks to a client fits the very same bytes only.
const (
	sealStart = `","$seal":"`
	sealBytes = 16
)

//nolint:gochecknoglobals // json.Marshaler has no way to hand it over
var sealKey = sync.OnceValue(func() (key [sha256.Size]byte) {
	_, _ = rand.Read(key[:]) // never fails, see crypto/rand
	return key
})

// appendSeal appends the text of the seal of data.
func appendSeal(dst, data []byte) []byte {
	key := sealKey()
	mac := hmac.New(sha256.New, key[:])
	_, _ = mac.Write(data) // never fails, see hash.Hash
	return base64.RawURLEncoding.AppendEncode(dst, mac.Sum(nil)[:sealBytes])
}

// cutSealed returns the data of the Binary that text begins with, and the rest,
// if this process has sealed it.
func cutSealed(text []byte) (data Binary, rest []byte, ok bool) {
	end := bytes.IndexByte(text[len(binaryStart):], '"')
	if end < 0 || !bytes.HasPrefix(text[len(binaryStart)+end:], []byte(sealStart)) {
		return nil, nil, false
	}
	data, rest, ok = cutBinary(text)
	if !ok {
		return nil, nil, false
	}
	want := append(appendSeal(nil, data), `"}`...)
	given := text[len(binaryStart)+end+len(sealStart) : len(text)-len(rest)]
	return data, rest, hmac.Equal(given, want)
}
