package socketio

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash/maphash"
	"sync"
)

// A seal distinguishes binary data in JSON from an object of a client that looks the
// same. It is a MAC of the data under keys of this process, so clients cannot create
// one; a seal that leaks to a client is valid for the same bytes only.
const (
	sealStart = `","$seal":"`
	sealBytes = 16
)

// sealKeys are the keys of seals: of a fast hash of the data, and of the MAC of that
// hash, which does not reveal it.
type sealKeys struct {
	hash maphash.Seed
	mac  [sha256.Size]byte
}

//nolint:gochecknoglobals // json.Marshaler has no parameter for them
var processKeys = sync.OnceValue(func() *sealKeys {
	k := &sealKeys{hash: maphash.MakeSeed()}
	_, _ = rand.Read(k.mac[:]) // never fails, see crypto/rand
	return k
})

// appendSeal appends the text of the seal of data.
func appendSeal(dst, data []byte) []byte {
	keys := processKeys()
	sum := binary.BigEndian.AppendUint64(nil, maphash.Bytes(keys.hash, data))
	mac := hmac.New(sha256.New, keys.mac[:])
	_, _ = mac.Write(binary.BigEndian.AppendUint64(sum, uint64(len(data)))) // never fails, see hash.Hash
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
