package identity_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rivo/uniseg"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/aeturnis/realtime/internal/identity"
)

func TestIDs(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"a", "ann bob", "auth0|7:x%", "{a}", "über", "漢字", "a@b.example", strings.Repeat("x", 128), strings.Repeat("ä", 64)} {
		require.True(t, identity.IsID(id), "%q", id)
		require.NoError(t, identity.CheckID("userId", id))
	}
	for _, id := range []string{
		"", " ", " a", "a ", "a\tb", "a\nb", "a\x00", "a\x7f", "\xff", "a\xc3", "a\u00a0b", "a\u2028b", "a\u200bb", "a\u202eb", "a\ufeff",
		strings.Repeat("x", 129), strings.Repeat("ä", 64) + "x",
	} {
		require.False(t, identity.IsID(id), "%q", id)
		require.ErrorContains(t, identity.CheckID("userId", id), "INVALID", "%q", id)
	}
}

func TestDisplayNames(t *testing.T) {
	t.Parallel()
	family := "\U0001F468\u200d\U0001F469\u200d\U0001F467"
	for name, c := range map[string]struct{ given, want string }{
		"plain":                        {"Ann", "Ann"},
		"words":                        {"Ann of Oz", "Ann of Oz"},
		"Persian, with ZWNJ":           {"می\u200cخواهم", "می\u200cخواهم"},
		"Sinhala, with ZWJ":            {"ශ්\u200dරී", "ශ්\u200dරී"},
		"Malayalam, ZWJ at the end":    {"അവന്\u200d", "അവന്\u200d"},
		"a family":                     {family, family},
		"a heart on fire":              {"\u2764\ufe0f\u200d\U0001F525", "\u2764\ufe0f\u200d\U0001F525"},
		"a skin tone":                  {"\U0001F469\U0001F3FD\u200d\U0001F680", "\U0001F469\U0001F3FD\u200d\U0001F680"},
		"a no-break space":             {"Ann\u00a0Lee", "Ann Lee"},
		"50 Chinese characters":        {strings.Repeat("漢", 50), strings.Repeat("漢", 50)},
		"decomposed":                   {"Jose\u0301", "José"},
		"white space":                  {"  Ann \t\n Lee  ", "Ann Lee"},
		"a variation behind a letter":  {"ann\ufe0f", "ann"},
		"a combining grapheme joiner":  {"a\u034fnn", "ann"},
		"an e, a joiner, its accent":   {"e\u034f\u0301", "é"},
		"ZWJ in Latin":                 {"an\u200dn", "ann"},
		"ZWNJ in Latin":                {"an\u200cn", "ann"},
		"ZWJ between emoji and letter": {"\U0001F600\u200da", "\U0001F600a"},
		"many joiners":                 {"می\u200c\u200c\u200d\u200cخ", "می\u200cخ"},
		"joiners at the ends":          {"\u200cمی\u200c", "می"},
		"an override":                  {"ann\u202egnp", "anngnp"},
		"a BOM, a soft hyphen":         {"\ufeffa\u00adnn", "ann"},
		"not UTF-8":                    {"a\xffnn", "ann"},
		"a lone mark":                  {"\u0301ann", "ann"},
		"nine marks":                   {"q" + strings.Repeat("\u0323", 9), "q" + strings.Repeat("\u0323", 8)},
		"too many characters":          {strings.Repeat("é", 65), strings.Repeat("é", 64)},
		"a cut before a space":         {strings.Repeat("é", 63) + " x", strings.Repeat("é", 63)},
		"64 families are too long":     {strings.Repeat(family, 64), strings.Repeat(family, 28)},
		"a new emoji, unknown to us":   {"\U0001FAFF", "\U0001FAFF"},

		// Nothing to see: the user id.
		"empty":                 {"", "u7"},
		"U+3164":                {"\u3164", "u7"},
		"three spaces":          {"   ", "u7"},
		"no-break spaces":       {"\u00a0\u00a0", "u7"},
		"a Braille blank":       {"\u2800", "u7"},
		"joiners alone":         {"\u200d\u200c", "u7"},
		"a mark alone":          {"\u0301", "u7"},
		"tags":                  {"\U000E0041\U000E007F", "u7"},
		"a control":             {"\x00\x1b\x7f", "u7"},
		"variation alone":       {"\ufe0f", "u7"},
		"broken UTF-8 alone":    {"\xff\xfe", "u7"},
		"Hangul fillers":        {"\u115f\u1160\uffa0", "u7"},
		"4,096 invisible, then": {strings.Repeat("\u200b", 4096) + "ann", "u7"},
	} {
		require.Equal(t, c.want, identity.DisplayName(c.given, "u7"), "%s: %q", name, c.given)
	}
}

// Whatever a provider sends, the name is bounded, valid, and clean already when it is cleaned
// again.
func TestDisplayNamesAreBounded(t *testing.T) {
	t.Parallel()
	runes := rapid.OneOf(rapid.Rune(), rapid.SampledFrom([]rune(" a\u00a0\u200c\u200d\ufe0f\u0301\u034f\u3164\u2800می\u0d4d\u0d28\U0001F468\U0001F525\u2764漢")))
	rapid.Check(t, func(t *rapid.T) {
		given := rapid.StringOfN(runes, 0, 200, -1).Draw(t, "name")
		name := identity.DisplayName(given, "u7")
		require.True(t, utf8.ValidString(name))
		require.NotEmpty(t, name)
		require.LessOrEqual(t, uniseg.GraphemeClusterCount(name), 64)
		require.LessOrEqual(t, len(name), 512)
		require.Equal(t, name, strings.TrimSpace(name))
		require.Equal(t, name, identity.DisplayName(name, "u7"), "%q", given)
	})
}

func ExampleDisplayName() {
	fmt.Println(identity.DisplayName("  Ann\u200b\u00a0Lee ", "u7"))
	fmt.Println(identity.DisplayName("\u3164", "u7"))
	// Output:
	// Ann Lee
	// u7
}
