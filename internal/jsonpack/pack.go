package jsonpack

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
)

// Pack appends to dst the one JSON value that src holds, as msgpack. Placeholders become the
// attachments that they name; without attachments they are ordinary objects. Integers that fit into
// 64 bits stay exact, all other numbers become doubles. It reports false when src holds no valid
// value or more than one, when the value nests deeper than maxDepth, or when a placeholder names an
// attachment that is not there.
func Pack(dst, src []byte, attachments [][]byte, maxDepth int) (packed []byte, ok bool) {
	p := packer{src, attachments}
	dst, i := p.appendValue(dst, SkipSpace(src, 0), maxDepth)
	return dst, i >= 0 && SkipSpace(src, i) == len(src)
}

// A packer packs the values of one JSON text. Its methods append the value at index i of src to
// dst, and return dst and the index behind the value, or -1.
type packer struct {
	src         []byte
	attachments [][]byte
}

func (p *packer) appendValue(dst []byte, i, maxDepth int) ([]byte, int) {
	if i >= len(p.src) {
		return dst, -1
	}
	switch c := p.src[i]; {
	case c == '"':
		return p.appendString(dst, i)
	case c-'0' <= 9 || c == '-':
		return p.appendNumber(dst, i)
	case c == '{':
		if len(p.attachments) > 0 {
			if end, num, ok := readPlaceholder(p.src, i, maxDepth); ok {
				if num < 0 || num >= len(p.attachments) {
					return dst, -1
				}
				return AppendBinary(dst, p.attachments[num]), end
			}
		}
		return p.appendNested(dst, i, maxDepth, '}')
	case c == '[':
		return p.appendNested(dst, i, maxDepth, ']')
	case c == 't':
		dst = append(dst, 0xc3)
	case c == 'f':
		dst = append(dst, 0xc2)
	default:
		dst = append(dst, 0xc0)
	}
	return dst, SkipValue(p.src, i, 1)
}

// appendNested appends a list or an object, which the byte end closes. How many values it holds is
// known at its end, so one byte is kept for the count at first.
func (p *packer) appendNested(dst []byte, i, maxDepth int, end byte) ([]byte, int) {
	if maxDepth <= 0 {
		return dst, -1
	}
	b, head := p.src, len(dst)
	dst = append(dst, 0)
	if i = SkipSpace(b, i+1); i < len(b) && b[i] == end {
		return writeCount(dst, head, 0, end == '}'), i + 1
	}
	for count := 1; ; count++ {
		if end == '}' {
			if i >= len(b) || b[i] != '"' {
				return dst, -1
			}
			if dst, i = p.appendString(dst, i); i < 0 {
				return dst, -1
			}
			if i = SkipSpace(b, i); i >= len(b) || b[i] != ':' {
				return dst, -1
			}
			i = SkipSpace(b, i+1)
		}
		if i < len(b) && b[i] == '"' {
			dst, i = p.appendString(dst, i)
		} else {
			dst, i = p.appendValue(dst, i, maxDepth-1)
		}
		if i < 0 {
			return dst, -1
		}
		if i = SkipSpace(b, i); i >= len(b) {
			return dst, -1
		}
		if b[i] != ',' {
			if b[i] != end {
				return dst, -1
			}
			return writeCount(dst, head, count, end == '}'), i + 1
		}
		i = SkipSpace(b, i+1)
	}
}

// appendString appends a string. Most are shorter than eight bytes and have no escapes: those are
// found and copied as one word.
func (p *packer) appendString(dst []byte, i int) ([]byte, int) {
	b, start, end := p.src, i+1, i+1
	if len(b)-start >= 8 {
		w := binary.LittleEndian.Uint64(b[start:])
		if m := markSpecialBytes(w); m == 0 {
			end = skipPlainText(b, start+8)
		} else if n := bits.TrailingZeros64(m) / 8; b[start+n] == '"' {
			dst = append(dst, 0xa0|byte(n), byte(w), byte(w>>8), byte(w>>16), byte(w>>24), byte(w>>32), byte(w>>40), byte(w>>48), byte(w>>56))
			return dst[:len(dst)-8+n], start + n + 1
		}
	} else {
		end = skipPlainText(b, start)
	}
	if end >= len(b) || b[end] != '"' {
		return p.appendEscapedString(dst, i)
	}
	return append(appendTextHead(dst, end-start), b[start:end]...), end + 1
}

