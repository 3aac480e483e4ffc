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

// maxSealed is the size of the largest frame that a notification contains: sealed and in
// base64 the payload must stay below the 8,000 bytes that Postgres allows.
const maxSealed = 5600

var errSeal = errors.New("not sealed with the key of the log")

// A sealer encrypts the frames in notifications, which any role of the database can receive
// and send. Its secret is in the table meta, which only the role of the nodes can read. Each
// publisher has its own key, derived from the secret, and never uses a sequence number
// for two batches: so the sequence number is a valid nonce, see crypto/cipher.
type sealer struct {
	number atomic.Uint32 // of the log
	secret atomic.Pointer[[]byte]
}

func newSealer(log uint32, secret []byte) *sealer {
	s := &sealer{}
	s.number.Store(log)
	s.set(secret)
	return s
}

func (s *sealer) set(secret []byte) { s.secret.Store(&secret) }

// cipher returns the AEAD of a publisher.
func (s *sealer) cipher(origin int64) (aead cipher.AEAD, err error) {
	info := fmt.Sprintf("socketio notification %d %d", s.number.Load(), origin)
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

// seal returns the sealed frame of a batch for its notification; nil if the frame is too
// large for one.
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

// open returns the frame that was sealed for the batch m. Name is the prefix that the SQL
// function notification writes; tag binds it to the sealed frame.
func (s *sealer) open(m batchPos, name, tag, sealed string) ([]byte, error) {
	box, err := base64.StdEncoding.DecodeString(sealed) // ignores the line breaks of Postgres
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

// refresh reads the secret, which changes when the log is replaced or loses its end.
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
