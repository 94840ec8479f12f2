package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/aeturnis/realtime/sessions"
)

// Express describes the cookie of express-session, s:<id>.<signature>, percent-encoded. The
// signature is the HMAC-SHA256 of the id, in base64 without padding (npm's cookie-signature).
type Express struct {
	// Cookie is the name of the cookie; express-session calls it connect.sid.
	Cookie string
	// Secrets are tried one after the other, so that a secret can be changed. SetSecrets replaces
	// them.
	Secrets []string

	replaced atomic.Pointer[[]string] // of SetSecrets; nil before
}

// SetSecrets replaces Secrets. It may be called while cookies are read.
func (e *Express) SetSecrets(secrets []string) { e.replaced.Store(&secrets) }

// currentSecrets returns Secrets, or what SetSecrets has put in their place.
func (e *Express) currentSecrets() []string {
	if replaced := e.replaced.Load(); replaced != nil {
		return *replaced
	}
	return e.Secrets
}

const maxSigned = 512 // bytes

// cutSignedPrefix reports whether value claims to be such a cookie, and returns what follows "s:".
func (e *Express) cutSignedPrefix(value string) (string, bool) {
	if len(value) > maxSigned {
		return "", false
	}
	if plain, err := url.PathUnescape(value); err == nil {
		value = plain
	}
	return strings.CutPrefix(value, "s:")
}

// verifySignature returns the id, and whether its signature is valid.
func (e *Express) verifySignature(signed string) (string, bool) {
	dot := strings.LastIndexByte(signed, '.')
	if dot < 0 {
		return "", false
	}
	id, given := signed[:dot], signed[dot+1:]
	ok := false
	for _, secret := range e.currentSecrets() {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(id))
		want := base64.RawStdEncoding.EncodeToString(mac.Sum(nil))
		ok = ok || secret != "" && hmac.Equal([]byte(want), []byte(given))
	}
	return id, ok && sessions.ValidID(id)
}
