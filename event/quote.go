package event

import "github.com/go-json-experiment/json/jsontext"

// AppendQuote appends s as a JSON string. An Appender uses it for its texts. Bytes that are not
// UTF-8 become U+FFFD.
func AppendQuote(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			dst, _ = jsontext.AppendQuote(dst, s) // the error only says that some bytes were not UTF-8
			return dst
		}
	}
	return append(append(append(dst, '"'), s...), '"')
}
