package loadtest

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
)

// Websocket opcodes, RFC 6455 section 5.2.
const (
	opContinue = 0x0
	opText     = 0x1
	opClose    = 0x8
	opPing     = 0x9
	opPong     = 0xa
)

// maxMessage bounds what a server may send in one message.
const maxMessage = 1 << 20

var (
	errBadFrame = errors.New("not a websocket frame that we asked for")
	errTooLarge = errors.New("a message of more than 1 MiB")
)

// maskKey is one for the whole process: a mask protects proxies from scripts in browsers, and we are neither.
// It is not zero, so that a server which forgets to unmask is found out.
var maskKey = rand.Uint32() | 0x01010101

// appendFrame appends payload as one masked frame, as clients send them.
func appendFrame(dst []byte, op byte, payload []byte) []byte {
	dst = append(dst, 0x80|op)
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, 0x80|byte(n))
	case n < 1<<16:
		dst = append(dst, 0x80|126, byte(n>>8), byte(n))
	default:
		dst = append(dst, 0x80|127)
		dst = binary.BigEndian.AppendUint64(dst, uint64(n))
	}
	dst = binary.LittleEndian.AppendUint32(dst, maskKey)
	at := len(dst)
	dst = append(dst, payload...)
	b, wide := dst[at:], uint64(maskKey)<<32|uint64(maskKey)
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^wide)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= byte(wide >> (8 * i))
	}
	return dst
}

// A frame is what a server sent; payload is part of the buffer it was cut from.
type frame struct {
	opcode  byte
	isFinal bool
	payload []byte
}

// cutFirstFrame cuts the first frame off b and says how many bytes it took, 0 when b does not hold all of it.
func cutFirstFrame(b []byte) (frame, int, error) {
	if len(b) < 2 {
		return frame{}, 0, nil
	}
	f := frame{opcode: b[0] & 0xf, isFinal: b[0]&0x80 != 0}
	if b[0]&0x70 != 0 || b[1]&0x80 != 0 {
		return f, 0, errBadFrame // compressed, or masked by a server
	}
	size, head := uint64(b[1]), 2
	switch size {
	case 126:
		if len(b) < 4 {
			return f, 0, nil
		}
		size, head = uint64(binary.BigEndian.Uint16(b[2:])), 4
	case 127:
		if len(b) < 10 {
			return f, 0, nil
		}
		size, head = binary.BigEndian.Uint64(b[2:]), 10
	}
	if size > maxMessage {
		return f, 0, errTooLarge
	}
	end := head + int(size)
	if len(b) < end {
		return f, 0, nil
	}
	f.payload = b[head:end]
	return f, end, nil
}
