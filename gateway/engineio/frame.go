package engineio

import (
	"encoding/binary"
	"errors"
	"unicode/utf8"
)

// Websocket opcodes and flags, RFC 6455 section 5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA

	flagFin     = 0x80
	flagRSV     = 0x70
	flagMask    = 0x80
	maskOp      = 0x0F
	maskLength  = 0x7F
	maxControl  = 125
	closeNormal = 1000
	closeBad    = 1002
	closeUTF8   = 1007
	closeLarge  = 1009
)

// A closeError is a violation of the websocket protocol, with the close status that reports it.
type closeError struct {
	code int
	text string
}

func (e *closeError) Error() string { return "engineio: websocket: " + e.text }

// Is reports that every violation is an ErrMalformed.
func (e *closeError) Is(target error) bool { return target == ErrMalformed }

// errPeerClosed says that the client sent a close frame.
var errPeerClosed = errors.New("engineio: closed by the client")

// A frame is one parsed websocket frame. Its payload is unmasked, and part of the buffer that it
// was parsed from.
type frame struct {
	op      byte
	fin     bool
	payload []byte
}

// parseFrame reads one client frame from the front of b, unmasking it in place. It returns
// how many bytes the frame took, or 0 when b does not hold all of it yet; need is then a
// lower bound for the bytes that it takes.
func parseFrame(b []byte, limit int) (f frame, n, need int, err error) {
	if len(b) < 2 {
		return f, 0, 2, nil
	}
	f.op, f.fin = b[0]&maskOp, b[0]&flagFin != 0
	size, head := int(b[1]&maskLength), 2
	switch {
	case b[0]&flagRSV != 0:
		return f, 0, 0, &closeError{closeBad, "reserved bits are set"}
	case b[1]&flagMask == 0:
		return f, 0, 0, &closeError{closeBad, "a client frame is not masked"}
	case f.op >= opClose && (!f.fin || size > maxControl || f.op > opPong):
		return f, 0, 0, &closeError{closeBad, "bad control frame"}
	case f.op > opBinary && f.op < opClose:
		return f, 0, 0, &closeError{closeBad, "unknown opcode"}
	case size == 126:
		if head = 4; len(b) < head {
			return f, 0, head, nil
		}
		size = int(binary.BigEndian.Uint16(b[2:]))
	case size == 127:
		if head = 10; len(b) < head {
			return f, 0, head, nil
		}
		long := binary.BigEndian.Uint64(b[2:])
		if long > uint64(limit) {
			return f, 0, 0, ErrTooLarge
		}
		size = int(long)
	}
	if size > limit {
		return f, 0, 0, ErrTooLarge
	}
	head += 4
	if len(b) < head+size {
		return f, 0, head + size, nil
	}
	f.payload = b[head : head+size]
	unmaskPayload(f.payload, b[head-4:head])
	return f, head + size, 0, nil
}

func unmaskPayload(p, key []byte) {
	k := uint64(binary.LittleEndian.Uint32(key))
	k |= k << 32
	i := 0
	for ; i+8 <= len(p); i += 8 {
		binary.LittleEndian.PutUint64(p[i:], binary.LittleEndian.Uint64(p[i:])^k)
	}
	for ; i < len(p); i++ {
		p[i] ^= key[i&3]
	}
}

// An assembler joins fragments to messages.
type assembler struct {
	part   []byte // the fragments so far
	binary bool
	open   bool // a fragmented message is under way
}

// addFrame takes a data frame. message is set when the frame completes one, and is valid until the
// next call.
func (a *assembler) addFrame(f frame, limit int) (message []byte, isBinary, complete bool, err error) {
	switch f.op {
	case opText, opBinary:
		if a.open {
			return nil, false, false, &closeError{closeBad, "a message inside a message"}
		}
		if !f.fin {
			a.open, a.binary = true, f.op == opBinary
			a.part = append(a.part[:0], f.payload...)
			return nil, false, false, nil
		}
		message, isBinary = f.payload, f.op == opBinary
	case opContinuation:
		if !a.open {
			return nil, false, false, &closeError{closeBad, "a continuation of nothing"}
		}
		if len(a.part)+len(f.payload) > limit {
			return nil, false, false, ErrTooLarge
		}
		a.part = append(a.part, f.payload...)
		if !f.fin {
			return nil, false, false, nil
		}
		message, isBinary = a.part, a.binary
		a.open, a.part = false, nil
	default:
		return nil, false, false, nil
	}
	if !isBinary && !utf8.Valid(message) {
		return nil, false, false, &closeError{closeUTF8, "text is not UTF-8"}
	}
	return message, isBinary, true, nil
}

// checkCloseFrame checks the payload of a client's close frame, RFC 6455 section 7.4.
func checkCloseFrame(payload []byte) error {
	if len(payload) == 0 {
		return nil
	}
	switch {
	case len(payload) == 1:
		return &closeError{closeBad, "bad close frame"}
	case !utf8.Valid(payload[2:]):
		return &closeError{closeUTF8, "the reason of a close frame is not UTF-8"}
	}
	switch code := binary.BigEndian.Uint16(payload); {
	case code < 1000, code >= 1004 && code <= 1006, code > 1014 && code < 3000, code > 4999:
		return &closeError{closeBad, "bad close status"}
	}
	return nil
}

// appendControl appends a control frame to dst.
func appendControl(dst []byte, op byte, payload []byte) []byte {
	return append(append(dst, flagFin|op, byte(len(payload))), payload...)
}

// A closeFrame says what the client reads in its close event.
type closeFrame struct {
	code int
	text string // at most 123 bytes
}

var (
	normalClosure = closeFrame{code: closeNormal}
	closeTooEarly = closeFrame{closeLarge, "too large before CONNECT"}
)

// appendClose appends a close frame to dst.
func appendClose(dst []byte, frame closeFrame) []byte {
	dst = append(dst, flagFin|opClose, byte(2+len(frame.text)), byte(frame.code>>8), byte(frame.code))
	return append(dst, frame.text...)
}
