package event

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// DigestJSON identifies a JSON value in 16 characters. Two values that mean the same have the same
// digest: the order of members, spaces, escapes and ways to write one number do not matter. Numbers
// are compared exactly, also those that a double cannot hold.
func DigestJSON(raw []byte) (string, error) {
	text := jsontext.Value(bytes.Clone(raw))
	err := text.Canonicalize(jsontext.AllowInvalidUTF8(true), jsontext.CanonicalizeRawInts(false), jsontext.CanonicalizeRawFloats(false))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(appendExactNumbers(make([]byte, 0, len(text)+64), text))
	return base64.RawURLEncoding.EncodeToString(sum[:12]), nil
}

// appendExactNumbers appends valid JSON without spaces, with each number in one form.
func appendExactNumbers(dst, text []byte) []byte {
	for i := 0; i < len(text); {
		end := i + 1
		switch c := text[i]; {
		case c == '"':
			for ; text[end] != '"'; end++ {
				if text[end] == '\\' {
					end++
				}
			}
			end++
			dst = append(dst, text[i:end]...)
		case c == '-' || c >= '0' && c <= '9':
			for end < len(text) && bytes.IndexByte([]byte("+-.0123456789eE"), text[end]) >= 0 {
				end++
			}
			dst = appendExactNumber(dst, text[i:end])
		default:
			dst = append(dst, c)
		}
		i = end
	}
	return dst
}

// maxPlainDigits is how many digits a whole number may have that is written without an exponent.
const maxPlainDigits = 15

// appendExactNumber appends a JSON number as its digits without zeros at either end, and the
// exponent: 1.50, 15e-1 and 0.15E+1 are all 15e-1. Whole numbers that are not long are written as
// they are. A number whose exponent has more than 17 digits stays as it is.
func appendExactNumber(dst, number []byte) []byte {
	digits, isNegative := bytes.CutPrefix(number, []byte("-"))
	digits, power, hasPower := cutAny(digits, "eE")
	exponent := 0
	if hasPower {
		if len(power) > 18 {
			return append(dst, number...)
		}
		exponent, _ = strconv.Atoi(string(power)) // it is valid JSON
	}
	whole, fraction, _ := bytes.Cut(digits, []byte("."))
	all := append(bytes.Clone(whole), fraction...)
	exponent -= len(fraction)
	short := bytes.TrimRight(all, "0")
	exponent += len(all) - len(short)
	short = bytes.TrimLeft(short, "0")
	if len(short) == 0 {
		return append(dst, '0')
	}
	if isNegative {
		dst = append(dst, '-')
	}
	if exponent >= 0 && exponent+len(short) <= maxPlainDigits {
		return append(append(dst, short...), bytes.Repeat([]byte("0"), exponent)...)
	}
	return strconv.AppendInt(append(append(dst, short...), 'e'), int64(exponent), 10)
}

// cutAny is bytes.Cut at the first of some bytes.
func cutAny(text []byte, separators string) (before, after []byte, isFound bool) {
	if i := bytes.IndexAny(text, separators); i >= 0 {
		return text[:i], text[i+1:], true
	}
	return text, nil, false
}
