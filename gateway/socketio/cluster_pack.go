package socketio

import (
	"bytes"
	"encoding/binary"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// This file turns JSON into msgpack without building anything in between: the bus of a
// cluster carries what notepack.io, Node's encoder, makes and reads.

// A packer appends JSON values as msgpack. Placeholders become the attachments they name,
// as binary values. Integers that 64 bits hold stay exact, other numbers are doubles.
type packer struct {
	dst         []byte
	src         []byte
	attachments [][]byte
}

// pack appends the one JSON value that src holds. ok is false when it holds none, or one
// that nests deeper than depth, or names an attachment that is not there.
func pack(dst, src []byte, attachments [][]byte, depth int) (packed []byte, ok bool) {
	p := packer{dst, src, attachments}
	i := p.value(skipSpace(src, 0), depth)
	if i < 0 || skipSpace(src, i) != len(src) {
		return p.dst, false
	}
	return p.dst, true
}

// value appends the value at i and returns the index behind it, or -1.
func (p *packer) value(i, depth int) int {
	if i >= len(p.src) {
		return -1
	}
	switch c := p.src[i]; {
	case c == '"':
		return p.text(i)
	case c == '[':
		return p.nested(i, depth)
	case c == '{':
		if len(p.attachments) > 0 {
			if end, num, ok := placeholder(p.src, i, depth); ok {
				if num < 0 || num >= len(p.attachments) {
					return -1
				}
				p.dst = appendBinary(p.dst, p.attachments[num])
				return end
			}
		}
		return p.nested(i, depth)
	case c == '-' || c >= '0' && c <= '9':
		end := skipNumber(p.src, i)
		if end > 0 {
			p.dst = appendNumber(p.dst, p.src[i:end])
		}
		return end
	}
	end := skipValue(p.src, i, 1)
	if end > 0 {
		p.dst = append(p.dst, literals[p.src[i]])
	}
	return end
}

var literals = map[byte]byte{'n': 0xc0, 'f': 0xc2, 't': 0xc3}

// nested appends a list or an object. How many values it holds is known at its end: then
// room for the number is made, if it takes more than the one byte that was kept.
func (p *packer) nested(i, depth int) int {
	if depth <= 0 {
		return -1
	}
	b := p.src
	object, end := b[i] == '{', byte(']')
	if object {
		end = '}'
	}
	head := len(p.dst)
	p.dst = append(p.dst, 0)
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == end {
		p.counted(head, 0, object)
		return i + 1
	}
	for n := 1; ; n++ {
		if object {
			if i >= len(b) || b[i] != '"' {
				return -1
			}
			if i = p.text(i); i < 0 {
				return -1
			}
			if i = skipSpace(b, i); i >= len(b) || b[i] != ':' {
				return -1
			}
			i = skipSpace(b, i+1)
		}
		if i = p.value(i, depth-1); i < 0 {
			return -1
		}
		i = skipSpace(b, i)
		switch {
		case i >= len(b):
			return -1
		case b[i] == end:
			p.counted(head, n, object)
			return i + 1
		case b[i] != ',':
			return -1
		}
		i = skipSpace(b, i+1)
	}
}

func (p *packer) counted(head, n int, object bool) {
	short, long := byte(0x90), byte(0xdc)
	if object {
		short, long = 0x80, 0xde
	}
	switch {
	case n < 16:
		p.dst[head] = short | byte(n)
	case n < 1<<16:
		p.grow(head, 2)
		p.dst[head] = long
		binary.BigEndian.PutUint16(p.dst[head+1:], uint16(n))
	default:
		p.grow(head, 4)
		p.dst[head] = long + 1
		binary.BigEndian.PutUint32(p.dst[head+1:], uint32(n))
	}
}

// grow makes room for n bytes behind the one at head.
func (p *packer) grow(head, n int) {
	end := len(p.dst)
	p.dst = append(p.dst, 0, 0, 0, 0)[:end+n]
	copy(p.dst[head+1+n:], p.dst[head+1:end])
}

func (p *packer) text(i int) int {
	end := skipString(p.src, i)
	if end < 0 {
		return -1
	}
	raw := p.src[i+1 : end-1]
	if bytes.IndexByte(raw, '\\') < 0 {
		p.dst = append(appendTextHead(p.dst, len(raw)), raw...)
		return end
	}
	// What is unescaped is never longer; the header stays as wide as the raw text wanted.
	head := len(p.dst)
	p.dst = appendTextHead(p.dst, len(raw))
	start := len(p.dst)
	p.dst = unescape(p.dst, raw)
	n := len(p.dst) - start
	switch start - head {
	case 1:
		p.dst[head] = 0xa0 | byte(n)
	case 2:
		p.dst[head+1] = byte(n)
	case 3:
		binary.BigEndian.PutUint16(p.dst[head+1:], uint16(n))
	default:
		binary.BigEndian.PutUint32(p.dst[head+1:], uint32(n))
	}
	return end
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
