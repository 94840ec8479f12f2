package identity

import (
	"unicode"
	"unicode/utf8"

	"github.com/aeturnis/realtime/fault"
)

const (
	// MaxIDBytes is the length of the longest id.
	MaxIDBytes = 128
	// IDRule is what IsID asks for, in words that complete "must be".
	IDRule = "1 to 128 bytes of printable UTF-8, without a space at either end"
)

// IsID reports whether a text is an id of a user or a character: 1 to 128 bytes of UTF-8, of
// characters for which [unicode.IsPrint] holds, with no space at either end. The only space that is
// printable is U+0020.
func IsID(id string) bool {
	if id == "" || len(id) > MaxIDBytes || id[0] == ' ' || id[len(id)-1] == ' ' {
		return false
	}
	for i := 0; i < len(id); {
		if c := id[i]; c < utf8.RuneSelf {
			if c < ' ' || c == 0x7f {
				return false
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(id[i:])
		if r == utf8.RuneError && size == 1 || !unicode.IsPrint(r) {
			return false
		}
		i += size
	}
	return true
}

// CheckID returns an INVALID fault for the field unless id is one.
func CheckID(field, id string) error {
	switch {
	case id == "":
		return fault.Invalid(field, "required")
	case !IsID(id):
		return fault.Invalid(field, IDRule)
	}
	return nil
}
