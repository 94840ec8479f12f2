package engineio

import (
	"bufio"
	"errors"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zishang520/engine.io/v2/types"
)

// A Handler is called with what happens on one connection.
type Handler interface {
	// Message is one message from the client. data is only valid during the call, and may
	// be changed. While Message blocks, nothing more is read from the client, and its
	// ping timeout stands still. An error is a violation: Malformed is called with it, and
	// the connection is closed.
	Message(c *Conn, binary bool, data []byte) error
	// Malformed says that the client broke the protocol and is about to be closed: the handler
	// may still send something. err is ErrTooLarge, ErrMalformed, ErrTooMany, or what Message
	// returned.
	Malformed(c *Conn, err error)
	// Overflow says that the outbound queue is full and the client is about to be closed: the
	// handler may still send something short. It is called once.
	Overflow(c *Conn)
	// Closed is called once, when nothing more comes in or goes out.
	Closed(c *Conn, reason string)
}

type state = int32

const (
	stateOpen    state = iota
	stateClosing       // the handler was told; what is queued may still leave
	stateClosed
)

// request is what the connection keeps of the handshake's HTTP request, until Forget.
type request struct {
	header http.Header
	uri    string

	makeContext sync.Once
	context     *types.HttpContext
}

// A Conn is the connection of one client, over either transport.
type Conn struct {
	listeners // for the library

	// static after sendOpen
	srv     *Server
	id      string
	addr    string
	shard   int
	opened  time.Time
	handler Handler

	hasPlace bool // it counts for the bounds; guarded by srv.mu

	request atomic.Pointer[request]
	// credentials are headers in wire format; nil where there are none.
	credentials atomic.Pointer[string]
	state       atomic.Int32
	lastHeard   atomic.Int64 // when the client last sent something, Unix ns
	pingSent    atomic.Int64 // when the ping was queued whose pong has not come, Unix ns; or 0
	roundTrip   atomic.Int64 // of the last ping, ns; 0 before the first pong
	isBlocked   atomic.Bool  // the handler keeps the reader waiting
	isConfirmed atomic.Bool
	hasPost     atomic.Bool
	reportsOpen atomic.Bool
	isDismissed atomic.Bool // the server has closed it while it was polling

	inbound sync.Mutex // held while a POST is handled, and at the switch to the websocket

	mu            sync.Mutex
	timer         *time.Timer // guarded by mu
	confirmBy     time.Time   // by when Confirm is due; guarded by mu
	restBy        time.Time   // by when the rest of a message is due before Confirm, or zero; guarded by mu
	pingAt        time.Time   // when the unanswered ping was sent, or zero; guarded by mu
	wire          *wire       // nil while polling; guarded by mu
	waitingPoll   chan []byte // receives the body of the poll that waits, or nil; guarded by mu
	isUpgrading   bool        // an upgrade is under way; guarded by mu
	probeWire     *wire       // the websocket of that upgrade; guarded by mu
	outbound      *[]byte     // frames that wait; guarded by mu
	bytesInWriter int         // bytes that the writer has taken; guarded by mu
	hasWriter     bool        // a writer runs, or the connection is being opened; guarded by mu
	hasFlusher    bool        // a flusher will flush it; guarded by mu
	isCorked      bool        // what is queued waits for Uncork; guarded by mu
	hasOverflowed bool        // guarded by mu
	// farewell is the packet that ends polling. It travels alone, in a poll of its own: the
	// client drops what came together with it. Guarded by mu.
	farewell []byte
}

// ID returns the sid. It is a secret between client and server.
func (c *Conn) ID() string { return c.id }

// Addr returns the client's IP address.
func (c *Conn) Addr() string { return c.addr }

// Handler returns what Config.Handler made.
func (c *Conn) Handler() Handler { return c.handler }

// Open reports whether messages can still be sent.
func (c *Conn) Open() bool { return c.state.Load() == stateOpen }

// TransportName returns "polling" or "websocket".
func (c *Conn) TransportName() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wire == nil {
		return "polling"
	}
	return "websocket"
}