// appendEscapedString is appendString for a string that has escapes.
func (p *packer) appendEscapedString(dst []byte, i int) ([]byte, int) {
	end := SkipString(p.src, i)
	if end < 0 {
		return dst, -1
	}
	raw := p.src[i+1 : end-1]
	// Unescaped text is never longer than the raw text. The head stays as wide as the raw text
	// wanted it.
	head := len(dst)
	dst = appendTextHead(dst, len(raw))
	start := len(dst)
	dst = appendUnescaped(dst, raw)
	n := len(dst) - start
	switch start - head {
	case 1:
		dst[head] = 0xa0 | byte(n)
	case 2:
		dst[head+1] = byte(n)
	case 3:
		binary.BigEndian.PutUint16(dst[head+1:], uint16(n))
	default:
		binary.BigEndian.PutUint32(dst[head+1:], uint32(n))
	}
	return dst, end
}

// appendNumber appends a number. Most have digits only, and few enough for 64 bits.
func (p *packer) appendNumber(dst []byte, i int) ([]byte, int) {
	b, end := p.src, i
	var u uint64
	for end < len(b) && b[end]-'0' <= 9 {
		u = u*10 + uint64(b[end]-'0')
		end++
	}
	digits := end - i
	if digits == 1 || digits > 1 && digits < 20 && b[i] != '0' {
		if end == len(b) || b[end] != '.' && b[end]|0x20 != 'e' {
			return AppendUint(dst, u), end
		}
	}
	if end = skipNumber(b, i); end > 0 {
		dst = appendNumberText(dst, b[i:end])
	}
	return dst, end
}

// appendNumberText appends a number that skipNumber has checked.
func appendNumberText(dst, text []byte) []byte {
	digits, negative := text, text[0] == '-'
	if negative {
		digits = text[1:]
	}
	var u uint64
	whole := true
	for _, c := range digits {
		d := uint64(c - '0')
		if c < '0' || c > '9' || u > (math.MaxUint64-d)/10 {
			whole = false
			break
		}
		u = u*10 + d
	}
	switch {
	case whole && !negative:
		return AppendUint(dst, u)
	case whole && u > 0 && u <= 1<<63:
		return appendNegative(dst, -int64(u))
	}
	f, _ := strconv.ParseFloat(string(text), 64) // a number out of range becomes infinite, as in JavaScript
	return binary.BigEndian.AppendUint64(append(dst, 0xcb), math.Float64bits(f))
}

// appendUnescaped appends the text that a JSON string stands for. SkipString has checked raw.
func appendUnescaped(dst, raw []byte) []byte {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			dst = append(dst, raw[i])
			continue
		}
		i++
		switch c := raw[i]; c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r := readHex4(raw[i+1:])
			i += 4
			if utf16.IsSurrogate(r) {
				pair := rune(utf8.RuneError)
				if len(raw)-i > 6 && raw[i+1] == '\\' && raw[i+2] == 'u' {
					pair = utf16.DecodeRune(r, readHex4(raw[i+3:]))
				}
				if r = pair; r != utf8.RuneError {
					i += 6
				}
			}
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

func readHex4(b []byte) (r rune) {
	for _, c := range b[:4] {
		switch {
		case c >= 'a':
			c -= 'a' - 10
		case c >= 'A':
			c -= 'A' - 10
		default:
			c -= '0'
		}
		r = r<<4 | rune(c)
	}
	return r
}

// readPlaceholder reports whether the object at index i is a placeholder, and returns where it ends
// and which attachment it names. num is -1 when it is no index.
func readPlaceholder(b []byte, i, maxDepth int) (end, num int, ok bool) {
	end = skipNested(b, i, maxDepth)
	if end < 0 || !bytes.Contains(b[i:end], []byte("_placeholder")) {
		return end, 0, false
	}
	var o struct {
		Placeholder any `json:"_placeholder"`
		Num         any `json:"num"`
	}
	if json.Unmarshal(b[i:end], &o) != nil || o.Placeholder != true {
		return end, 0, false
	}
	n, isNumber := o.Num.(float64)
	if !isNumber || n < 0 || n > math.MaxInt16 || n != math.Trunc(n) {
		return end, -1, true
	}
	return end, int(n), true
}
