package jsonpack

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// scanned are pieces of JSON, good and bad.
var scanned = []string{
	"null", "true", "false", "nul", "nulL", "tru", "True", "falsee", "undefined", "NaN", "Infinity", "-Infinity",
	"0", "-0", "-", "+1", "01", "-01", "00", "1.", ".5", "1.0", "1.e1", "1e", "1e+", "1e5", "1E-5", "1e05", "0x10", "1_000", "10", "1 2", "--1", "1e1.5", "0.0e-0", strings.Repeat("9", 400),
	`""`, `"a`, `a"`, `"\"`, `"\""`, `"\\"`, `"\x"`, `"\u12"`, `"\u12G4"`, `"\u0000"`, `"\ud800"`, `"\udc00\ud800"`, `"\U0041"`, `"\/\b\f\n\r\t"`, "\"\x00\"", "\"\n\"", "\"\t\"", "\"\x1f\"", "\"\x7f\"", "\"\xff\"", `"\`, `"\u`, `'a'`,
	"[]", "[1]", "[1,2]", "[1,]", "[,1]", "[1 2]", "[", "]", "[[]", "[]]", "[ ]", "[\x0b]", "[\u00a01]", "[1],", "[1]\n", "\t[1]",
	"{}", `{"a":1}`, `{"a":1,}`, `{,}`, `{"a"}`, `{"a":}`, `{a:1}`, `{1:1}`, `{"a":1 "b":2}`, `{"a":1,"a":2}`, `{"":{}}`, `{"a":[{"b":[null]}]}`, "{", "}", `{"a":1]`, `{"a"::1}`, `{"a":1}}`, "{ }",
	"", " ", "//", "/* */1", "1//", "\ufeff1", "[1]\x00",
}

func TestScanAgreesWithEncodingJSON(t *testing.T) {
	t.Parallel()
	valid := func(s string) bool {
		b := []byte(s)
		i := SkipSpace(b, 0)
		end := SkipValue(b, i, 1000)
		return end >= 0 && SkipSpace(b, end) == len(b)
	}
	for _, s := range scanned {
		require.Equal(t, json.Valid([]byte(s)), valid(s), "%q", s)
		for _, in := range []string{"[%s]", `{"k":%s}`, "[0,%s]", " [ %s , 1 ] "} {
			in = strings.ReplaceAll(in, "%s", s)
			require.Equal(t, json.Valid([]byte(in)), valid(in), "%q", in)
		}
	}
}

func TestScanAgreesWhereverTheTextIsCut(t *testing.T) {
	t.Parallel()
	whole := `["a\u00e9\"",{"b":[1.5e-3,-0,true,false,null,{}],"":[[]]} , "€"]`
	for i := range len(whole) {
		for _, s := range []string{whole[:i], whole[i:], whole[:i] + whole[min(len(whole), i+1):], whole[:i] + "\x00" + whole[i:], whole[:i] + "," + whole[i:]} {
			b := []byte(s)
			end := SkipValue(b, 0, 100)
			require.Equal(t, json.Valid(b) && s[0] != ' ', end == len(b) && end > 0, "%q", s)
		}
	}
}
