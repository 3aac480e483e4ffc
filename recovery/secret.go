package recovery

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
)

// HashPID returns the form of a private id that a Store keeps: its SHA-256, in base64.
// The private id itself is a bearer secret of at least 120 random bits, so that the
// hash needs no salt.
func HashPID(pid string) string {
	sum := sha256.Sum256([]byte(pid))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// HashIdentity returns the form of an identity that a Store keeps: its HMAC-SHA-256 with
// the private id as the key, in base64; "" for no identity. Without the private id the
// hash reveals nothing of the identity, not even whether two sessions have the same.
func HashIdentity(pid, identity string) string {
	if identity == "" {
		return ""
	}
	mac := hmac.New(sha256.New, []byte(pid))
	mac.Write([]byte(identity))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Fits reports whether the request may resume a session that is bound to the identity.
// Every request fits "", which means none. Both are hashes, see HashIdentity.
func (c *ResumeRequest) Fits(identity string) bool {
	return identity == "" || subtle.ConstantTimeCompare([]byte(identity), []byte(c.Identity)) == 1
}
