package socketio

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// This file turns JSON into msgpack without building anything in between: the bus of a
// cluster carries what notepack.io, Node's encoder, makes and reads.

// A packer appends JSON values as msgpack. Placeholders become the attachments they name,
// as binary values. Integers that 64 bits hold stay exact, other numbers are doubles.
//
// Its methods take the index of a value in src and return the one behind it, or -1.
type packer struct {
	src         []byte
	attachments [][]byte
}

// pack appends the one JSON value that src holds. ok is false when it holds none, or one
// that nests deeper than depth, or names an attachment that is not there.
func pack(dst, src []byte, attachments [][]byte, depth int) (packed []byte, ok bool) {
	p := packer{src, attachments}
	dst, i := p.value(dst, skipSpace(src, 0), depth)
	return dst, i >= 0 && skipSpace(src, i) == len(src)
}

func (p *packer) value(dst []byte, i, depth int) ([]byte, int) {
	if i >= len(p.src) {
		return dst, -1
	}
	switch c := p.src[i]; {
	case c == '"':
		return p.text(dst, i)
	case c-'0' <= 9 || c == '-':
		return p.number(dst, i)
	case c == '{':
		if len(p.attachments) > 0 {
			if end, num, ok := placeholder(p.src, i, depth); ok {
				if num < 0 || num >= len(p.attachments) {
					return dst, -1
				}
				return appendBinary(dst, p.attachments[num]), end
			}
		}
		return p.nested(dst, i, depth, '}')
	case c == '[':
		return p.nested(dst, i, depth, ']')
	case c == 't':
		dst = append(dst, 0xc3)
	case c == 'f':
		dst = append(dst, 0xc2)
	default:
		dst = append(dst, 0xc0)
	}
	return dst, skipValue(p.src, i, 1)
}

// nested appends a list or an object, which end closes. How many values it holds is known at its end: then
// room for the number is made, if it takes more than the one byte that was kept.
func (p *packer) nested(dst []byte, i, depth int, end byte) ([]byte, int) {
	if depth <= 0 {
		return dst, -1
	}
	b, head := p.src, len(dst)
	dst = append(dst, 0)
	if i = skipSpace(b, i+1); i < len(b) && b[i] == end {
		return setCount(dst, head, 0, end == '}'), i + 1
	}
	for n := 1; ; n++ {
		if end == '}' {
			if i >= len(b) || b[i] != '"' {
				return dst, -1
			}
			if dst, i = p.text(dst, i); i < 0 {
				return dst, -1
			}
			if i = skipSpace(b, i); i >= len(b) || b[i] != ':' {
				return dst, -1
			}
			i = skipSpace(b, i+1)
		}
		if i < len(b) && b[i] == '"' {
			dst, i = p.text(dst, i)
		} else {
			dst, i = p.value(dst, i, depth-1)
		}
		if i < 0 {
			return dst, -1
		}
		if i = skipSpace(b, i); i >= len(b) {
			return dst, -1
		}
		if b[i] != ',' {
			if b[i] != end {
				return dst, -1
			}
			return setCount(dst, head, n, end == '}'), i + 1
		}
		i = skipSpace(b, i+1)
	}
}

// setCount writes how many values a list, or pairs an object, holds at head, where one byte was kept for it.
func setCount(dst []byte, head, n int, object bool) []byte {
	short, long := byte(0x90), byte(0xdc)
	if object {
		short, long = 0x80, 0xde
	}
	switch {
	case n < 16:
		dst[head] = short | byte(n)
	case n < 1<<16:
		dst = grow(dst, head, 2)
		dst[head] = long
		binary.BigEndian.PutUint16(dst[head+1:], uint16(n))
	default:
		dst = grow(dst, head, 4)
		dst[head] = long + 1
		binary.BigEndian.PutUint32(dst[head+1:], uint32(n))
	}
	return dst
}

// grow makes room for n bytes behind the one at head.
func grow(dst []byte, head, n int) []byte {
	end := len(dst)
	dst = append(dst, 0, 0, 0, 0)[:end+n]
	copy(dst[head+1+n:], dst[head+1:end])
	return dst
}

func (p *packer) text(dst []byte, i int) ([]byte, int) {
	b, start, end := p.src, i+1, i+1
	if len(b)-start >= 8 {
		w := binary.LittleEndian.Uint64(b[start:])
		if m := marks(w); m == 0 {
			end = skipPlain(b, start+8)
		} else if n := bits.TrailingZeros64(m) / 8; b[start+n] == '"' { // a short one: the most
			dst = append(dst, 0xa0|byte(n), byte(w), byte(w>>8), byte(w>>16), byte(w>>24), byte(w>>32), byte(w>>40), byte(w>>48), byte(w>>56))
			return dst[:len(dst)-8+n], start + n + 1
		}
	} else {
		end = skipPlain(b, start)
	}
	if end >= len(b) || b[end] != '"' {
		return p.escaped(dst, i)
	}
	return append(appendTextHead(dst, end-start), b[start:end]...), end + 1
}

