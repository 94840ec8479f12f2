package socketio

import (
	"encoding/binary"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// This file turns msgpack into JSON without building anything in between, and trusts none
// of it.

// What a msgpack value is.
const (
	packedNil = iota
	packedBool
	packedUint
	packedInt
	packedFloat
	packedText
	packedBinary
	packedList
	packedMap
	packedExt
)

// A head is the first bytes of a msgpack value.
type head struct {
	kind byte
	ext  int8   // its type
	wide bool   // an ext that tells its length
	bits uint64 // of a scalar
	n    int    // bytes of a text, binary or ext; values of a list, pairs of a map
	next int    // the index behind the head
}

// readHead reads the head at i. What it announces is there: bytes at least as many as the
// values that are to come.
func readHead(b []byte, i int) (h head, ok bool) {
	if i < 0 || i >= len(b) {
		return h, false
	}
	c := b[i]
	h.next = i + 1
	num := func(size int) uint64 { // big endian, behind the head
		if len(b)-h.next < size {
			h.next = len(b) + 1
			return 0
		}
		var v uint64
		for _, x := range b[h.next : h.next+size] {
			v = v<<8 | uint64(x)
		}
		h.next += size
		return v
	}
	length := func(kind byte, size int) {
		h.kind, h.n = kind, int(num(size))
	}
	switch {
	case c < 0x80:
		h.kind, h.bits = packedUint, uint64(c)
	case c < 0x90:
		h.kind, h.n = packedMap, int(c&15)
	case c < 0xa0:
		h.kind, h.n = packedList, int(c&15)
	case c < 0xc0:
		h.kind, h.n = packedText, int(c&31)
	case c >= 0xe0:
		h.kind, h.bits = packedInt, uint64(int8(c))
	case c == 0xc0:
		h.kind = packedNil
	case c == 0xc2 || c == 0xc3:
		h.kind, h.bits = packedBool, uint64(c&1)
	case c >= 0xc4 && c <= 0xc6:
		length(packedBinary, 1<<(c-0xc4))
	case c >= 0xc7 && c <= 0xc9:
		length(packedExt, 1<<(c-0xc7))
		h.wide = true
		h.ext = int8(num(1))
	case c == 0xca:
		h.kind, h.bits = packedFloat, math.Float64bits(float64(math.Float32frombits(uint32(num(4)))))
	case c == 0xcb:
		h.kind, h.bits = packedFloat, num(8)
	case c >= 0xcc && c <= 0xcf:
		h.kind, h.bits = packedUint, num(1<<(c-0xcc))
	case c >= 0xd0 && c <= 0xd3:
		size := 1 << (c - 0xd0)
		h.kind, h.bits = packedInt, uint64(int64(num(size)<<(64-8*size))>>(64-8*size))
	case c >= 0xd4 && c <= 0xd8:
		h.kind, h.n = packedExt, 1<<(c-0xd4)
		h.ext = int8(num(1))
	case c >= 0xd9 && c <= 0xdb:
		length(packedText, 1<<(c-0xd9))
	case c == 0xdc || c == 0xdd:
		length(packedList, 2<<(c-0xdc))
	case c == 0xde || c == 0xdf:
		length(packedMap, 2<<(c-0xde))
	default:
		return h, false
	}
	left := len(b) - h.next
	if left < 0 || h.n > left || h.kind == packedMap && 2*h.n > left {
		return h, false
	}
	return h, true
}

// What an ext value means to Node.
const (
	extPair      = iota // [type, binary]
	extUndefined        // notepack's undefined
	extBuffer           // notepack's ArrayBuffer
	extTime
)

func (h head) meaning() int {
	switch {
	case h.ext == 0 && h.wide:
		return extBuffer
	case h.ext == 0 && h.n == 1:
		return extUndefined
	case h.ext == 0 && h.n == 8, h.ext == -1 && !h.wide && (h.n == 4 || h.n == 8), h.ext == -1 && h.n == 12:
		return extTime
	}
	return extPair
}

// skipPacked returns the index behind the value at i, or -1; binaries is raised by the
// binary values in it.
func skipPacked(b []byte, i, depth int, binaries *int) int {
	h, ok := readHead(b, i)
	if !ok {
		return -1
	}
	i = h.next
	values := h.n
	switch h.kind {
	case packedText:
		return i + h.n
	case packedBinary:
		*binaries++
		return i + h.n
	case packedExt:
		if m := h.meaning(); m == extPair || m == extBuffer {
			*binaries++
		}
		return i + h.n
	case packedMap:
		values *= 2
	case packedList:
	default:
		return i
	}
	if depth <= 0 {
		return -1
	}
	for range values {
		if i = skipPacked(b, i, depth-1, binaries); i < 0 {
			return -1
		}
	}
	return i
}

// An unpacker appends msgpack values as JSON; binary ones become attachments.
type unpacker struct {
	dst         []byte
	attachments [][]byte // parts of what was unpacked
	max         int      // bytes of dst
}

// value appends the value at i and returns the index behind it, or -1 when it is no
// value, is too deep or becomes too large.
func (u *unpacker) value(b []byte, i, depth int) int {
	h, ok := readHead(b, i)
	if !ok || len(u.dst) > u.max {
		return -1
	}
	end := h.next + h.n
	switch h.kind {
	case packedNil:
		u.dst = append(u.dst, "null"...)
	case packedBool:
		u.dst = strconv.AppendBool(u.dst, h.bits == 1)
	case packedUint:
		u.dst = strconv.AppendUint(u.dst, h.bits, 10)
	case packedInt:
		u.dst = strconv.AppendInt(u.dst, int64(h.bits), 10)
	case packedFloat:
		u.dst = appendFloat(u.dst, math.Float64frombits(h.bits))
	case packedText:
		u.dst = appendQuoted(u.dst, b[h.next:end])
	case packedBinary:
		u.attach(b[h.next:end])
	case packedExt:
		u.ext(b, h)
	default:
		return u.nested(b, h, depth)
	}
	if len(u.dst) > u.max {
		return -1
	}
	if h.kind >= packedText {
		return end
	}
	return h.next
}

func (u *unpacker) attach(b []byte) {
	u.dst = strconv.AppendInt(append(u.dst, `{"_placeholder":true,"num":`...), int64(len(u.attachments)), 10)
	u.dst = append(u.dst, '}')
	u.attachments = append(u.attachments, b)
}

func (u *unpacker) nested(b []byte, h head, depth int) int {
	if depth <= 0 {
		return -1
	}
	opening, closing := byte('['), byte(']')
	if h.kind == packedMap {
		opening, closing = '{', '}'
	}
	u.dst = append(u.dst, opening)
	i := h.next
	for n := range h.n {
		if n > 0 {
			u.dst = append(u.dst, ',')
		}
		if h.kind == packedMap {
			if i = u.key(b, i); i < 0 {
				return -1
			}
			u.dst = append(u.dst, ':')
		}
		if i = u.value(b, i, depth-1); i < 0 {
			return -1
		}
	}
	u.dst = append(u.dst, closing)
	return i
}

// key appends a map's key: a text, or a whole number as one.
func (u *unpacker) key(b []byte, i int) int {
	h, ok := readHead(b, i)
	if !ok {
		return -1
	}
	switch h.kind {
	case packedText:
		u.dst = appendQuoted(u.dst, b[h.next:h.next+h.n])
		return h.next + h.n
	case packedUint, packedInt:
		u.dst = append(u.dst, '"')
		i = u.value(b, i, 0)
		u.dst = append(u.dst, '"')
		return i
	}
	return -1
}

func (u *unpacker) ext(b []byte, h head) {
	body := b[h.next : h.next+h.n]
	switch h.meaning() {
	case extUndefined:
		u.dst = append(u.dst, "null"...)
	case extBuffer:
		u.attach(body)
	case extTime:
		u.time(h.ext, body)
	default:
		u.dst = append(strconv.AppendInt(append(u.dst, '['), int64(h.ext), 10), ',')
		u.attach(body)
		u.dst = append(u.dst, ']')
	}
}

// time appends a Date as JavaScript's JSON does.
func (u *unpacker) time(ext int8, body []byte) {
	var t time.Time
	switch {
	case ext == 0:
		t = time.UnixMilli(int64(binary.BigEndian.Uint64(body)))
	case len(body) == 4:
		t = time.Unix(int64(binary.BigEndian.Uint32(body)), 0)
	case len(body) == 8:
		v := binary.BigEndian.Uint64(body)
		t = time.Unix(int64(v&(1<<34-1)), int64(v>>34))
	default:
		t = time.Unix(int64(binary.BigEndian.Uint64(body[4:])), int64(binary.BigEndian.Uint32(body)))
	}
	if t = t.UTC(); t.Year() < 0 || t.Year() > 9999 {
		u.dst = append(u.dst, "null"...)
		return
	}
	u.dst = append(t.AppendFormat(append(u.dst, '"'), "2006-01-02T15:04:05.000Z"), '"')
}

// appendFloat appends a number as JavaScript does; what JSON has no number for is null.
func appendFloat(dst []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(dst, "null"...)
	}
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		return strconv.AppendFloat(dst, f, 'e', -1, 64)
	}
	return strconv.AppendFloat(dst, f, 'f', -1, 64)
}

// appendQuoted appends a text as a JSON string; what is not UTF-8 in it is replaced.
func appendQuoted(dst, s []byte) []byte {
	dst = append(dst, '"')
	for len(s) > 0 {
		n := 0
		for n < len(s) && s[n] >= 0x20 && s[n] < 0x80 && s[n] != '"' && s[n] != '\\' {
			n++
		}
		dst, s = append(dst, s[:n]...), s[n:]
		if len(s) == 0 {
			break
		}
		switch c := s[0]; {
		case c >= 0x80:
			r, size := utf8.DecodeRune(s)
			dst, s = utf8.AppendRune(dst, r), s[size:]
			continue
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		default:
			const hex = "0123456789abcdef"
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		s = s[1:]
	}
	return append(dst, '"')
}
