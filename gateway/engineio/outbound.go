package engineio

import "sync"

var outboundBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, 1024)
	return &b
}}

func recycleBuffer(b *[]byte) {
	if cap(*b) <= 64<<10 {
		*b = (*b)[:0]
		outboundBuffers.Put(b)
	}
}

// Push queues a message. It leaves soon, together with what else is sent meanwhile. Push reports
// false when the message was dropped: the connection has ended, the message is volatile and the
// client is behind, or the client was just closed because it is too slow.
func (c *Conn) Push(m *Message) bool {
	ok, flush := c.enqueueMessage(m, true)
	if flush {
		c.srv.flushers[c.shard].scheduleFlush(c, m)
	}
	return ok
}

// Queue is like Push for a caller that calls Flush afterwards, or returns from Handler.Message.
func (c *Conn) Queue(m *Message) bool {
	ok, _ := c.enqueueMessage(m, false)
	return ok
}

// FlushSoon schedules a Flush on another goroutine.
func (c *Conn) FlushSoon() {
	c.mu.Lock()
	flush := c.outbound != nil && !c.hasFlusher && !c.hasWriter && !c.isCorked
	c.hasFlusher = c.hasFlusher || flush
	c.mu.Unlock()
	if flush {
		c.srv.flushers[c.shard].scheduleFlush(c, nil)
	}
}

// lastWords is how many more bytes may be queued between Overflow and the close.
const lastWords = 16 << 10

func (c *Conn) enqueueMessage(m *Message, schedule bool) (ok, flush bool) {
	f := m.sealedFrame()
	c.mu.Lock()
	if c.state.Load() != stateOpen {
		c.mu.Unlock()
		return false, false
	}
	if m.volatile && (!c.isWritable() || c.wouldOverflow(len(f))) {
		c.mu.Unlock()
		c.srv.droppedVolatile.Add(1)
		return false, false
	}
	if c.wouldOverflow(len(f)) && !c.hasOverflowed {
		c.hasOverflowed = true // from here on lastWords more bytes are let through
		c.mu.Unlock()
		c.handler.Overflow(c)
		c.beginClose(ReasonSlowConsumer, true, normalClosure)
		return false, false
	}
	if c.hasOverflowed && c.wouldOverflow(len(f)-lastWords) {
		c.mu.Unlock()
		return false, false
	}
	c.appendFrames(f)
	if schedule && !c.hasFlusher && !c.hasWriter && !c.isCorked {
		c.hasFlusher, flush = true, true
	}
	c.mu.Unlock()
	return true, flush
}

// wouldOverflow reports whether n more bytes are too many for the queue. mu is held.
func (c *Conn) wouldOverflow(n int) bool {
	waiting := c.bytesInWriter
	if c.outbound != nil {
		waiting += len(*c.outbound)
	}
	return waiting > 0 && waiting+n > c.srv.cfg.OutboundQueue
}

// QueuedBytes returns how many bytes wait for the client.
func (c *Conn) QueuedBytes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	waiting := c.bytesInWriter
	if c.outbound != nil {
		waiting += len(*c.outbound)
	}
	return waiting
}

// isWritable reports whether the client can be sent something now. mu is held.
func (c *Conn) isWritable() bool {
	if c.wire != nil {
		return !c.hasWriter
	}
	return c.waitingPoll != nil
}

// appendFrames appends frames to the queue. mu is held.
func (c *Conn) appendFrames(frames []byte) {
	if c.outbound == nil {
		c.outbound = outboundBuffers.Get().(*[]byte)
	}
	*c.outbound = append(*c.outbound, frames...)
}

// Cork holds back everything that is sent until Uncork, so that it leaves together. What a writer
// has taken already still leaves.
func (c *Conn) Cork() {
	c.mu.Lock()
	c.isCorked = true
	c.mu.Unlock()
}

// Uncork ends Cork and writes what is queued. Without a Cork it does nothing.
func (c *Conn) Uncork() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isCorked {
		c.isCorked = false
		c.flushLocked()
	}
}