// escaped is text for one that has escapes.
func (p *packer) escaped(dst []byte, i int) ([]byte, int) {
	end := skipString(p.src, i)
	if end < 0 {
		return dst, -1
	}
	raw := p.src[i+1 : end-1]
	// What is unescaped is never longer; the header stays as wide as the raw text wanted.
	head := len(dst)
	dst = appendTextHead(dst, len(raw))
	start := len(dst)
	dst = unescape(dst, raw)
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

func appendTextHead(dst []byte, n int) []byte {
	switch {
	case n < 32:
		return append(dst, 0xa0|byte(n))
	case n < 1<<8:
		return append(dst, 0xd9, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, 0xda), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(dst, 0xdb), uint32(n))
}

func appendText[T ~string | ~[]byte](dst []byte, s T) []byte {
	return append(appendTextHead(dst, len(s)), s...)
}

func appendBinary(dst, b []byte) []byte {
	switch n := len(b); {
	case n < 1<<8:
		dst = append(dst, 0xc4, byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, 0xc5), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint32(append(dst, 0xc6), uint32(n))
	}
	return append(dst, b...)
}

// number appends a number. Most have digits only, so few that 64 bits hold them.
func (p *packer) number(dst []byte, i int) ([]byte, int) {
	b, end := p.src, i
	var u uint64
	for end < len(b) && b[end]-'0' <= 9 {
		u = u*10 + uint64(b[end]-'0')
		end++
	}
	digits := end - i
	if digits == 1 || digits > 1 && digits < 20 && b[i] != '0' {
		if end == len(b) || b[end] != '.' && b[end]|0x20 != 'e' {
			return appendUint(dst, u), end
		}
	}
	if end = skipNumber(b, i); end > 0 {
		dst = appendNumber(dst, b[i:end])
	}
	return dst, end
}

// appendNumber appends a number that skipNumber has checked.
func appendNumber(dst, text []byte) []byte {
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
		return appendUint(dst, u)
	case whole && u > 0 && u <= 1<<63:
		return appendNegative(dst, -int64(u))
	}
	f, _ := strconv.ParseFloat(string(text), 64) // out of range is infinite, as in JavaScript
	return binary.BigEndian.AppendUint64(append(dst, 0xcb), math.Float64bits(f))
}

func appendUint(dst []byte, u uint64) []byte {
	switch {
	case u < 1<<7:
		return append(dst, byte(u))
	case u < 1<<8:
		return append(dst, 0xcc, byte(u))
	case u < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, 0xcd), uint16(u))
	case u < 1<<32:
		return binary.BigEndian.AppendUint32(append(dst, 0xce), uint32(u))
	}
	return binary.BigEndian.AppendUint64(append(dst, 0xcf), u)
}

func appendNegative(dst []byte, n int64) []byte {
	switch {
	case n >= -1<<5:
		return append(dst, byte(n))
	case n >= math.MinInt8:
		return append(dst, 0xd0, byte(n))
	case n >= math.MinInt16:
		return binary.BigEndian.AppendUint16(append(dst, 0xd1), uint16(n))
	case n >= math.MinInt32:
		return binary.BigEndian.AppendUint32(append(dst, 0xd2), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, 0xd3), uint64(n))
}

// unescape appends what a JSON string that skipString has checked stands for.
func unescape(dst, raw []byte) []byte {
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
			r := hex4(raw[i+1:])
			i += 4
			if utf16.IsSurrogate(r) {
				pair := rune(utf8.RuneError)
				if len(raw)-i > 6 && raw[i+1] == '\\' && raw[i+2] == 'u' {
					pair = utf16.DecodeRune(r, hex4(raw[i+3:]))
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

func hex4(b []byte) (r rune) {
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

// placeholder tells whether the object at i is {"_placeholder":true,"num":n}, and where it
// ends. num is -1 when it is no index.
func placeholder(b []byte, i, depth int) (end, num int, ok bool) {
	end = skipNested(b, i, depth)
	if end < 0 || !bytes.Contains(b[i:end], []byte("_placeholder")) {
		return end, 0, false
	}
	var o struct {
		Placeholder any `json:"_placeholder"`
		Num         any `json:"num"`
	}
	if decode(b[i:end], &o) != nil || o.Placeholder != true {
		return end, 0, false
	}
	n, isNumber := o.Num.(float64)
	if !isNumber || n < 0 || n > math.MaxInt16 || n != math.Trunc(n) {
		return end, -1, true
	}
	return end, int(n), true
}
