package engineio

import (
	"errors"
	"io"
	"net"
	"runtime"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

// closeFrameFor returns what a client is told that broke the protocol.
func closeFrameFor(err error) closeFrame {
	var c *closeError
	switch {
	case errors.As(err, &c):
		return closeFrame{code: c.code}
	case errors.Is(err, ErrTooLargeYet):
		return closeTooEarly
	case errors.Is(err, ErrTooLarge):
		return closeFrame{code: closeLarge}
	}
	return normalClosure
}

// readWebsocket is the reading goroutine of a websocket. It reads until the connection ends.
func (c *Conn) readWebsocket(r *reader) {
	r.waitsOnFresh = r.w.below != nil
	err := c.readFrames(r, c.handleMessage)
	if errors.Is(err, errFreshStack) {
		go c.readWebsocket(r)
		return
	}
	c.closeAfterReading(r.w, err)
}

// errFreshStack asks the caller to continue on a new goroutine: the first packets, with which a
// connection logs in or is upgraded, have grown the stack of the goroutine that handled them. Over
// TLS each read grows it.
var errFreshStack = errors.New("engineio: continue on a new goroutine")

// handleMessage handles one websocket message.
func (c *Conn) handleMessage(isBinary bool, data []byte) error {
	if isBinary {
		return c.handlePacket(packetBinary, data)
	}
	return textPacket(data, c.handlePacket)
}

// closeAfterReading closes the connection because reading its websocket ended with err. It then
// discards what the client still sends, so that the client receives the reason before the TCP
// connection ends.
func (c *Conn) closeAfterReading(w *wire, err error) {
	switch {
	case errors.Is(err, errPeerClosed), errors.Is(err, io.EOF):
		c.beginClose(ReasonTransportClose, false, normalClosure)
	case isNetworkError(err):
		c.beginClose(ReasonTransportError, false, normalClosure)
	case err != nil:
		c.closeForViolation(err)
	}
	w.discardUntilClosed()
	c.finishNow()
}

// isNetworkError reports whether an error comes from the network, and is not a violation of the
// client.
func isNetworkError(err error) bool {
	var ne net.Error // every errno, timeout and net.OpError is one
	return errors.As(err, &ne) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrUnexpectedEOF)
}

// discardUntilClosed reads until either side closes the websocket.
func (w *wire) discardUntilClosed() {
	r := newReader(&wire{nc: w.nc, raw: w.raw, below: w.below})
	for {
		if _, err := r.waitForBytes(); err != nil {
			w.close()
			return
		}
		r.keepPartialFrame(nil, 0)
	}
}

// readFrames calls each with every message of the websocket, and answers the control frames. It
// returns why it ended: an error of each, the client's close, a violation, an error of the network,
// or errFreshStack.
func (c *Conn) readFrames(r *reader, each func(isBinary bool, data []byte) error) error {
	if r.w.deflating != nil {
		return c.readCompressed(r.w, each)
	}
	for {
		b, err := r.waitForBytes()
		if err != nil {
			return err
		}
		need := 0
		for len(b) > 0 {
			var f frame
			var n int
			limit := c.frameLimit(r)
			if f, n, need, err = parseFrame(b, max(limit-len(r.fragments.part), maxControl)); err != nil {
				r.releaseBuffer()
				return c.markEarly(err)
			}
			if n == 0 {
				break
			}
			b = b[n:]
			if err = c.handleFrame(r, f, limit, each); err != nil {
				r.releaseBuffer()
				return c.markEarly(err)
			}
		}
		r.keepPartialFrame(b, need)
		if isPart := len(b) > 0 || r.fragments.open; isPart != r.isRestExpected && (r.isRestExpected || !c.isConfirmed.Load()) {
			r.isRestExpected = isPart
			c.expectRest(isPart)
		}
		if c.hasUnflushed() {
			c.Flush()
		}
		if r.wantsFreshStack {
			r.wantsFreshStack = false
			return errFreshStack
		}
		runtime.Gosched()
	}
}

// frameLimit returns how many bytes the next message of a reader may have.
func (c *Conn) frameLimit(r *reader) int {
	if r.isProbing {
		return c.srv.cfg.EarlyPayload
	}
	return c.messageLimit()
}

// hasUnflushed reports whether something is queued and no writer runs.
func (c *Conn) hasUnflushed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.outbound != nil && !c.hasWriter
}

func (c *Conn) handleFrame(r *reader, f frame, limit int, each func(bool, []byte) error) error {
	switch f.op {
	case opPing:
		c.sendControlFrame(r.w, appendControl(nil, opPong, f.payload))
		return nil
	case opPong:
		return nil
	case opClose:
		if err := checkCloseFrame(f.payload); err != nil {
			return err
		}
		c.sendControlFrame(r.w, appendControl(nil, opClose, f.payload[:min(2, len(f.payload))]))
		return errPeerClosed
	}
	data, isBinary, complete, err := r.fragments.addFrame(f, limit)
	if err != nil || !complete {
		return err
	}
	return each(isBinary, data)
}

// sendControlFrame sends a control frame over a wire. On the connection's own wire it takes its
// turn in the queue; on the wire of an upgrade under way it is written at once.
func (c *Conn) sendControlFrame(w *wire, frame []byte) {
	c.mu.Lock()
	own := c.wire == w
	if own && !c.wouldOverflow(len(frame)) {
		c.appendFrames(frame)
		c.flushLocked()
	}
	c.mu.Unlock()
	if !own { // nothing else writes to it; the write may block, so it is not made under mu
		_, _ = w.nc.Write(frame)
	}
}

func (c *Conn) readCompressed(w *wire, each func(bool, []byte) error) error {
	for {
		kind, message, err := w.deflating.NextReader()
		limit := int64(c.messageLimit())
		var data []byte
		if err == nil { // gorilla's own limit counts compressed bytes
			isEarly := !c.isConfirmed.Load()
			if isEarly {
				c.expectRest(true)
			}
			data, err = io.ReadAll(io.LimitReader(message, limit+1))
			if isEarly {
				c.expectRest(false)
			}
		}
		var closed *websocket.CloseError
		switch {
		case errors.Is(err, websocket.ErrReadLimit), int64(len(data)) > limit:
			return c.markEarly(ErrTooLarge)
		case errors.As(err, &closed):
			return errPeerClosed
		case err != nil && !isNetworkError(err):
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
		if c.hasUnflushed() {
			c.Flush()
		}
	}
}
