package engineio

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
)

// A wire is one websocket. Over plain TCP we read and write it ourselves, so that an idle
// connection holds no buffer; where permessage-deflate was agreed, gorilla does.
type wire struct {
	nc  net.Conn
	raw syscall.RawConn // nil where the descriptor can not be used, as with TLS
	z   *websocket.Conn // nil without compression
}

// hijack makes a websocket of a request. head, where it is not nil, is the answer to the handshake, which the caller still has to
// write: what comes next leaves in the same packet.
func (s *Server) hijack(w http.ResponseWriter, r *http.Request) (x *wire, head []byte, err error) {
	late := &lateAnswer{ResponseWriter: w, raw: !s.cfg.Compression || !deflates(r)}
	ws, err := s.upgrader.Upgrade(late, r, nil) // answers by itself when it fails
	if err != nil {
		return nil, nil, err
	}
	x = &wire{nc: late.conn}
	if late.answer != nil {
		head = late.answer.bytes
	}
	_ = x.nc.SetDeadline(time.Time{})
	if !late.raw {
		ws.SetReadLimit(int64(s.cfg.MaxPayload))
		x.z = ws
		return x, nil, nil
	}
	if sc, ok := x.nc.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			x.raw = raw
		}
	}
	return x, head, nil
}

// A lateAnswer keeps back what gorilla writes to a connection that it takes over: the answer to the handshake.
type lateAnswer struct {
	http.ResponseWriter
	raw    bool // we write to the connection ourselves
	conn   net.Conn
	answer *kept
}

func (l *lateAnswer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, rw, err := http.NewResponseController(l.ResponseWriter).Hijack()
	if l.conn = nc; err != nil || !l.raw {
		return nc, rw, err
	}
	l.answer = &kept{Conn: nc}
	return l.answer, rw, nil
}

// kept is a connection that keeps what is written to it.
type kept struct {
	net.Conn
	bytes []byte
}

func (k *kept) Write(b []byte) (int, error) {
	k.bytes = append(k.bytes, b...)
	return len(b), nil
}

func (k *kept) SetDeadline(time.Time) error      { return nil } // the wire has its own
func (k *kept) SetWriteDeadline(time.Time) error { return nil }

func deflates(r *http.Request) bool {
	for _, v := range r.Header["Sec-Websocket-Extensions"] {
		if strings.Contains(v, "permessage-deflate") { // gorilla reads it anywhere in a list
			return true
		}
	}
	return false
}

func (w *wire) close() { _ = w.nc.Close() }

func (w *wire) closeWrite() {
	if tcp, ok := w.nc.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}

// direct tells whether tryWrite works.
func (w *wire) direct() bool { return w.raw != nil }

// attempt is one write that does not wait.
type attempt struct {
	b   []byte
	n   int
	err error
	fn  func(fd uintptr) bool
}

var attempts = sync.Pool{New: func() any {
	a := &attempt{}
	a.fn = func(fd uintptr) bool {
		for {
			a.n, a.err = syscall.Write(int(fd), a.b)
			if a.err != syscall.EINTR {
				return true
			}
		}
	}
	return a
}}

// tryWrite writes what the kernel takes now.
func (w *wire) tryWrite(b []byte) (int, error) {
	a := attempts.Get().(*attempt)
	a.b = b
	err := w.raw.Write(a.fn)
	n := max(a.n, 0)
	if err == nil && a.err != nil && !errors.Is(a.err, syscall.EAGAIN) {
		err = a.err
	}
	a.b = nil
	attempts.Put(a)
	return n, err
}

// write writes frames and waits for it.
func (w *wire) write(frames []byte) error {
	if w.z == nil {
		_, err := w.nc.Write(frames)
		return err
	}
	var err error
	eachFrame(frames, func(op byte, payload []byte) {
		if err != nil {
			return
		}
		if op >= opClose {
			err = w.z.WriteControl(int(op), payload, time.Now().Add(time.Second))
			return
		}
		err = w.z.WriteMessage(int(op), payload)
	})
	return err
}

// eachFrame walks frames that we made ourselves.
func eachFrame(b []byte, each func(op byte, payload []byte)) {
	for len(b) > 0 {
		size, head := int(b[1]), 2
		switch size {
		case 126:
			size, head = int(binary.BigEndian.Uint16(b[2:])), 4
		case 127:
			size, head = int(binary.BigEndian.Uint64(b[2:])), 10
		}
		each(b[0]&maskOp, b[head:head+size])
		b = b[head+size:]
	}
}

const readSize = 16 << 10

var readBuffers = sync.Pool{New: func() any {
	b := make([]byte, readSize)
	return &b
}}

// A reader takes bytes from a wire. Between reads it holds nothing but the part of a frame
// that has not arrived whole.
type reader struct {
	w    *wire
	part []byte  // the beginning of a frame
	need int     // how long the frame is at least
	buf  *[]byte // what is being read into; nil between reads
	big  bool    // buf is our own, made for one large frame
	n    int
	err  error
	try  func(fd uintptr) bool

	parts assembler
	again bool // after this batch, read on with a fresh stack
}

func newReader(w *wire) *reader {
	r := &reader{w: w, again: true}
	r.try = func(fd uintptr) bool {
		r.acquire()
		for {
			r.n, r.err = syscall.Read(int(fd), (*r.buf)[len(r.part):])
			if r.err != syscall.EINTR {
				break
			}
		}
		if r.err == syscall.EAGAIN {
			r.letGo()
			return false
		}
		return true
	}
	return r
}

// acquire makes room for at least one more byte behind part. The room grows with what has
// arrived, not with what the client announced.
func (r *reader) acquire() {
	if r.buf != nil {
		return
	}
	if r.big && len(r.part) < cap(r.part) { // the large frame's own memory has room
		b := r.part[:cap(r.part)]
		r.buf = &b
		return
	}
	if r.need <= readSize && len(r.part) < readSize {
		r.buf, r.big = readBuffers.Get().(*[]byte), false
	} else {
		b := make([]byte, max(readSize, min(r.need, 2*len(r.part)))+1)
		r.buf, r.big = &b, true
	}
	copy(*r.buf, r.part)
}

func (r *reader) letGo() {
	if !r.big && r.buf != nil {
		readBuffers.Put(r.buf)
	}
	r.buf = nil
}

// fill waits for bytes and returns all there are. They are valid until keep.
func (r *reader) fill() ([]byte, error) {
	if r.w.raw != nil {
		if err := r.w.raw.Read(r.try); err != nil {
			return nil, err
		}
	} else {
		r.acquire()
		r.n, r.err = r.w.nc.Read((*r.buf)[len(r.part):])
	}
	if r.n <= 0 {
		if r.err == nil {
			r.err = io.EOF
		}
		r.letGo()
		return nil, r.err
	}
	return (*r.buf)[:len(r.part)+r.n], nil
}

// keep remembers rest, the beginning of a frame of at least need bytes, and lets go of the buffer.
func (r *reader) keep(rest []byte, need int) {
	r.need = need
	own := r.big && len(rest) > 0 && &rest[0] == &(*r.buf)[0]
	switch {
	case own:
		r.part = rest
	case len(rest) > 0:
		r.part = append(r.part[:0:0], rest...)
	default:
		r.part = nil
	}
	r.letGo()
	r.big = own
}
