package identity

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rivo/uniseg"
	"golang.org/x/text/unicode/norm"
)

const (
	// MaxMarks is how many combining marks a letter may carry.
	MaxMarks = 8
	// maxNameGraphemes and maxNameBytes bound a display name. The first is what people count as
	// characters; a single one of those may have many bytes.
	maxNameGraphemes = 64
	maxNameBytes     = 512
	// maxRawNameBytes bounds the work of cleaning: what stands behind is cut off before.
	maxRawNameBytes = 4096
)

// DisplayName returns a name as it is shown, in Unicode's form NFC: white space is one space and
// none at the ends, controls and invisible characters are dropped, a letter keeps eight combining
// marks, and the name ends after 64 characters as people count them (grapheme clusters), or before
// the one that would exceed 512 bytes. Joiners stay where a script or an emoji needs them. When
// nothing is left, it returns the fallback.
func DisplayName(name, fallback string) string {
	if isPlainName(name) {
		return name
	}
	if len(name) > maxRawNameBytes {
		name = name[:maxRawNameBytes]
	}
	name = norm.NFC.String(dropInvisible(norm.NFC.String(strings.ToValidUTF8(name, ""))))
	name = strings.TrimRight(cutGraphemes(name), " ")
	if name == "" {
		return fallback
	}
	return name
}

// isPlainName reports whether a name is ASCII that needs no cleaning, as most names are.
func isPlainName(name string) bool {
	if name == "" || len(name) > maxNameGraphemes || name[0] == ' ' || name[len(name)-1] == ' ' {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c < ' ' || c >= 0x7f || c == ' ' && name[i-1] == ' ' {
			return false
		}
	}
	return true
}

// dropInvisible makes white space single spaces, and drops what a reader does not see.
func dropInvisible(name string) string {
	var out strings.Builder
	var last, letter rune // the last character that was kept, and the last one that is no mark
	marks := 0            // combining marks on letter
	runes := []rune(name)
	for i, r := range runes {
		switch {
		case unicode.Is(unicode.White_Space, r) || r == brailleBlank:
			if letter == 0 || last == ' ' {
				continue
			}
			r = ' '
		case r == zeroWidthJoiner || r == zeroWidthNonJoiner:
			if !isJoinerNeeded(runes, i, letter, last) {
				continue
			}
			out.WriteRune(r)
			last = r
			continue
		case r == emojiVariation || r == textVariation:
			if last != letter || !hasEmojiForm(last) {
				continue
			}
		case !IsVisible(r):
			continue
		case unicode.In(r, unicode.Mn, unicode.Me):
			if marks++; letter == 0 || letter == ' ' || marks > MaxMarks {
				continue // there is no letter for it, or it would hide other lines
			}
		}
		if !unicode.In(r, unicode.Mn, unicode.Me) && !isSkinTone(r) {
			letter, marks = r, 0
		}
		out.WriteRune(r)
		last = r
	}
	return out.String()
}

const (
	zeroWidthNonJoiner = '\u200c'
	zeroWidthJoiner    = '\u200d'
	textVariation      = '\ufe0e'
	emojiVariation     = '\ufe0f'
	brailleBlank       = '\u2800'
	virama             = 9 // the combining class of signs that join or separate consonants
)

// IsVisible reports whether a reader sees a character other than a space: it is no control, no
// white space, and none of those that Unicode lets a font ignore.
func IsVisible(r rune) bool {
	if r < utf8.RuneSelf {
		return r > ' ' && r != 0x7f
	}
	return r != brailleBlank && !unicode.In(r, unicode.White_Space, unicode.Cc, unicode.Cf, unicode.Cs, unicode.Zl, unicode.Zp,
		unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// isJoinerNeeded reports whether the joiner at runes[i] changes how its neighbours are written: in
// a cursive or an Indic script, or between the parts of one emoji.
func isJoinerNeeded(runes []rune, i int, letter, last rune) bool {
	if letter == 0 || last == zeroWidthJoiner || last == zeroWidthNonJoiner {
		return false
	}
	if unicode.In(letter, joiningScripts...) {
		if norm.NFC.PropertiesString(string(last)).CCC() == virama {
			return true
		}
		return i+1 < len(runes) && unicode.In(runes[i+1], joiningScripts...) && unicode.IsLetter(runes[i+1])
	}
	if runes[i] != zeroWidthJoiner || i+1 >= len(runes) {
		return false
	}
	// Unicode joins two emoji to one cluster (rule GB11), and nothing else behind a joiner that is
	// not a mark.
	next := runes[i+1]
	cluster, _, _, _ := uniseg.FirstGraphemeClusterInString(string([]rune{letter, zeroWidthJoiner, next}), -1)
	return IsVisible(next) && !unicode.IsMark(next) && strings.HasSuffix(cluster, string(next)) && len(cluster) > len(string(letter))+len("\u200d")
}

// joiningScripts are those in which a joiner between letters, or behind a virama, is spelling.
var joiningScripts = []*unicode.RangeTable{
	unicode.Arabic, unicode.Syriac, unicode.Mandaic, unicode.Nko, unicode.Mongolian, unicode.Phags_Pa, unicode.Manichaean,
	unicode.Psalter_Pahlavi, unicode.Hanifi_Rohingya, unicode.Sogdian, unicode.Adlam,
	unicode.Devanagari, unicode.Bengali, unicode.Gurmukhi, unicode.Gujarati, unicode.Oriya, unicode.Tamil, unicode.Telugu,
	unicode.Kannada, unicode.Malayalam, unicode.Sinhala, unicode.Khmer, unicode.Myanmar, unicode.Tibetan,
}

// isSkinTone reports whether r only colours the emoji before it.
func isSkinTone(r rune) bool { return '\U0001F3FB' <= r && r <= '\U0001F3FF' }

// hasEmojiForm reports whether a variation selector may follow r: it chooses between a picture and
// a sign of the text.
func hasEmojiForm(r rune) bool {
	return r >= utf8.RuneSelf && (unicode.In(r, unicode.So, unicode.Sm, unicode.Sk) || r == '‼' || r == '⁉' || r == '〰')
}

// cutGraphemes returns the beginning of a name that is within its bounds.
func cutGraphemes(name string) string {
	end, state, rest := 0, -1, name
	for n := 0; rest != "" && n < maxNameGraphemes; n++ {
		var cluster string
		cluster, rest, _, state = uniseg.FirstGraphemeClusterInString(rest, state)
		if end+len(cluster) > maxNameBytes {
			break
		}
		end += len(cluster)
	}
	return name[:end]
}