// Flush writes what is queued, as far as the transport takes it now.
func (c *Conn) Flush() { c.flushAndCount() }

// flushAndCount flushes, and returns how many bytes were queued.
func (c *Conn) flushAndCount() (n int) {
	c.mu.Lock()
	c.hasFlusher = false
	if c.outbound != nil {
		n = len(*c.outbound)
	}
	c.flushLocked()
	c.mu.Unlock()
	return n
}

// flushLocked flushes. mu is held.
func (c *Conn) flushLocked() {
	if c.outbound == nil || c.hasWriter || c.isCorked || c.state.Load() == stateClosed {
		return
	}
	if c.wire == nil {
		c.answerPoll()
		return
	}
	if c.wire.canTryWrite() {
		n, err := c.wire.tryWrite(*c.outbound)
		if err != nil {
			c.handleLostWebsocket()
			return
		}
		if n == len(*c.outbound) {
			recycleBuffer(c.outbound)
			c.outbound = nil
			c.finishSending()
			return
		}
		*c.outbound = append((*c.outbound)[:0], (*c.outbound)[n:]...)
	}
	c.hasWriter = true
	go c.writeUntilEmpty(c.wire)
}

// writeUntilEmpty is the goroutine that writes while the client is behind: it waits for the client,
// and ends when the queue is empty.
func (c *Conn) writeUntilEmpty(w *wire) {
	for {
		c.mu.Lock()
		b := c.outbound
		if c.isCorked { // Uncork flushes what waits
			c.hasWriter, c.bytesInWriter = false, 0
			c.mu.Unlock()
			return
		}
		c.outbound, c.bytesInWriter = nil, 0
		if b == nil {
			c.hasWriter = false
			c.finishSending()
			c.mu.Unlock()
			return
		}
		c.bytesInWriter = len(*b)
		c.mu.Unlock()
		err := w.writeFrames(*b)
		recycleBuffer(b)
		if err != nil {
			c.mu.Lock()
			c.hasWriter, c.bytesInWriter = false, 0
			c.handleLostWebsocket()
			c.mu.Unlock()
			return
		}
	}
}

// finishSending is called when everything was written. A closing connection then closes its side of
// the websocket. mu is held.
func (c *Conn) finishSending() {
	if c.state.Load() == stateClosing && c.wire != nil {
		c.wire.closeWrite() // the client answers by closing its side; the timer ends a connection whose client does not
	}
}

// handleLostWebsocket is called when writing to the websocket failed. mu is held.
func (c *Conn) handleLostWebsocket() {
	if c.state.Load() == stateClosing {
		c.finishLocked()
		return
	}
	c.wire.close() // the reader notices, and ends the connection
}

// answerPoll gives everything that is queued to the waiting poll, if there is one. mu is held.
func (c *Conn) answerPoll() {
	if c.waitingPoll == nil || c.outbound == nil || c.isCorked {
		return
	}
	c.waitingPoll <- c.takePollBody()
	c.waitingPoll = nil
	switch {
	case c.state.Load() != stateClosing:
	case c.farewell != nil:
		c.appendFrames(c.farewell)
		c.farewell = nil
	default: // the timer ends the connection: until then late requests of the client find its sid
		c.srv.releasePlace(c)
	}
}

// takePollBody empties the queue into the body of a poll's answer. mu is held.
func (c *Conn) takePollBody() []byte {
	var body []byte
	forEachFrame(*c.outbound, func(op byte, payload []byte) {
		body = appendPacket(body, op == opBinary, payload)
	})
	recycleBuffer(c.outbound)
	c.outbound = nil
	return body
}

// PushAll is like Push for a text message and the binary messages that belong to it: either all of
// them leave, one directly after the other, or none does.
func (c *Conn) PushAll(text *Message, binary []*Message) bool {
	all := NewText()
	all.buf = append(all.buf[:0], text.sealedFrame()...)
	for _, b := range binary {
		all.buf = append(all.buf, b.sealedFrame()...)
	}
	all.sealed, all.volatile = true, text.volatile
	ok := c.Push(all)
	all.Free()
	return ok
}
