package engineio

import (
	"bufio"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Handler is told what happens to one connection.
type Handler interface {
	// Message is one message from the client. data is only valid during the call, and may
	// be changed. While Message blocks, nothing more is read from the client, and its
	// ping timeout stands still. An error is a violation: Malformed is called with it, and
	// the connection is closed.
	Message(c *Conn, binary bool, data []byte) error
	// Malformed says that the client broke the protocol and is about to be closed: the
	// moment for last words. err is ErrTooLarge, ErrMalformed, ErrTooMany, or what
	// Message returned.
	Malformed(c *Conn, err error)
	// Overflow says that the outbound queue is full and the client is about to be closed:
	// the moment for last words. It is called once.
	Overflow(c *Conn)
	// Closed is called once, when nothing more comes in or goes out.
	Closed(c *Conn, reason string)
}

type state = int32

const (
	stateOpen    state = iota
	stateClosing       // the handler knows; what was sent may still leave
	stateClosed
)

// request is what is remembered of the handshake's HTTP request, until Forget.
type request struct {
	header http.Header
	uri    string
	secure bool
}

// A Conn is one client, over whichever transport.
type Conn struct {
	listeners // for the library

	// static after open
	srv     *Server
	id      string
	addr    string
	shard   int
	opened  time.Time
	handler Handler

	request atomic.Pointer[request]
	// credentials are headers in wire format; nil where there are none.
	credentials atomic.Pointer[string]
	state       atomic.Int32
	seen        atomic.Int64 // when the client was last heard, Unix ns
	blocked     atomic.Bool  // the handler keeps the reader waiting
	confirmed   atomic.Bool
	posting     atomic.Bool
	held        atomic.Bool

	inbound sync.Mutex // held while a POST is handled, and to take the client's packets away from POSTs

	mu       sync.Mutex
	timer    *time.Timer // guarded by mu
	expected time.Time   // by when Confirm is due; guarded by mu
	pingAt   time.Time   // when the unanswered ping was sent, or zero; guarded by mu
	wire     *wire       // nil while polling; guarded by mu
	poll     chan []byte // the poll that waits, or nil; guarded by mu
	probing  bool        // an upgrade is under way; guarded by mu
	prober   *wire       // the websocket of that upgrade; guarded by mu
	out      *[]byte     // frames that wait; guarded by mu
	sending  int         // bytes that the writer has taken; guarded by mu
	writing  bool        // a writer runs, or the connection is being opened; guarded by mu
	dirty    bool        // a flusher will come; guarded by mu
	overflow bool        // guarded by mu
	// farewell is the packet that ends polling. It travels alone, in a poll of its own: the
	// client drops what came together with it. Guarded by mu.
	farewell []byte
}

// ID is the sid. It is a secret between client and server.
func (c *Conn) ID() string { return c.id }

// Addr is the client's IP address.
func (c *Conn) Addr() string { return c.addr }

// Handler is what Config.Handler made.
func (c *Conn) Handler() Handler { return c.handler }

// Open tells whether messages can still be sent.
func (c *Conn) Open() bool { return c.state.Load() == stateOpen }

// TransportName is "polling" or "websocket".
func (c *Conn) TransportName() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wire == nil {
		return "polling"
	}
	return "websocket"
}

// Header gives the headers of the handshake; after Forget only where they carry credentials.
func (c *Conn) Header() http.Header {
	if r := c.request.Load(); r != nil {
		return r.header
	}
	if kept := c.credentials.Load(); kept != nil {
		h, err := textproto.NewReader(bufio.NewReader(strings.NewReader(*kept))).ReadMIMEHeader()
		if err == nil {
			return http.Header(h)
		}
	}
	return nil
}

// Confirm says that the client has shown what it came for: the connect timeout no longer
// applies, until Expect.
func (c *Conn) Confirm() { c.confirmed.Store(true) }

// Expect starts the connect timeout again.
func (c *Conn) Expect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.confirmed.Swap(false) && c.state.Load() == stateOpen && c.timer != nil {
		c.expected = time.Now().Add(c.srv.cfg.ConnectTimeout)
		c.timer.Reset(0) // it finds out by itself what is due
	}
}

// Hold makes ReadyState say "open" whatever happens, for a library that must be let finish.
func (c *Conn) Hold(held bool) { c.held.Store(held) }

