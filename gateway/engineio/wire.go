package engineio

import (
	"bufio"
	"bytes"
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

	"github.com/aeturnis/realtime/internal/tlsserve"
)

// A wire is one websocket. Over plain TCP this package reads and writes it, so that an idle
// connection holds no buffer. Where permessage-deflate was agreed, gorilla/websocket does.
type wire struct {
	nc        net.Conn
	raw       syscall.RawConn // nil where the descriptor can not be used, as with TLS
	below     *tlsserve.Conn  // below TLS; nil without it, and with compression
	deflating *websocket.Conn // nil without compression
}

// hijackWebsocket makes a websocket of a request. head, if it is not nil, is the answer to the
// handshake, which the caller must still write: what it writes with it leaves in the same packet.
func (s *Server) hijackWebsocket(w http.ResponseWriter, r *http.Request) (x *wire, head []byte, err error) {
	late := &heldAnswer{ResponseWriter: w, isDirect: !s.cfg.Compression || !offersDeflate(r)}
	ws, err := s.upgrader.Upgrade(late, r, answerProtocols(r)) // answers by itself when it fails
	if err != nil {
		return nil, nil, err
	}
	x = &wire{nc: late.conn}
	if late.answer != nil {
		head = late.answer.written
	}
	_ = x.nc.SetDeadline(time.Time{})
	if !late.isDirect {
		ws.SetReadLimit(int64(s.cfg.MaxPayload))
		x.deflating = ws
		return x, nil, nil
	}
	if below := tlsserve.Below(x.nc); below != nil && below.StartPolling() {
		x.below = below
	}
	if sc, ok := x.nc.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			x.raw = raw
		}
	}
	return x, head, nil
}

// answerProtocols returns the header that answers the websocket protocols that a client offers:
// with the first one, as Node's server does. A browser gives up on a websocket without an answer.
func answerProtocols(r *http.Request) http.Header {
	offered := websocket.Subprotocols(r)
	if len(offered) == 0 || offered[0] == "" {
		return nil
	}
	return http.Header{"Sec-Websocket-Protocol": offered[:1]}
}

// A heldAnswer holds back what gorilla writes to a connection that it hijacks: the answer to the
// handshake.
type heldAnswer struct {
	http.ResponseWriter
	isDirect bool // this package writes to the connection, not gorilla
	conn     net.Conn
	answer   *recordingConn
}

func (l *heldAnswer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, rw, err := http.NewResponseController(l.ResponseWriter).Hijack()
	if l.conn = nc; err != nil {
		return nc, rw, err
	}
	if !l.isDirect {
		return closeReasonConn{nc}, rw, nil
	}
	l.answer = &recordingConn{Conn: nc}
	return l.answer, rw, nil
}

// A recordingConn keeps what is written to it, instead of sending it.
type recordingConn struct {
	net.Conn
	written []byte
}

func (k *recordingConn) Write(b []byte) (int, error) {
	k.written = append(k.written, b...)
	return len(b), nil
}

func (k *recordingConn) SetDeadline(time.Time) error      { return nil } // deadlines are set on the real connection
func (k *recordingConn) SetWriteDeadline(time.Time) error { return nil }

// A closeReasonConn corrects one answer of gorilla: to a close frame whose reason is not UTF-8 it
// sends status 1002, where RFC 6455 section 8.1 has 1007. Gorilla writes a control frame whole.
type closeReasonConn struct{ net.Conn }

var gorillaNotUTF8 = appendControl(nil, opClose, websocket.FormatCloseMessage(closeBad, "invalid utf8 payload in close frame"))

func (c closeReasonConn) Write(b []byte) (int, error) {
	if !bytes.Equal(b, gorillaNotUTF8) {
		return c.Conn.Write(b)
	}
	_, err := c.Conn.Write(appendClose(nil, closeFrame{code: closeUTF8}))
	return len(b), err
}

func offersDeflate(r *http.Request) bool {
	for _, v := range r.Header["Sec-Websocket-Extensions"] {
		if strings.Contains(v, "permessage-deflate") { // gorilla reads it anywhere in a list
			return true
		}
	}
	return false
}

// close closes the connection. Over TLS it sends no alert, which may have to wait for the client:
// the close frame of the websocket has said what an alert would say.
func (w *wire) close() {
	if below := tlsserve.Below(w.nc); below != nil {
		_ = below.Close()
		return
	}
	_ = w.nc.Close()
}

// closeWrite closes the sending side. It does not wait for the client, see close.
func (w *wire) closeWrite() {
	if below := tlsserve.Below(w.nc); below != nil {
		_ = below.CloseWrite()
		return
	}
	if tcp, ok := w.nc.(interface{ CloseWrite() error }); ok {
		_ = tcp.CloseWrite()
	}
}

// canTryWrite reports whether tryWrite may be called.
func (w *wire) canTryWrite() bool { return w.raw != nil }

// A writeAttempt is one write that does not wait.
type writeAttempt struct {
	b        []byte
	n        int
	err      error
	tryWrite func(fd uintptr) bool
}

var writeAttempts = sync.Pool{New: func() any {
	a := &writeAttempt{}
	a.tryWrite = func(fd uintptr) bool {
		for {
			a.n, a.err = syscall.Write(int(fd), a.b)
			if a.err != syscall.EINTR {
				return true
			}
		}
	}
	return a
}}

