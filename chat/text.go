package chat

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/aeturnis/realtime/fault"
)

const (
	maxText = 500 // characters, after normalisation
	// maxRawBytes bounds the work of normalizing, in bytes. A text of 500 characters never comes from
	// more bytes: a character has at most 4 bytes, and NFC composes it of at most 4 characters.
	maxRawBytes  = maxText * 4 * 4
	maxChannelID = 64
)

// These faults never vary, so they are made once.
var (
	errChannel = fault.Invalid("channel", "global, or zone:, guild:, party: or combat: and an id of 1 to 64 letters, digits, _ and -")
	errPace    = fault.Invalid("everyMs", "required")
	errLong    = fault.Invalid("text", "at most 500 characters")
	errControl = fault.Invalid("text", "no control characters")
	errUTF8    = fault.Invalid("text", "must be valid UTF-8")
	errBlank   = fault.Invalid("text", "at least one visible character")
)

// ValidChannel reports whether a name is that of a channel: see [Channel].
func ValidChannel(name string) bool {
	if name == "global" {
		return true
	}
	kind, id, ok := strings.Cut(name, ":")
	if !ok || id == "" || len(id) > maxChannelID {
		return false
	}
	switch kind {
	case "zone", "guild", "party", "combat":
	default:
		return false
	}
	for i := range len(id) {
		c := id[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// normalizeText returns a text in Unicode's normal form NFC, or why it can not be sent.
func normalizeText(text string) (string, error) {
	if len(text) > maxRawBytes {
		return "", errLong
	}
	if !isASCII(text) {
		if !utf8.ValidString(text) {
			return "", errUTF8
		}
		text = norm.NFC.String(text)
	}
	n, seen := 0, false
	for _, r := range text {
		n++
		if unicode.IsControl(r) {
			return "", errControl
		}
		seen = seen || isVisibleRune(r)
	}
	switch {
	case n > maxText:
		return "", errLong
	case !seen:
		return "", errBlank
	}
	return text, nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// isVisibleRune reports whether a reader sees r. White space, zero-width and other ignorable
// characters are not visible.
func isVisibleRune(r rune) bool {
	if r < utf8.RuneSelf {
		return r > ' '
	}
	return !unicode.In(r, unicode.White_Space, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}
