package pgadapter

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
)

// maxSealed is the largest frame that comes along with a notification: sealed and in
// base64 it has to stay below the 8,000 bytes that Postgres allows.
const maxSealed = 5600

var errSeal = errors.New("not sealed with the key of the log")

// A sealer encrypts the frames that come along with notifications, which any role of
// the database can hear and make up. Its secret is in the table meta, which only the
// role of the nodes can read. Each publisher has a key of its own, made of the secret,
// and no batch of a publisher has the number of another: so the number is a nonce that
// is used once, see crypto/cipher.
type sealer struct {
	number *atomic.Uint32 // the log's
	secret atomic.Pointer[[]byte]
}

func (s *sealer) set(secret []byte) { s.secret.Store(&secret) }

// cipher returns the AEAD of a publisher.
func (s *sealer) cipher(origin int64) (aead cipher.AEAD, err error) {
	info := fmt.Sprintf("socketio bell %d %d", s.number.Load(), origin)
	key, err := hkdf.Key(sha256.New, *s.secret.Load(), nil, info, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func nonce(seq int64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 4, 12), uint64(seq))
}

// seal returns the frame of a batch as it comes along with the bell; nil if it is too
// large for that.
func (s *sealer) seal(origin, seq int64, frame []byte) ([]byte, error) {
	if len(frame) > maxSealed {
		return nil, nil
	}
	aead, err := s.cipher(origin)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nonce(seq), frame, nil), nil
}

// open returns the frame that was sealed for the batch m. Name is what the function
// bell of the schema puts in front: it has bound that, and the sealed frame, with tag.
func (s *sealer) open(m batchPos, name, tag, sealed string) ([]byte, error) {
	box, err := base64.StdEncoding.DecodeString(sealed) // skips the line breaks of Postgres
	if err != nil || subtle.ConstantTimeCompare([]byte(tag), s.tag(name, box)) != 1 {
		return nil, errSeal
	}
	aead, err := s.cipher(m.origin)
	if err != nil {
		return nil, err
	}
	return aead.Open(nil, nonce(m.seq), box, nil)
}

func (s *sealer) tag(name string, sealed []byte) []byte {
	h := sha256.New()
	h.Write(*s.secret.Load())
	h.Write([]byte(name))
	h.Write(sealed)
	return base64.StdEncoding.AppendEncode(nil, h.Sum(nil)[:12])
}

// refresh asks for the secret: it changes when the log is replaced or has lost its end.
func (s *sealer) refresh(ctx context.Context, q querier, queries *queries) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var secret []byte
	if err := q.QueryRow(ctx, queries.secret).Scan(&secret); err != nil {
		return err
	}
	s.set(secret)
	return nil
}
