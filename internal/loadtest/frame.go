package loadtest

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
)

// The opcodes of RFC 6455 section 5.2.
const (
	opContinue = 0x0
	opText     = 0x1
	opClose    = 0x8
	opPing     = 0x9
	opPong     = 0xa
)

// maxMessage is the largest message, in bytes, that the client accepts from a server.
const maxMessage = 1 << 20

var (
	errBadFrame = errors.New("the server sent a websocket frame that we did not ask for")
	errTooLarge = errors.New("the server sent a message of more than 1 MiB")
)

// maskKey is the same for the whole process. A mask protects proxies from scripts in browsers,
// which does not concern this client. It is not zero, so that the run fails against a server that
// forgets to unmask.
var maskKey = rand.Uint32() | 0x01010101

// appendFrame appends payload as one masked frame, the form that clients must use.
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

// A frame is one frame from the server. Its payload is a part of the buffer that it was cut from.
type frame struct {
	opcode  byte
	isFinal bool
	payload []byte
}

// cutFirstFrame returns the first frame in b and the number of bytes it takes. That number is 0
// when b does not hold the whole frame.
func cutFirstFrame(b []byte) (frame, int, error) {
	if len(b) < 2 {
		return frame{}, 0, nil
	}
	f := frame{opcode: b[0] & 0xf, isFinal: b[0]&0x80 != 0}
	if b[0]&0x70 != 0 || b[1]&0x80 != 0 {
		return f, 0, errBadFrame // compressed, or masked, which a server must not do
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
