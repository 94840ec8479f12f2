package identity

import (
	"crypto/sha256"
	"encoding/hex"
)

// TagLength is how many digits SessionTag has.
const TagLength = 12

// SessionTag returns what stands for a session in logs and in what operators see: the first digits
// of SessionHash, and "" for no session. The id itself is a secret.
func SessionTag(sessionID string) string {
	if sessionID == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(sessionID))
	return hex.EncodeToString(sum[:TagLength/2])
}

// SessionHash returns the SHA-256 of a session's id, in hex.
func SessionHash(sessionID string) string {
	sum := sha256.Sum256([]byte(sessionID))
	return hex.EncodeToString(sum[:])
}

// IsSessionHash reports whether a text may be a SessionTag, or more digits of a SessionHash.
func IsSessionHash(text string) bool {
	if len(text) < TagLength || len(text) > 2*sha256.Size {
		return false
	}
	for i := range len(text) {
		if c := text[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