// Forget frees what was kept of the handshake. Headers with an Authorization or a Cookie stay,
// as one small string: a client that leaves its namespace may connect again by them.
func (c *Conn) Forget() {
	r := c.request.Swap(nil)
	if r == nil || r.header.Get("Authorization") == "" && r.header.Get("Cookie") == "" {
		return
	}
	var b strings.Builder
	_ = r.header.Write(&b) // a Builder takes everything
	b.WriteString("\r\n")
	kept := b.String()
	c.credentials.Store(&kept)
}

// open introduces the connection: first our side, then the client's OPEN, behind head, the answer to the handshake of a websocket.
func (c *Conn) open(r *http.Request, head []byte) {
	c.heard()
	if c.srv.cfg.Handler != nil {
		c.handler = c.srv.cfg.Handler(c, r)
	}
	if c.handler == nil {
		c.handler = emitting{}
		c.srv.Emit("connection", c)
	}
	cfg := &c.srv.cfg
	m := NewText()
	b := append(m.Buffer()[:headroom], packetOpen)
	b = append(append(append(b, `{"sid":"`...), c.id...), `","upgrades":[`...)
	c.mu.Lock()
	if c.wire == nil {
		b = append(b, `"websocket"`...)
	}
	b = strconv.AppendInt(append(b, `],"pingInterval":`...), cfg.PingInterval.Milliseconds(), 10)
	b = strconv.AppendInt(append(b, `,"pingTimeout":`...), cfg.PingTimeout.Milliseconds(), 10)
	b = strconv.AppendInt(append(b, `,"maxPayload":`...), int64(cfg.MaxPayload), 10)
	m.SetBuffer(append(b, '}'))
	// OPEN stands before whatever the handler already sent.
	rest := c.out
	c.out, c.writing = nil, false
	c.append(head)
	c.append(m.frame())
	if rest != nil {
		*c.out = append(*c.out, *rest...)
		release(rest)
	}
	m.Free()
	c.expected = c.opened.Add(cfg.ConnectTimeout)
	if c.Open() {
		c.timer = time.AfterFunc(c.until(c.pingDue()), c.tick)
	}
	welcome := c.srv.add(c) // before the client learns its sid
	c.flush()
	c.mu.Unlock()
	if !welcome {
		c.Shut(ReasonShutdown)
	}
	if c.state.Load() == stateClosed { // ended while it was being opened
		c.srv.forget(c)
	}
}

func (c *Conn) heard() { c.seen.Store(time.Now().UnixNano()) }

// pingDue is when the next ping is due: one interval after the last. mu is held.
func (c *Conn) pingDue() time.Time {
	last := c.pingAt
	if last.IsZero() {
		last = c.opened
	}
	return last.Add(c.srv.cfg.PingInterval)
}

// until is how long the timer may sleep: until then, or until the client should have shown
// what it came for. mu is held.
func (c *Conn) until(then time.Time) time.Duration {
	if !c.confirmed.Load() && c.expected.Before(then) {
		then = c.expected
	}
	return max(0, time.Until(then))
}

var pingFrame = []byte{flagFin | opText, 1, packetPing}

// tick is the connection's one timer: ping, its timeout, the time to the first CONNECT,
// and the end of a close that lingers.
func (c *Conn) tick() {
	now := time.Now()
	cfg := &c.srv.cfg
	c.mu.Lock()
	switch c.state.Load() {
	case stateClosing:
		c.mu.Unlock()
		c.finish()
		return
	case stateClosed:
		c.mu.Unlock()
		return
	}
	if !c.confirmed.Load() && !now.Before(c.expected) {
		c.mu.Unlock()
		c.shut(ReasonNoConnect, true, closeNormal)
		return
	}
	if c.late(now) {
		if !c.blocked.Load() {
			c.mu.Unlock()
			c.shut(ReasonPingTimeout, false, closeNormal)
			return
		}
		c.timer.Reset(cfg.PingTimeout)
		c.mu.Unlock()
		return
	}
	switch {
	case c.pingAt.IsZero(), c.seen.Load() >= c.pingAt.UnixNano(): // quiet, or the pong came
		due := c.pingDue()
		if now.Before(due) {
			c.timer.Reset(c.until(due))
			break
		}
		// The clock of the pong runs from when the ping was due, as it does at the client,
		// unless the timer came much too late.
		c.pingAt = due
		if late := now.Add(-cfg.PingTimeout / 10); due.Before(late) {
			c.pingAt = late
		}
		c.append(pingFrame)
		c.flush()
		c.timer.Reset(c.until(c.pingAt.Add(min(cfg.PingInterval, cfg.PingTimeout))))
	default: // waiting for the pong, which may come long before it is overdue
		c.timer.Reset(min(cfg.PingInterval, c.until(c.pingAt.Add(cfg.PingTimeout))))
	}
	c.mu.Unlock()
}