// RoundTrip returns how long the last ping took from the server's queue until its pong was read:
// the network twice, and what waited at both ends. It is 0 before the first pong. Clients can make
// it look shorter or longer.
func (c *Conn) RoundTrip() time.Duration { return time.Duration(c.roundTrip.Load()) }

// notePong computes the round trip of the ping. A pong to no ping says nothing.
func (c *Conn) notePong() {
	sent := c.pingSent.Swap(0)
	if sent == 0 {
		return
	}
	took := max(1, time.Now().UnixNano()-sent)
	c.roundTrip.Store(took)
	if c.srv.cfg.OnRoundTrip != nil {
		c.srv.cfg.OnRoundTrip(time.Duration(took))
	}
}

// Header returns the headers of the handshake; after Forget only if they carry credentials.
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

// Confirm says that the client has connected to what it came for, such as a namespace: the connect
// timeout no longer applies, until Expect is called.
func (c *Conn) Confirm() { c.isConfirmed.Store(true) }

// Expect starts the connect timeout again, after Confirm.
func (c *Conn) Expect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isConfirmed.Swap(false) && c.state.Load() == stateOpen && c.timer != nil {
		c.confirmBy = time.Now().Add(c.srv.cfg.ConnectTimeout)
		c.timer.Reset(0) // onTimer computes what is due
	}
}

// Hold makes ReadyState return "open" even after the end, so that the library can finish its work.
func (c *Conn) Hold(held bool) { c.reportsOpen.Store(held) }

// Forget frees what the connection keeps of the handshake. Headers with an Authorization or a
// Cookie are kept as one small string, because a client that leaves its namespace may connect again
// with them.
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

// sendOpenPacket makes the handler and sends the client its OPEN packet. head is the answer to the
// handshake of a websocket; it leaves first, in the same write.
func (c *Conn) sendOpenPacket(r *http.Request, head []byte) {
	c.markHeard()
	if c.srv.cfg.Handler != nil {
		c.handler = c.srv.cfg.Handler(c, r)
	}
	if c.handler == nil {
		c.handler = emittingHandler{}
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
	// OPEN goes before what the handler has already sent.
	rest := c.outbound
	c.outbound, c.hasWriter = nil, false
	c.appendFrames(head)
	c.appendFrames(m.sealedFrame())
	if rest != nil {
		*c.outbound = append(*c.outbound, *rest...)
		recycleBuffer(rest)
	}
	m.Free()
	c.confirmBy = c.opened.Add(cfg.ConnectTimeout)
	if c.Open() {
		c.timer = time.AfterFunc(c.timeUntil(c.nextPingDue()), c.handleTimer)
	}
	isServing := c.srv.registerConn(c) // before the client learns its sid
	c.flushLocked()
	c.mu.Unlock()
	if !isServing {
		c.Shut(ReasonShutdown)
	}
	if c.state.Load() == stateClosed { // ended while it was being opened
		c.srv.unregisterConn(c)
	}
}

func (c *Conn) markHeard() { c.lastHeard.Store(time.Now().UnixNano()) }

// nextPingDue returns when the next ping is due: one interval after the last. mu is held.
func (c *Conn) nextPingDue() time.Time {
	last := c.pingAt
	if last.IsZero() {
		last = c.opened
	}
	return last.Add(c.srv.cfg.PingInterval)
}

// confirmDue returns when a connection that is not confirmed is closed. mu is held.
func (c *Conn) confirmDue() time.Time {
	if !c.restBy.IsZero() && c.restBy.Before(c.confirmBy) {
		return c.restBy
	}
	return c.confirmBy
}

// expectRest says whether the beginning of a message waits for its rest. Before Confirm the rest
// has half of the connect timeout: who has begun to speak needs less time than who has not.
func (c *Conn) expectRest(isExpected bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !isExpected:
		c.restBy = time.Time{}
	case c.restBy.IsZero() && c.state.Load() == stateOpen && c.timer != nil:
		c.restBy = time.Now().Add(c.srv.cfg.ConnectTimeout / 2)
		c.timer.Reset(0) // handleTimer computes what is due
	}
}

