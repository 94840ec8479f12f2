package signedpost

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"
)

const (
	// HeaderName is the header with the signature.
	HeaderName = "Gateway-Signature"
	// MaxSkew is how far the time of a signature may be from the receiver's.
	MaxSkew = 5 * time.Minute

	maxHeader = 1024 // bytes of a header that Verify reads
)

// Errors of Verify.
var (
	ErrMalformed = errors.New("signedpost: the signature is not t=<unix seconds>,v1=<hex>")
	ErrSkew      = errors.New("signedpost: the signature is more than 5 minutes old, or from the future")
	ErrSignature = errors.New("signedpost: the signature was made with another secret, or for another body")
)

// Sign returns the header of a body that is sent at a time: one v1 for each secret.
func Sign(at time.Time, body []byte, secrets ...[]byte) string {
	stamp := strconv.FormatInt(at.Unix(), 10)
	header := make([]byte, 0, len("t=")+len(stamp)+len(secrets)*(len(",v1=")+2*sha256.Size))
	header = append(append(header, "t="...), stamp...)
	for _, secret := range secrets {
		header = append(header, ",v1="...)
		header = hex.AppendEncode(header, computeMAC(secret, stamp, body))
	}
	return string(header)
}

// Verify checks the header of a body that is received at a time. One of the secrets must have made
// one of the signatures in it. How long it takes says nothing about the secrets.
func Verify(header string, at time.Time, body []byte, secrets ...[]byte) error {
	if len(header) > maxHeader {
		return ErrMalformed
	}
	stamp, rest, found := strings.Cut(header, ",")
	stamp, isTime := strings.CutPrefix(stamp, "t=")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if !found || !isTime || err != nil || stamp != strconv.FormatInt(seconds, 10) {
		return ErrMalformed
	}
	isGenuine := false
	for part := range strings.SplitSeq(rest, ",") {
		digits, isV1 := strings.CutPrefix(part, "v1=")
		if !isV1 {
			continue // of another version
		}
		mac, err := hex.DecodeString(digits)
		if err != nil || len(mac) != sha256.Size {
			return ErrMalformed
		}
		for _, secret := range secrets {
			if hmac.Equal(mac, computeMAC(secret, stamp, body)) {
				isGenuine = true
			}
		}
	}
	if !isGenuine {
		return ErrSignature
	}
	now := at.Unix()
	if seconds < now-int64(MaxSkew/time.Second) || seconds > now+int64(MaxSkew/time.Second) {
		return ErrSkew
	}
	return nil
}

func computeMAC(secret []byte, stamp string, body []byte) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(stamp))
	h.Write([]byte{'.'})
	h.Write(body)
	return h.Sum(nil)
}
