package recovery

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
)

// HashPID returns what a Store knows of a private id: its SHA-256, in base64. The
// private id itself is known to the client only. It is a bearer secret of at least
// 120 random bits, so the hash needs no salt.
func HashPID(pid string) string {
	sum := sha256.Sum256([]byte(pid))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// HashIdentity returns what a Store knows of the identity that a session is bound to:
// its HMAC-SHA-256 under the private id, in base64; "" for no identity. Without the
// private id it tells nothing of the identity, not even which sessions have the same.
func HashIdentity(pid, identity string) string {
	if identity == "" {
		return ""
	}
	mac := hmac.New(sha256.New, []byte(pid))
	mac.Write([]byte(identity))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Fits reports whether the claim may have a session that is bound to an identity, ""
// for none: then every claim may. Both are hashes, see HashIdentity.
func (c *ResumeRequest) Fits(identity string) bool {
	return identity == "" || subtle.ConstantTimeCompare([]byte(identity), []byte(c.Identity)) == 1
}
