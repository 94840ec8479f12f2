package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"strings"

	"github.com/aeturnis/realtime/sessions"
)

// Express reads the cookie of express-session: s:<id>.<signature>, percent-encoded, where the signature is
// HMAC-SHA256 of the id in base64 without padding (npm's cookie-signature).
type Express struct {
	// Cookie is its name; express-session calls it connect.sid.
	Cookie string
	// Secrets sign it; each is tried, so that a secret can be changed.
	Secrets []string
}

const maxSigned = 512 // bytes

// signed tells whether a value claims to be such a cookie, and gives what follows s:.
func (e *Express) signed(value string) (string, bool) {
	if len(value) > maxSigned {
		return "", false
	}
	if plain, err := url.PathUnescape(value); err == nil {
		value = plain
	}
	return strings.CutPrefix(value, "s:")
}

// verify gives the id whose signature stands.
func (e *Express) verify(signed string) (string, bool) {
	dot := strings.LastIndexByte(signed, '.')
	if dot < 0 {
		return "", false
	}
	id, given := signed[:dot], signed[dot+1:]
	ok := false
	for _, secret := range e.Secrets {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(id))
		want := base64.RawStdEncoding.EncodeToString(mac.Sum(nil))
		ok = ok || secret != "" && hmac.Equal([]byte(want), []byte(given))
	}
	return id, ok && sessions.ValidID(id)
}