// messageLimit returns how many bytes the next message may have.
func (c *Conn) messageLimit() int {
	if c.isConfirmed.Load() {
		return c.srv.cfg.MaxPayload
	}
	return c.srv.cfg.EarlyPayload
}

// markEarly returns err, or ErrTooLargeYet when a message is too large that may come later.
func (c *Conn) markEarly(err error) error {
	if errors.Is(err, ErrTooLarge) && !c.isConfirmed.Load() && c.srv.cfg.EarlyPayload < c.srv.cfg.MaxPayload {
		return ErrTooLargeYet
	}
	return err
}

// timeUntil returns how long the timer may sleep: until then, or until the connect timeout if that
// is earlier. mu is held.
func (c *Conn) timeUntil(then time.Time) time.Duration {
	if due := c.confirmDue(); !c.isConfirmed.Load() && due.Before(then) {
		then = due
	}
	return max(0, time.Until(then))
}

var pingFrame = []byte{flagFin | opText, 1, packetPing}

// handleTimer is called by the connection's only timer. It serves the ping and its timeout, the
// connect timeout, and the end of a close that lingers.
func (c *Conn) handleTimer() {
	now := time.Now()
	cfg := &c.srv.cfg
	c.mu.Lock()
	switch c.state.Load() {
	case stateClosing:
		c.mu.Unlock()
		c.finishNow()
		return
	case stateClosed:
		c.mu.Unlock()
		return
	}
	if !c.isConfirmed.Load() && !now.Before(c.confirmDue()) {
		c.mu.Unlock()
		c.beginClose(ReasonNoConnect, true, normalClosure)
		return
	}
	if c.isPongOverdue(now) {
		if !c.isBlocked.Load() {
			c.mu.Unlock()
			c.beginClose(ReasonPingTimeout, false, normalClosure)
			return
		}
		c.timer.Reset(cfg.PingTimeout)
		c.mu.Unlock()
		return
	}
	switch {
	case c.pingAt.IsZero(), c.lastHeard.Load() >= c.pingAt.UnixNano(): // no ping is unanswered
		due := c.nextPingDue()
		if now.Before(due) {
			c.timer.Reset(c.timeUntil(due))
			break
		}
		// The clock of the pong runs from when the ping was due, as it does at the client,
		// unless the timer came much too late.
		c.pingAt = due
		if late := now.Add(-cfg.PingTimeout / 10); due.Before(late) {
			c.pingAt = late
		}
		c.pingSent.Store(now.UnixNano())
		c.appendFrames(pingFrame)
		c.flushLocked()
		c.timer.Reset(c.timeUntil(c.pingAt.Add(min(cfg.PingInterval, cfg.PingTimeout))))
	default: // a ping is unanswered; look again before the pong is overdue, to send the next ping in time
		c.timer.Reset(min(cfg.PingInterval, c.timeUntil(c.pingAt.Add(cfg.PingTimeout))))
	}
	c.mu.Unlock()
}

// isPongOverdue reports whether the pong is overdue. mu is held.
func (c *Conn) isPongOverdue(now time.Time) bool {
	return !c.pingAt.IsZero() && !now.Before(c.pingAt.Add(c.srv.cfg.PingTimeout)) && c.lastHeard.Load() < c.pingAt.UnixNano()
}

// Shut ends the connection politely: what was sent before still leaves, within the linger time. The
// handler's Closed gets the reason.
func (c *Conn) Shut(reason string) {
	if c.Open() && c.TransportName() == "polling" {
		c.isDismissed.Store(true)
	}
	c.beginClose(reason, true, normalClosure)
}

var (
	closePacket = []byte{flagFin | opText, 1, packetClose}
	noopPacket  = []byte{flagFin | opText, 1, packetNoop}
)