// tryWrite writes as much as the kernel takes now, and returns how much that was.
func (w *wire) tryWrite(b []byte) (int, error) {
	a := writeAttempts.Get().(*writeAttempt)
	a.b = b
	err := w.raw.Write(a.tryWrite)
	n := max(a.n, 0)
	if err == nil && a.err != nil && !errors.Is(a.err, syscall.EAGAIN) {
		err = a.err
	}
	a.b = nil
	writeAttempts.Put(a)
	return n, err
}

// writeFrames writes frames, and waits until the kernel has taken all of them.
func (w *wire) writeFrames(frames []byte) error {
	if w.deflating == nil {
		_, err := w.nc.Write(frames)
		return err
	}
	var err error
	forEachFrame(frames, func(op byte, payload []byte) {
		if err != nil {
			return
		}
		if op >= opClose {
			err = w.deflating.WriteControl(int(op), payload, time.Now().Add(time.Second))
			return
		}
		err = w.deflating.WriteMessage(int(op), payload)
	})
	return err
}

// forEachFrame calls each with every frame in b. The frames are our own, so they are not checked.
func forEachFrame(b []byte, each func(op byte, payload []byte)) {
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

// A reader reads bytes from a wire. Between reads it holds nothing but the beginning of a frame
// that has not arrived completely.
type reader struct {
	w          *wire
	part       []byte  // the beginning of a frame
	need       int     // a lower bound of the frame's length
	buf        *[]byte // the buffer of the current read; nil between reads
	ownsBuffer bool    // buf was made for one large frame, and is not from the pool
	n          int
	err        error
	tryRead    func(fd uintptr) bool

	fragments       assembler
	wantsFreshStack bool // after this batch, continue on a new goroutine
	isProbing       bool // the websocket of an upgrade that the client has not switched to
	isRestExpected  bool // Conn.expectRest was told so

	// Over TLS:
	isDrained    bool // the next read would find nothing, and first waits
	waitsOnFresh bool // reading ends with errFreshStack before it waits: crypto/tls needs a deep stack
	hasRead      bool // since it waited last
}

func newReader(w *wire) *reader {
	r := &reader{w: w, wantsFreshStack: true}
	r.tryRead = func(fd uintptr) bool {
		r.acquireBuffer()
		for {
			r.n, r.err = syscall.Read(int(fd), (*r.buf)[len(r.part):])
			if r.err != syscall.EINTR {
				break
			}
		}
		if r.err == syscall.EAGAIN {
			r.releaseBuffer()
			return false
		}
		return true
	}
	return r
}

// acquireBuffer gets a buffer with room for at least one more byte behind part. It grows with what
// has arrived, not with the length that the client announced.
func (r *reader) acquireBuffer() {
	if r.buf != nil {
		return
	}
	if r.ownsBuffer && len(r.part) < cap(r.part) { // the buffer of the large frame has room
		b := r.part[:cap(r.part)]
		r.buf = &b
		return
	}
	if r.need <= readSize && len(r.part) < readSize {
		r.buf, r.ownsBuffer = readBuffers.Get().(*[]byte), false
	} else {
		b := make([]byte, max(readSize, min(r.need, 2*len(r.part)))+1)
		r.buf, r.ownsBuffer = &b, true
	}
	copy(*r.buf, r.part)
}

// readSecure reads from TLS. It holds no buffer while it waits for the client.
func (r *reader) readSecure() {
	for {
		if r.isDrained {
			if r.n, r.err = 0, r.w.below.WaitForData(); r.err != nil {
				return
			}
			r.isDrained = false
		}
		r.acquireBuffer()
		r.n, r.err = r.w.nc.Read((*r.buf)[len(r.part):])
		if r.n > 0 || !errors.Is(r.err, tlsserve.ErrNoData) {
			r.hasRead = true
			return
		}
		r.releaseBuffer()
		r.isDrained = true
		if r.waitsOnFresh && r.hasRead {
			r.hasRead, r.err = false, errFreshStack
			return
		}
	}
}

func (r *reader) releaseBuffer() {
	if !r.ownsBuffer && r.buf != nil {
		readBuffers.Put(r.buf)
	}
	r.buf = nil
}

// waitForBytes waits for bytes, and returns part with all bytes that arrived. They are valid until
// keepPart.
func (r *reader) waitForBytes() ([]byte, error) {
	switch {
	case r.w.raw != nil:
		if err := r.w.raw.Read(r.tryRead); err != nil {
			return nil, err
		}
	case r.w.below != nil:
		r.readSecure()
	default:
		r.acquireBuffer()
		r.n, r.err = r.w.nc.Read((*r.buf)[len(r.part):])
	}
	if r.n <= 0 {
		if r.err == nil {
			r.err = io.EOF
		}
		r.releaseBuffer()
		return nil, r.err
	}
	return (*r.buf)[:len(r.part)+r.n], nil
}

// keepPartialFrame keeps rest, the beginning of a frame of at least need bytes, and releases the
// buffer.
func (r *reader) keepPartialFrame(rest []byte, need int) {
	r.need = need
	own := r.ownsBuffer && len(rest) > 0 && &rest[0] == &(*r.buf)[0]
	switch {
	case own:
		r.part = rest
	case len(rest) > 0:
		r.part = append(r.part[:0:0], rest...)
	default:
		r.part = nil
	}
	r.releaseBuffer()
	r.ownsBuffer = own
}