// late tells whether the pong is overdue. mu is held.
func (c *Conn) late(now time.Time) bool {
	return !c.pingAt.IsZero() && !now.Before(c.pingAt.Add(c.srv.cfg.PingTimeout)) && c.seen.Load() < c.pingAt.UnixNano()
}

// Shut ends the connection politely: what was sent before still leaves, within the linger
// time. The reason is what Closed is told.
func (c *Conn) Shut(reason string) { c.shut(reason, true, closeNormal) }

var (
	closePacket = []byte{flagFin | opText, 1, packetClose}
	noopPacket  = []byte{flagFin | opText, 1, packetNoop}
)

// Abort ends the connection at once.
func (c *Conn) Abort(reason string) { c.shut(reason, false, closeNormal) }

func (c *Conn) shut(reason string, polite bool, status int) {
	c.mu.Lock()
	if !c.state.CompareAndSwap(stateOpen, stateClosing) {
		if !polite {
			c.finishLocked()
		}
		c.mu.Unlock()
		return
	}
	if polite {
		if c.wire != nil {
			c.append(appendClose(nil, status))
		} else {
			c.farewell = closePacket
			if reason == ReasonTransportClose { // its own wish: a poll on its way ends quietly
				c.farewell = noopPacket
			}
			if c.out == nil {
				c.append(c.farewell)
				c.farewell = nil
			}
		}
		if c.timer != nil {
			c.timer.Reset(c.srv.cfg.Linger)
		} else {
			c.timer = time.AfterFunc(c.srv.cfg.Linger, c.tick)
		}
		c.flush()
	} else {
		c.finishLocked()
	}
	c.mu.Unlock()
	c.handler.Closed(c, reason)
}

// finishSaid finishes a polling connection that is only remembered so that late requests of
// its client are not held against it.
func (c *Conn) finishSaid() {
	c.mu.Lock()
	if c.state.Load() == stateClosing && c.wire == nil && c.out == nil && c.farewell == nil {
		c.finishLocked()
	}
	c.mu.Unlock()
}

// finish lets go of everything. It may be called again.
func (c *Conn) finish() {
	c.mu.Lock()
	c.finishLocked()
	c.mu.Unlock()
}

func (c *Conn) finishLocked() {
	first := c.state.Swap(stateClosed) != stateClosed
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	if c.poll != nil {
		close(c.poll)
		c.poll = nil
	}
	if c.out != nil {
		release(c.out)
		c.out = nil
	}
	if c.wire != nil {
		c.wire.close()
	}
	if c.prober != nil {
		c.prober.close()
	}
	if first {
		c.srv.remove(c)
	}
}

// fail ends a connection that broke the protocol.
func (c *Conn) fail(err error) {
	if c.Open() {
		c.handler.Malformed(c, err)
	}
	c.mu.Lock()
	silent := c.wire == nil && c.out == nil && c.poll == nil // a poll would only come for the close
	c.mu.Unlock()
	c.shut(ReasonParseError, !silent, closeStatus(err))
}

// receive handles one packet of the client.
func (c *Conn) receive(kind byte, data []byte) error {
	if !c.Open() {
		return nil
	}
	switch kind {
	case packetMessage, packetBinary:
		c.blocked.Store(true)
		err := c.handler.Message(c, kind == packetBinary, data)
		c.heard() // now: a pong may have come meanwhile, and is still to be read
		c.blocked.Store(false)
		return err
	case packetPong, packetNoop:
		c.heard()
		return nil
	case packetClose:
		c.leave()
		return nil
	}
	return ErrMalformed
}

// leave ends the connection because the client said so.
func (c *Conn) leave() { c.shut(ReasonTransportClose, c.TransportName() == "polling", closeNormal) }

// Block says that the handler is about to keep the reader waiting: what was queued is
// written, and the ping timeout stands still until Unblock.
func (c *Conn) Block() {
	c.blocked.Store(true)
	c.Flush()
}

// Unblock ends Block.
func (c *Conn) Unblock() {
	c.heard()
	c.blocked.Store(false)
}
