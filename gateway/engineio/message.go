package engineio

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
)

// headroom is the length of the longest header of an unmasked frame and a little more, so that the
// start of a sealed frame is never 0.
const headroom = 12

// A Message is one Engine.IO message, framed once for any number of connections and for
// both transports. Fill it with Append or Buffer/SetBuffer, then send it; after the first
// Push it must not change any more.
type Message struct {
	buf      []byte // headroom, then the packet as a websocket carries it
	start    int    // where the frame begins; 0 until it is sealed
	binary   bool
	volatile bool
	sealed   bool // buf holds finished frames

	dirtiedConns atomic.Int32 // how many connections were scheduled for flushing because of it
}

var messagePool = sync.Pool{New: func() any { return &Message{buf: make([]byte, headroom, 512)} }}

// NewText returns an empty text message. Free it when it is not used any more; a message that is
// not freed is left to the garbage collector.
func NewText() *Message {
	m := messagePool.Get().(*Message)
	m.buf = append(m.buf[:headroom], packetMessage)
	m.start, m.binary, m.volatile, m.sealed = 0, false, false, false
	m.dirtiedConns.Store(0)
	return m
}

// NewBinary returns a binary message with a copy of data.
func NewBinary(data []byte) *Message {
	m := messagePool.Get().(*Message)
	m.buf = append(m.buf[:headroom], data...)
	m.start, m.binary, m.volatile, m.sealed = 0, true, false, false
	m.dirtiedConns.Store(0)
	return m
}

// Free gives the message back to the pool. Connections copy what they keep, so a message may be
// freed as soon as the last Push returned.
func (m *Message) Free() {
	if cap(m.buf) <= 16<<10 {
		messagePool.Put(m)
	}
}

// Copy returns a copy of a message that is sealed, which need not be freed.
func (m *Message) Copy() *Message {
	return &Message{buf: append([]byte(nil), m.buf...), start: m.start, binary: m.binary, volatile: m.volatile, sealed: m.sealed}
}

// Volatile marks a message that may be dropped when a connection is behind.
func (m *Message) Volatile() *Message {
	m.volatile = true
	return m
}

// Append adds text to the message.
func (m *Message) Append(s string) *Message {
	m.buf = append(m.buf, s...)
	return m
}

// Buffer returns the buffer for encoders that append to it. Their result goes to SetBuffer.
func (m *Message) Buffer() []byte { return m.buf }

// SetBuffer sets the buffer to what an encoder made of Buffer.
func (m *Message) SetBuffer(b []byte) { m.buf = b }

// Len returns the size of the packet in bytes.
func (m *Message) Len() int { return len(m.buf) - headroom }

// sealFrame writes the frame's header in front of the packet. A message that several goroutines
// send must be sealed before they get it.
func (m *Message) sealFrame() {
	if m.start != 0 {
		return
	}
	op := byte(opText)
	if m.binary {
		op = opBinary
	}
	n := m.Len()
	switch {
	case n < 126:
		m.start = headroom - 2
		m.buf[m.start+1] = byte(n)
	case n < 1<<16:
		m.start = headroom - 4
		m.buf[m.start+1] = 126
		binary.BigEndian.PutUint16(m.buf[m.start+2:], uint16(n))
	default:
		m.start = headroom - 10
		m.buf[m.start+1] = 127
		binary.BigEndian.PutUint64(m.buf[m.start+2:], uint64(n))
	}
	m.buf[m.start] = flagFin | op
}

// Seal makes the message ready to be sent by several goroutines at once.
func (m *Message) Seal() *Message {
	m.sealFrame()
	return m
}

func (m *Message) sealedFrame() []byte {
	if m.sealed {
		return m.buf
	}
	m.sealFrame()
	return m.buf[m.start:]
}