// Abort ends the connection at once. What waits to be sent is lost.
func (c *Conn) Abort(reason string) { c.beginClose(reason, false, normalClosure) }

// beginClose moves the connection from open to closing and tells the handler. When polite, what is
// queued and a close packet may still leave, within the linger time; otherwise everything ends at
// once. On a connection that is closing already, only an impolite call has an effect.
func (c *Conn) beginClose(reason string, polite bool, frame closeFrame) {
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
			c.appendFrames(appendClose(nil, frame))
		} else {
			c.queueFarewell(reason)
		}
		if c.timer != nil {
			c.timer.Reset(c.srv.cfg.Linger)
		} else {
			c.timer = time.AfterFunc(c.srv.cfg.Linger, c.handleTimer)
		}
		c.flushLocked()
	} else {
		c.finishLocked()
	}
	c.mu.Unlock()
	c.handler.Closed(c, reason)
}

// queueFarewell queues what a polling client is sent last. A client that has closed by itself wants
// nothing more but the end of its poll, and so it no longer counts for the bounds. mu is held.
func (c *Conn) queueFarewell(reason string) {
	c.farewell = closePacket
	if reason == ReasonTransportClose {
		c.farewell = noopPacket
		if c.outbound != nil {
			recycleBuffer(c.outbound)
			c.outbound = nil
		}
		c.srv.releasePlace(c)
	}
	if c.outbound == nil {
		c.appendFrames(c.farewell)
		c.farewell = nil
	}
}

// finishIfSent finishes a polling connection that has nothing more to send. It was only kept so
// that late requests of its client are not refused as unknown.
func (c *Conn) finishIfSent() {
	c.mu.Lock()
	if c.state.Load() == stateClosing && c.wire == nil && c.outbound == nil && c.farewell == nil {
		c.finishLocked()
	}
	c.mu.Unlock()
}

// finishNow frees everything that the connection holds. It may be called again.
func (c *Conn) finishNow() {
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
	if c.waitingPoll != nil {
		close(c.waitingPoll)
		c.waitingPoll = nil
	}
	if c.outbound != nil {
		recycleBuffer(c.outbound)
		c.outbound = nil
	}
	if c.wire != nil {
		c.wire.close()
	}
	if c.probeWire != nil {
		c.probeWire.close()
	}
	if first {
		c.srv.removeConn(c)
	}
}

// closeForViolation ends a connection whose client broke the protocol.
func (c *Conn) closeForViolation(err error) {
	if c.Open() {
		c.handler.Malformed(c, err)
	}
	c.mu.Lock()
	silent := c.wire == nil && c.outbound == nil && c.waitingPoll == nil // the client polls only for the close
	c.mu.Unlock()
	c.beginClose(ReasonParseError, !silent, closeFrameFor(err))
}

// handlePacket handles one packet from the client.
func (c *Conn) handlePacket(kind byte, data []byte) error {
	if !c.Open() {
		return nil
	}
	switch kind {
	case packetMessage, packetBinary:
		c.isBlocked.Store(true)
		err := c.handler.Message(c, kind == packetBinary, data)
		c.markHeard() // a pong may have arrived meanwhile, and is not read yet
		c.isBlocked.Store(false)
		return err
	case packetPong:
		c.notePong()
		c.markHeard()
		return nil
	case packetNoop:
		c.markHeard()
		return nil
	case packetClose:
		c.closeByClient()
		return nil
	}
	return ErrMalformed
}

// closeByClient ends the connection because the client asked for it.
func (c *Conn) closeByClient() {
	c.beginClose(ReasonTransportClose, c.TransportName() == "polling", normalClosure)
}

// Block says that the handler is about to keep the reader waiting: what is queued is written, and
// the ping timeout is suspended until Unblock.
func (c *Conn) Block() {
	c.isBlocked.Store(true)
	c.Flush()
}

// Unblock ends Block.
func (c *Conn) Unblock() {
	c.markHeard()
	c.isBlocked.Store(false)
}
