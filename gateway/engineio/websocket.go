package engineio

import (
	"errors"
	"io"
	"net"
	"runtime"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

func closeStatus(err error) int {
	var c *closeError
	switch {
	case errors.As(err, &c):
		return c.code
	case errors.Is(err, ErrTooLarge):
		return closeLarge
	}
	return closeNormal
}

// read is the goroutine of a websocket: it reads until the connection ends.
func (c *Conn) read(r *reader) {
	err := c.readFrames(r, c.take)
	if errors.Is(err, errAgain) {
		go c.read(r)
		return
	}
	c.ended(r.w, err)
}

// errAgain asks for reading to go on on a goroutine of its own: the first packets, with
// which a connection logs in or is upgraded, have grown the stack of the one that read them.
var errAgain = errors.New("engineio: read on")

// take handles one websocket message.
func (c *Conn) take(isBinary bool, data []byte) error {
	if isBinary {
		return c.receive(packetBinary, data)
	}
	return textPacket(data, c.receive)
}

// ended closes the connection because reading its websocket ended with err, and reads on
// until the client has had time to hear why.
func (c *Conn) ended(w *wire, err error) {
	switch {
	case errors.Is(err, errPeerClosed), errors.Is(err, io.EOF):
		c.shut(ReasonTransportClose, false, closeNormal)
	case isNetwork(err):
		c.shut(ReasonTransportError, false, closeNormal)
	case err != nil:
		c.fail(err)
	}
	w.discard()
	c.finish()
}

// isNetwork tells errors of the connection from violations of the client.
func isNetwork(err error) bool {
	var ne net.Error // every errno, timeout and net.OpError is one
	return errors.As(err, &ne) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrUnexpectedEOF)
}

// discard reads until the other side closes, or somebody closes the wire.
func (w *wire) discard() {
	r := newReader(&wire{nc: w.nc, raw: w.raw})
	for {
		if _, err := r.fill(); err != nil {
			w.close()
			return
		}
		r.keep(nil, 0)
	}
}

// readFrames gives every message of the websocket to each, and answers what the websocket
// protocol itself asks for. It returns why it ended: each's error, the client's close, a
// violation, the network's error, or errAgain.
func (c *Conn) readFrames(r *reader, each func(isBinary bool, data []byte) error) error {
	if r.w.z != nil {
		return c.readCompressed(r.w, each)
	}
	limit := c.srv.cfg.MaxPayload
	for {
		b, err := r.fill()
		if err != nil {
			return err
		}
		need := 0
		for len(b) > 0 {
			var f frame
			var n int
			if f, n, need, err = parseFrame(b, limit); err != nil {
				r.letGo()
				return err
			}
			if n == 0 {
				break
			}
			b = b[n:]
			if err = c.frame(r, f, limit, each); err != nil {
				r.letGo()
				return err
			}
		}
		r.keep(b, need)
		if c.waiting() {
			c.Flush()
		}
		if r.again {
			r.again = false
			return errAgain
		}
		runtime.Gosched()
	}
}

// waiting tells whether something is queued that no flusher will come for.
func (c *Conn) waiting() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out != nil && !c.writing
}

func (c *Conn) frame(r *reader, f frame, limit int, each func(bool, []byte) error) error {
	switch f.op {
	case opPing:
		c.control(r.w, appendControl(nil, opPong, f.payload))
		return nil
	case opPong:
		return nil
	case opClose:
		if err := checkClose(f.payload); err != nil {
			return err
		}
		c.control(r.w, appendControl(nil, opClose, f.payload[:min(2, len(f.payload))]))
		return errPeerClosed
	}
	data, isBinary, complete, err := r.parts.add(f, limit)
	if err != nil || !complete {
		return err
	}
	return each(isBinary, data)
}

// control sends a control frame over a wire: in its turn where the wire is the
// connection's own, at once where it is one that still probes.
func (c *Conn) control(w *wire, frame []byte) {
	c.mu.Lock()
	own := c.wire == w
	if own && !c.full(len(frame)) {
		c.append(frame)
		c.flush()
	}
	c.mu.Unlock()
	if !own { // nobody else writes to it, and it may block: never under mu
		_, _ = w.nc.Write(frame)
	}
}

func (c *Conn) readCompressed(w *wire, each func(bool, []byte) error) error {
	limit := int64(c.srv.cfg.MaxPayload)
	for {
		kind, message, err := w.z.NextReader()
		var data []byte
		if err == nil { // the library's own limit counts compressed bytes
			data, err = io.ReadAll(io.LimitReader(message, limit+1))
		}
		var closed *websocket.CloseError
		switch {
		case errors.Is(err, websocket.ErrReadLimit), int64(len(data)) > limit:
			return ErrTooLarge
		case errors.As(err, &closed):
			return errPeerClosed
		case err != nil && !isNetwork(err):
			return &closeError{closeBad, err.Error()}
		case err != nil:
			return err
		}
		if kind == websocket.TextMessage && !utf8.Valid(data) {
			return &closeError{closeUTF8, "text is not UTF-8"}
		}
		if err := each(kind == websocket.BinaryMessage, data); err != nil {
			return err
		}
		if c.waiting() {
			c.Flush()
		}
	}
}
