package engineio

import "sync"

var buffers = sync.Pool{New: func() any {
	b := make([]byte, 0, 1024)
	return &b
}}

func release(b *[]byte) {
	if cap(*b) <= 64<<10 {
		*b = (*b)[:0]
		buffers.Put(b)
	}
}

// Push queues a message; it leaves soon, together with whatever else is sent meanwhile. It
// reports false when the message was dropped: the connection has ended, the message is
// volatile and the client is behind, or the client was just closed for being too slow.
func (c *Conn) Push(m *Message) bool {
	ok, flush := c.enqueue(m, true)
	if flush {
		c.srv.flushers[c.shard].add(c, m)
	}
	return ok
}

// Queue is Push for a caller that will call Flush, or returns from Handler.Message.
func (c *Conn) Queue(m *Message) bool {
	ok, _ := c.enqueue(m, false)
	return ok
}

// Soon sees to it that what was queued leaves, without waiting for it.
func (c *Conn) Soon() {
	c.mu.Lock()
	flush := c.out != nil && !c.dirty && !c.writing
	c.dirty = c.dirty || flush
	c.mu.Unlock()
	if flush {
		c.srv.flushers[c.shard].add(c, nil)
	}
}

// lastWords is how many bytes more may wait once the queue is full, until the close.
const lastWords = 16 << 10

func (c *Conn) enqueue(m *Message, schedule bool) (ok, flush bool) {
	f := m.frame()
	c.mu.Lock()
	if c.state.Load() != stateOpen || m.volatile && (!c.writable() || c.full(len(f))) {
		c.mu.Unlock()
		return false, false
	}
	if c.full(len(f)) && !c.overflow {
		c.overflow = true // lets the last words through
		c.mu.Unlock()
		c.handler.Overflow(c)
		c.shut(ReasonSlowConsumer, true, closeNormal)
		return false, false
	}
	if c.overflow && c.full(len(f)-lastWords) {
		c.mu.Unlock()
		return false, false
	}
	c.append(f)
	if schedule && !c.dirty && !c.writing {
		c.dirty, flush = true, true
	}
	c.mu.Unlock()
	return true, flush
}

// full tells whether n more bytes would be too many. mu is held.
func (c *Conn) full(n int) bool {
	waiting := c.sending
	if c.out != nil {
		waiting += len(*c.out)
	}
	return waiting > 0 && waiting+n > c.srv.cfg.OutboundQueue
}

// writable tells whether the client takes what it is sent. mu is held.
func (c *Conn) writable() bool {
	if c.wire != nil {
		return !c.writing
	}
	return c.poll != nil
}

// append adds frames to what waits. mu is held.
func (c *Conn) append(frames []byte) {
	if c.out == nil {
		c.out = buffers.Get().(*[]byte)
	}
	*c.out = append(*c.out, frames...)
}

// Flush writes what waits, as far as the transport takes it now.
func (c *Conn) Flush() { c.flushed() }

// flushed is Flush that tells how many bytes waited.
func (c *Conn) flushed() (n int) {
	c.mu.Lock()
	c.dirty = false
	if c.out != nil {
		n = len(*c.out)
	}
	c.flush()
	c.mu.Unlock()
	return n
}

// flush is Flush; mu is held.
func (c *Conn) flush() {
	if c.out == nil || c.writing || c.state.Load() == stateClosed {
		return
	}
	if c.wire == nil {
		c.answerPoll()
		return
	}
	if c.wire.direct() {
		n, err := c.wire.tryWrite(*c.out)
		if err != nil {
			c.lost()
			return
		}
		if n == len(*c.out) {
			release(c.out)
			c.out = nil
			c.sent()
			return
		}
		*c.out = append((*c.out)[:0], (*c.out)[n:]...)
	}
	c.writing = true
	go c.write(c.wire)
}

// write is the writer of a connection whose client is behind: it waits for the client and
// ends when nothing is left.
func (c *Conn) write(w *wire) {
	for {
		c.mu.Lock()
		b := c.out
		c.out, c.sending = nil, 0
		if b == nil {
			c.writing = false
			c.sent()
			c.mu.Unlock()
			return
		}
		c.sending = len(*b)
		c.mu.Unlock()
		err := w.write(*b)
		release(b)
		if err != nil {
			c.mu.Lock()
			c.writing, c.sending = false, 0
			c.lost()
			c.mu.Unlock()
			return
		}
	}
}

// sent is called when nothing waits any more. mu is held.
func (c *Conn) sent() {
	if c.state.Load() == stateClosing && c.wire != nil {
		c.wire.closeWrite() // the client answers by closing; the timer sees to it that it ends
	}
}

// lost is called when the websocket does not take what it is given. mu is held.
func (c *Conn) lost() {
	if c.state.Load() == stateClosing {
		c.finishLocked()
		return
	}
	c.wire.close() // the reader notices, and ends the connection
}

// answerPoll gives everything that waits to the poll that waits. mu is held.
func (c *Conn) answerPoll() {
	if c.poll == nil || c.out == nil {
		return
	}
	c.poll <- c.takeBody()
	c.poll = nil
	switch {
	case c.state.Load() != stateClosing:
	case c.farewell != nil:
		c.append(c.farewell)
		c.farewell = nil
	default: // the timer forgets the sid: what the client sends meanwhile is not held against it
	}
}

// takeBody makes the body of a poll's answer. mu is held.
func (c *Conn) takeBody() []byte {
	var body []byte
	eachFrame(*c.out, func(op byte, payload []byte) {
		body = appendPacket(body, op == opBinary, payload)
	})
	release(c.out)
	c.out = nil
	return body
}

// PushAll is Push for a text message with the binary messages that belong to it: all of
// them leave one after the other, or none does.
func (c *Conn) PushAll(text *Message, binary []*Message) bool {
	all := NewText()
	all.buf = append(all.buf[:0], text.frame()...)
	for _, b := range binary {
		all.buf = append(all.buf, b.frame()...)
	}
	all.sealed, all.volatile = true, text.volatile
	ok := c.Push(all)
	all.Free()
	return ok
}
