package jsonpack

import (
	"encoding/binary"
	"math"
)

// AppendText appends a text.
func AppendText[T ~string | ~[]byte](dst []byte, s T) []byte {
	return append(appendTextHead(dst, len(s)), s...)
}

func appendTextHead(dst []byte, size int) []byte {
	switch {
	case size < 32:
		return append(dst, 0xa0|byte(size))
	case size < 1<<8:
		return append(dst, 0xd9, byte(size))
	case size < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, 0xda), uint16(size))
	}
	return binary.BigEndian.AppendUint32(append(dst, 0xdb), uint32(size))
}

// AppendBinary appends a binary value.
func AppendBinary(dst, b []byte) []byte {
	switch size := len(b); {
	case size < 1<<8:
		dst = append(dst, 0xc4, byte(size))
	case size < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, 0xc5), uint16(size))
	default:
		dst = binary.BigEndian.AppendUint32(append(dst, 0xc6), uint32(size))
	}
	return append(dst, b...)
}

// AppendUint appends a whole number in the fewest bytes.
func AppendUint(dst []byte, u uint64) []byte {
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

// AppendListHead begins a list; the caller appends its values, count of them.
func AppendListHead(dst []byte, count int) []byte {
	at := len(dst)
	return writeCount(append(dst, 0), at, count, false)
}

// writeCount writes the head of a list or a map at the index at, where one byte was kept for it:
// how many values the list holds, or pairs the map. A count that takes more than that byte moves
// what stands behind it.
func writeCount(dst []byte, at, count int, isMap bool) []byte {
	short, long := byte(0x90), byte(0xdc)
	if isMap {
		short, long = 0x80, 0xde
	}
	switch {
	case count < 16:
		dst[at] = short | byte(count)
	case count < 1<<16:
		dst = insertGap(dst, at, 2)
		dst[at] = long
		binary.BigEndian.PutUint16(dst[at+1:], uint16(count))
	default:
		dst = insertGap(dst, at, 4)
		dst[at] = long + 1
		binary.BigEndian.PutUint32(dst[at+1:], uint32(count))
	}
	return dst
}

// insertGap makes room for size bytes, at most four, behind the byte at the index at.
func insertGap(dst []byte, at, size int) []byte {
	end := len(dst)
	dst = append(dst, 0, 0, 0, 0)[:end+size]
	copy(dst[at+1+size:], dst[at+1:end])
	return dst
}

// The kinds of a msgpack value. Those from KindText on are longer than their head.
const (
	KindNil = iota
	KindBool
	KindUint
	KindInt
	KindFloat
	KindText
	KindBinary
	KindList
	KindMap
	KindExt
)

// A Head is the first bytes of a msgpack value.
type Head struct {
	Kind byte
	Bits uint64 // the value of a bool, a number or a float, as 64 bits
	Len  int    // bytes of a text, a binary or an ext; values of a list, pairs of a map
	Next int    // the index behind the head

	extType    int8
	extIsSized bool // the ext states its length; else the type of its head implies it
}

// ReadHead reads the head of the value at index i. It refuses a head that announces more than b can
// hold: a text longer than the rest, or a list with more values than there are bytes left.
func ReadHead(b []byte, i int) (h Head, ok bool) {
	if i < 0 || i >= len(b) {
		return h, false
	}
	c := b[i]
	h.Next = i + 1
	readUint := func(size int) uint64 { // big endian, behind what was read so far
		if len(b)-h.Next < size {
			h.Next = len(b) + 1
			return 0
		}
		var v uint64
		for _, x := range b[h.Next : h.Next+size] {
			v = v<<8 | uint64(x)
		}
		h.Next += size
		return v
	}
	readLen := func(kind byte, size int) {
		h.Kind, h.Len = kind, int(readUint(size))
	}
	switch {
	case c < 0x80:
		h.Kind, h.Bits = KindUint, uint64(c)
	case c < 0x90:
		h.Kind, h.Len = KindMap, int(c&15)
	case c < 0xa0:
		h.Kind, h.Len = KindList, int(c&15)
	case c < 0xc0:
		h.Kind, h.Len = KindText, int(c&31)
	case c >= 0xe0:
		h.Kind, h.Bits = KindInt, uint64(int8(c))
	case c == 0xc0:
		h.Kind = KindNil
	case c == 0xc2 || c == 0xc3:
		h.Kind, h.Bits = KindBool, uint64(c&1)
	case c >= 0xc4 && c <= 0xc6:
		readLen(KindBinary, 1<<(c-0xc4))
	case c >= 0xc7 && c <= 0xc9:
		readLen(KindExt, 1<<(c-0xc7))
		h.extIsSized = true
		h.extType = int8(readUint(1))
	case c == 0xca:
		h.Kind, h.Bits = KindFloat, math.Float64bits(float64(math.Float32frombits(uint32(readUint(4)))))
	case c == 0xcb:
		h.Kind, h.Bits = KindFloat, readUint(8)
	case c >= 0xcc && c <= 0xcf:
		h.Kind, h.Bits = KindUint, readUint(1<<(c-0xcc))
	case c >= 0xd0 && c <= 0xd3:
		size := 1 << (c - 0xd0)
		h.Kind, h.Bits = KindInt, uint64(int64(readUint(size)<<(64-8*size))>>(64-8*size))
	case c >= 0xd4 && c <= 0xd8:
		h.Kind, h.Len = KindExt, 1<<(c-0xd4)
		h.extType = int8(readUint(1))
	case c >= 0xd9 && c <= 0xdb:
		readLen(KindText, 1<<(c-0xd9))
	case c == 0xdc || c == 0xdd:
		readLen(KindList, 2<<(c-0xdc))
	case c == 0xde || c == 0xdf:
		readLen(KindMap, 2<<(c-0xde))
	default:
		return h, false
	}
	left := len(b) - h.Next
	if left < 0 || h.Len > left || h.Kind == KindMap && 2*h.Len > left {
		return h, false
	}
	return h, true
}

// What an ext value means: notepack.io, Node's encoder, has types of its own for what JavaScript
// knows and msgpack does not.
const (
	extPair        = iota // any other type: Node reads it as [type, binary]
	extUndefined          // undefined
	extArrayBuffer        // an ArrayBuffer
	extTime               // a Date
)

func (h Head) extMeaning() int {
	switch {
	case h.extType == 0 && h.extIsSized:
		return extArrayBuffer
	case h.extType == 0 && h.Len == 1:
		return extUndefined
	case h.extType == 0 && h.Len == 8, h.extType == -1 && !h.extIsSized && (h.Len == 4 || h.Len == 8), h.extType == -1 && h.Len == 12:
		return extTime
	}
	return extPair
}

// SkipPacked returns the index behind the value at index i, or -1 where there is no valid value or
// it nests deeper than maxDepth. It adds to binaries the number of binary values that it passes.
func SkipPacked(b []byte, i, maxDepth int, binaries *int) int {
	h, ok := ReadHead(b, i)
	if !ok {
		return -1
	}
	i = h.Next
	values := h.Len
	switch h.Kind {
	case KindText:
		return i + h.Len
	case KindBinary:
		*binaries++
		return i + h.Len
	case KindExt:
		if m := h.extMeaning(); m == extPair || m == extArrayBuffer {
			*binaries++
		}
		return i + h.Len
	case KindMap:
		values *= 2
	case KindList:
	default:
		return i
	}
	if maxDepth <= 0 {
		return -1
	}
	for range values {
		if i = SkipPacked(b, i, maxDepth-1, binaries); i < 0 {
			return -1
		}
	}
	return i
}
