package chat

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/identity"
)

const (
	maxText = 500 // characters, after normalisation and with what was added to close the text
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
	errMarks   = fault.Invalid("text", "at most 8 combining marks on a character")
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

// normalizeText returns a text in Unicode's normal form NFC, or why it cannot be sent. What it
// opens to change the direction of writing is closed at its end, so that the text cannot reorder
// what stands behind it on a player's screen.
func normalizeText(text string) (string, error) {
	if len(text) > maxRawBytes {
		return "", errLong
	}
	closers := ""
	if !isASCII(text) {
		if !utf8.ValidString(text) {
			return "", errUTF8
		}
		text = norm.NFC.String(text)
		closers = closersOf(text)
	}
	n, marks, seen := len(closers)/closerBytes, 0, false
	for _, r := range text {
		n++
		if unicode.IsControl(r) {
			return "", errControl
		}
		if r >= utf8.RuneSelf && unicode.In(r, unicode.Mn, unicode.Me) {
			marks++
		} else {
			marks = 0
		}
		if marks > identity.MaxMarks {
			return "", errMarks
		}
		seen = seen || identity.IsVisible(r)
	}
	switch {
	case n > maxText:
		return "", errLong
	case !seen:
		return "", errBlank
	}
	return text + closers, nil
}

// These characters change the direction of writing (UAX #9).
const (
	openEmbeddingLTR = '\u202a'
	openEmbeddingRTL = '\u202b'
	closeEmbedding   = '\u202c' // it closes the overrides too
	openOverrideLTR  = '\u202d'
	openOverrideRTL  = '\u202e'
	openIsolateLTR   = '\u2066'
	openIsolateRTL   = '\u2067'
	openIsolateFirst = '\u2068'
	closeIsolate     = '\u2069'

	closerBytes = len("\u2069") // of either closing character
)

// closersOf returns what closes the embeddings, overrides and isolates that a text leaves open. As
// in UAX #9, the end of an isolate also ends the embeddings inside it.
func closersOf(text string) string {
	var open []rune // the closing characters that are due, the last one first
	for _, r := range text {
		switch r {
		case openEmbeddingLTR, openEmbeddingRTL, openOverrideLTR, openOverrideRTL:
			open = append(open, closeEmbedding)
		case openIsolateLTR, openIsolateRTL, openIsolateFirst:
			open = append(open, closeIsolate)
		case closeEmbedding:
			if len(open) > 0 && open[len(open)-1] == closeEmbedding {
				open = open[:len(open)-1]
			}
		case closeIsolate:
			if i := lastIndex(open, closeIsolate); i >= 0 {
				open = open[:i]
			}
		}
	}
	slices.Reverse(open)
	return string(open)
}

func lastIndex(all []rune, want rune) int {
	for i := len(all) - 1; i >= 0; i-- {
		if all[i] == want {
			return i
		}
	}
	return -1
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
