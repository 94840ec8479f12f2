package jsonpack

import (
	"encoding/binary"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// Unpack appends to dst the one msgpack value that src holds, as JSON. Binary values become
// attachments, which lie in src, and placeholders in the text. It reports false when src holds no
// valid value or more than one, when the value nests deeper than maxDepth, or when its JSON is
// longer than maxSize bytes; then dst holds a part of it.
func Unpack(dst, src []byte, maxSize, maxDepth int) (text []byte, attachments [][]byte, ok bool) {
	u := unpacker{dst: dst, maxLen: len(dst) + maxSize}
	ok = u.appendValue(src, 0, maxDepth) == len(src)
	return u.dst, u.attachments, ok
}

// An unpacker appends msgpack values as JSON to dst.
type unpacker struct {
	dst         []byte
	attachments [][]byte
	maxLen      int // of dst
}

// appendValue appends the value at index i. It returns the index behind the value, or -1 where
// there is no valid value, or it nests too deep or becomes too long.
func (u *unpacker) appendValue(b []byte, i, maxDepth int) int {
	h, ok := ReadHead(b, i)
	if !ok || len(u.dst) > u.maxLen {
		return -1
	}
	end := h.Next + h.Len
	switch h.Kind {
	case KindNil:
		u.dst = append(u.dst, "null"...)
	case KindBool:
		u.dst = strconv.AppendBool(u.dst, h.Bits == 1)
	case KindUint:
		u.dst = strconv.AppendUint(u.dst, h.Bits, 10)
	case KindInt:
		u.dst = strconv.AppendInt(u.dst, int64(h.Bits), 10)
	case KindFloat:
		u.dst = appendFloat(u.dst, math.Float64frombits(h.Bits))
	case KindText:
		u.dst = appendQuoted(u.dst, b[h.Next:end])
	case KindBinary:
		u.appendPlaceholder(b[h.Next:end])
	case KindExt:
		u.appendExt(b, h)
	default:
		return u.appendNested(b, h, maxDepth)
	}
	if len(u.dst) > u.maxLen {
		return -1
	}
	if h.Kind >= KindText {
		return end
	}
	return h.Next
}

func (u *unpacker) appendPlaceholder(attachment []byte) {
	u.dst = strconv.AppendInt(append(u.dst, `{"_placeholder":true,"num":`...), int64(len(u.attachments)), 10)
	u.dst = append(u.dst, '}')
	u.attachments = append(u.attachments, attachment)
}

func (u *unpacker) appendNested(b []byte, h Head, maxDepth int) int {
	if maxDepth <= 0 {
		return -1
	}
	opening, closing := byte('['), byte(']')
	if h.Kind == KindMap {
		opening, closing = '{', '}'
	}
	u.dst = append(u.dst, opening)
	i := h.Next
	for n := range h.Len {
		if n > 0 {
			u.dst = append(u.dst, ',')
		}
		if h.Kind == KindMap {
			if i = u.appendKey(b, i); i < 0 {
				return -1
			}
			u.dst = append(u.dst, ':')
		}
		if i = u.appendValue(b, i, maxDepth-1); i < 0 {
			return -1
		}
	}
	u.dst = append(u.dst, closing)
	return i
}

// appendKey appends the key of a pair: a text, or a whole number as a text.
func (u *unpacker) appendKey(b []byte, i int) int {
	h, ok := ReadHead(b, i)
	if !ok {
		return -1
	}
	switch h.Kind {
	case KindText:
		u.dst = appendQuoted(u.dst, b[h.Next:h.Next+h.Len])
		return h.Next + h.Len
	case KindUint, KindInt:
		u.dst = append(u.dst, '"')
		i = u.appendValue(b, i, 0)
		u.dst = append(u.dst, '"')
		return i
	}
	return -1
}

func (u *unpacker) appendExt(b []byte, h Head) {
	body := b[h.Next : h.Next+h.Len]
	switch h.extMeaning() {
	case extUndefined:
		u.dst = append(u.dst, "null"...)
	case extArrayBuffer:
		u.appendPlaceholder(body)
	case extTime:
		u.appendTime(h.extType, body)
	default:
		u.dst = append(strconv.AppendInt(append(u.dst, '['), int64(h.extType), 10), ',')
		u.appendPlaceholder(body)
		u.dst = append(u.dst, ']')
	}
}

// appendTime appends a Date as JavaScript's JSON.stringify does.
func (u *unpacker) appendTime(extType int8, body []byte) {
	var t time.Time
	switch {
	case extType == 0:
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

// appendFloat appends a number as JavaScript does: infinities and NaN, which JSON cannot write, are
// null.
func appendFloat(dst []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(dst, "null"...)
	}
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		return strconv.AppendFloat(dst, f, 'e', -1, 64)
	}
	return strconv.AppendFloat(dst, f, 'f', -1, 64)
}

// appendQuoted appends a text as a JSON string. Bytes that are not UTF-8 become U+FFFD.
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
