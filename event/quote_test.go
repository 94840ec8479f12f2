package event_test

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
)

// A string is quoted as the JSON library does it, with or without what must be escaped.
func TestAppendQuote(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "plain", "a b", `"`, `\`, "\n", "\x00", "\x1f", " ", "~", "\x7f", "<&>", "é", "🐉", "\xff", "a\xffb", "\u2028", strings.Repeat("x", 300) + "ü"} {
		want, _ := jsontext.AppendQuote([]byte("before"), s)
		require.Equal(t, string(want), string(event.AppendQuote([]byte("before"), s)), "%q", s)
	}
}

func BenchmarkAppendQuote(b *testing.B) {
	b.ReportAllocs()
	dst := make([]byte, 0, 64)
	for b.Loop() {
		dst = event.AppendQuote(dst[:0], "01JD0000000000000000000000")
	}
}
