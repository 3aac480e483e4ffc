package socketio

import (
	"crypto/rand"
	"encoding/base64"
	"hash/crc32"
)

// A SocketID identifies a socket. It is public, unlike the private id that a client
// needs to recover. A recovered socket keeps it.
//
// Its 20 characters contain a checksum, so that every node can distinguish the id of a
// socket from the name of a room, see [Socket.Join].
type SocketID string

const (
	idLength      = 20
	idBytes       = 15 // of these characters
	checksumBytes = 3
)

// newSocketID returns an id that no other socket has.
func newSocketID() SocketID {
	var b [idBytes]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	sum := checksum(b[:])
	copy(b[idBytes-checksumBytes:], sum[:])
	return SocketID(base64.RawURLEncoding.EncodeToString(b[:]))
}

// isSocketID reports whether the name is one that newSocketID makes. One of 16
// million other names of 20 characters is taken for one.
func isSocketID(name string) bool {
	if len(name) != idLength {
		return false
	}
	b, err := base64.RawURLEncoding.DecodeString(name)
	return err == nil && len(b) == idBytes && checksum(b) == [checksumBytes]byte(b[idBytes-checksumBytes:])
}

func checksum(id []byte) [checksumBytes]byte {
	sum := crc32.ChecksumIEEE(id[:idBytes-checksumBytes])
	return [checksumBytes]byte{byte(sum), byte(sum >> 8), byte(sum >> 16)}
}
