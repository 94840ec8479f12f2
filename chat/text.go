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
	// maxRaw bounds the work of normalising, in bytes. No text of 500 characters comes from
	// more: a character of four bytes is composed of four such characters at most.
	maxRaw = maxText * 4 * 4
	maxID  = 64
)

// Faults made once, since they are made of constants.
var (
	errChannel = fault.Invalid("channel", "global, or zone:, guild:, party: or combat: and an id of 1 to 64 letters, digits, _ and -")
	errPace    = fault.Invalid("everyMs", "required")
	errLong    = fault.Invalid("text", "at most 500 characters")
	errControl = fault.Invalid("text", "no control characters")
	errUTF8    = fault.Invalid("text", "must be valid UTF-8")
	errBlank   = fault.Invalid("text", "nothing to see in it")
)

// ValidChannel tells whether a channel of that name can be.
func ValidChannel(name string) bool {
	if name == "global" {
		return true
	}
	kind, id, ok := strings.Cut(name, ":")
	if !ok || id == "" || len(id) > maxID {
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

// clean brings a text into normal form (NFC) or says what is wrong with it.
func clean(text string) (string, error) {
	if len(text) > maxRaw {
		return "", errLong
	}
	if !ascii(text) {
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
		seen = seen || visible(r)
	}
	switch {
	case n > maxText:
		return "", errLong
	case !seen:
		return "", errBlank
	}
	return text, nil
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// visible tells whether a reader sees anything of r by itself: white space, zero-width and
// other ignorable characters are nothing to see.
func visible(r rune) bool {
	if r < utf8.RuneSelf {
		return r > ' '
	}
	return !unicode.In(r, unicode.White_Space, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}
