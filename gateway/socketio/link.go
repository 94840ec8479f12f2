package socketio

import (
	"bytes"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/aeturnis/realtime/gateway/engineio"
)

// A link is one connection, between the engine on one side and the sockets and their receivers on
// the other. It is the engine's handler.
type link struct {
	srv  *Server
	conn *engineio.Conn

	// owned by the goroutine that reads from the connection
	partial *item // a binary packet whose attachments have not all arrived

	// owned by the goroutine that serves: the worker, or the reader while it serves an instant event
	isKnownToLibrary bool // the library was told of the connection
	connectAttempts  int  // how many CONNECTs came
	thisMinute       minuteCounts
	isJudged         bool   // a CONNECT was admitted or refused, and reported
	releaseAhead     func() // ends what bindLibrarySocket subscribed to ahead; nil without that

	mu             sync.Mutex
	queue          queue         // what waits for the worker; guarded by mu
	isServing      bool          // a goroutine serves the queue, or is about to; guarded by mu
	spaceFreed     chan struct{} // closed when the queue has room; nil unless the reader waits; guarded by mu
	isEnded        bool          // the connection has ended; guarded by mu
	violation      error         // what the client broke the protocol with, or nil; guarded by mu
	isEndServed    bool          // its sockets learned of the end, or are about to; guarded by mu
	onServed       []func()      // called when its receivers learned of that too; guarded by mu
	sockets        []*Socket     // the connected ones; guarded by mu
	inTransition   *Socket       // the socket that the library is connecting or disconnecting; guarded by mu
	transitionDone chan struct{} // closed when the library has done so; guarded by mu
	data           any           // of Socket.SetConnData; guarded by mu
}

// An item is one thing that happens to a connection.
type item struct {
	packet      packet
	event       Event  // what the receiver gets of packet
	data        []byte // our copy, in which packet's slices lie
	attachments [][]byte

	// or one of these, with the reason
	disconnected *Socket // the library has disconnected this socket
	isClosed     bool    // the connection has ended
	reason       string

	next *item // the item behind it in a queue
}

var items = sync.Pool{New: func() any { return new(item) }}

func newItem() *item { return items.Get().(*item) }

// returnToPool gives the item back. Nothing that it held may be used afterwards.
func (it *item) returnToPool() {
	data := it.data[:0]
	if cap(data) > 4<<10 {
		data = nil
	}
	*it = item{data: data}
	items.Put(it)
}

// Message parses a message that the engine has read, and serves or queues its packet.
func (l *link) Message(_ *engineio.Conn, binary bool, data []byte) error {
	if binary {
		return l.addAttachment(data)
	}
	if l.partial != nil {
		return malformed("text where an attachment was due")
	}
	it := newItem()
	p := &it.packet
	if err := p.parseMessage(data, l.srv.limits); err != nil {
		it.returnToPool()
		return err
	}
	if p.kind == typeEvent && l.serveInstant(it) || p.kind == typeAck && l.takeAnswer(p, nil) {
		it.returnToPool()
		return nil
	}
	it.data = append(it.data[:0], data...)
	p.moveSlices(data, it.data)
	if p.attachments > 0 {
		l.partial = it
		return nil
	}
	l.waitAndPush(it)
	return nil
}

func (l *link) addAttachment(data []byte) error {
	it := l.partial
	if it == nil {
		return malformed("an attachment of nothing, or a client with another parser, such as msgpack")
	}
	if it.byteSize()+len(data) > l.srv.cfg.InboundBytes {
		return engineio.ErrTooLarge
	}
	it.attachments = append(it.attachments, bytes.Clone(data))
	if len(it.attachments) == it.packet.attachments {
		l.partial = nil
		if it.packet.kind == typeBinaryAck && l.takeAnswer(&it.packet, it.attachments) {
			it.returnToPool()
			return nil
		}
		l.waitAndPush(it)
	}
	return nil
}

// serveInstant serves an event on the goroutine that reads, if nothing is ahead of it and the
// receiver will not wait. It reports whether it has.
func (l *link) serveInstant(it *item) bool {
	p := &it.packet
	l.mu.Lock()
	s := l.findSocket(p.nsp)
	if s == nil || l.isServing || l.queue.len > 0 || !s.nsp.receiver.Instant(p.name) {
		l.mu.Unlock()
		return false
	}
	l.isServing = true
	l.mu.Unlock()
	l.deliverGuarded(s, it)
	l.mu.Lock()
	if l.queue.len > 0 {
		l.srv.workers.runLink(l)
	} else {
		l.isServing = false
	}
	l.mu.Unlock()
	return true
}

// takeAnswer passes an acknowledgement to the question that it answers. It reports false for one
// that answers none of ours. It does not wait for the events that the client sent before: the
// handler of one of these may wait for the answer.
func (l *link) takeAnswer(p *packet, attachments [][]byte) bool {
	l.mu.Lock()
	s := l.findSocket(p.nsp)
	l.mu.Unlock()
	return s != nil && s.takeAnswer(p, attachments)
}

// findSocket returns the socket of a namespace, or nil. mu is held.
func (l *link) findSocket(nsp string) *Socket {
	for _, s := range l.sockets {
		if s.nsp.name == nsp {
			return s
		}
	}
	return nil
}

// waitAndPush queues an item. It waits while the queue is full, which slows the client. Its one
// caller is the goroutine that reads, so the order is kept.
func (l *link) waitAndPush(it *item) {
	size := it.byteSize()
	l.mu.Lock()
	for !l.isEnded && l.queue.len > 0 && (l.queue.len >= l.srv.cfg.Inbound || l.queue.bytes+size > l.srv.cfg.InboundBytes) {
		space := make(chan struct{})
		l.spaceFreed = space
		l.mu.Unlock()
		l.conn.Block()
		<-space
		l.conn.Unblock()
		l.mu.Lock()
	}
	l.pushItem(it)
	l.mu.Unlock()
}

func (it *item) byteSize() int {
	n := len(it.data)
	for _, a := range it.attachments {
		n += len(a)
	}
	return n
}

// callWhenServed has f called when the receivers have learned of the end of all sockets. One of
// them must not have learned of it yet.
func (l *link) callWhenServed(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.onServed = append(l.onServed, f)
}

// dropQueued drops what the client has sent and was not served yet.
func (l *link) dropQueued() {
	l.mu.Lock()
	defer l.mu.Unlock()
	var kept queue
	for it := l.queue.popItem(); it != nil; it = l.queue.popItem() {
		if it.disconnected != nil || it.isClosed {
			kept.pushItem(it)
		} else {
			it.returnToPool()
		}
	}
	l.queue = kept
}

// pushItem queues an item, and has a worker serve it unless one is at it. mu is held.
func (l *link) pushItem(it *item) {
	l.queue.pushItem(it)
	if !l.isServing {
		l.isServing = true
		l.srv.workers.runLink(l)
	}
}

// serveQueue serves items until none waits. It runs on a worker.
func (l *link) serveQueue() {
	for first := true; ; first = false {
		l.mu.Lock()
		it := l.queue.popItem()
		if it == nil {
			l.isServing = false
			wasLast := l.isEndServed
			l.isEndServed = false
			var onServed []func()
			if wasLast {
				onServed, l.onServed = l.onServed, nil
			}
			l.mu.Unlock()
			l.conn.Flush()
			for _, f := range onServed {
				f()
			}
			if wasLast {
				l.srv.live.Add(-1)
			}
			return
		}
		if l.spaceFreed != nil {
			close(l.spaceFreed)
			l.spaceFreed = nil
		}
		l.mu.Unlock()
		if !first {
			l.conn.FlushSoon() // the answer to the item before must not wait for this one
		}
		l.serveItem(it)
		it.returnToPool()
	}
}

// recoverPanic logs a receiver's panic and closes the connection, and no other one.
func (l *link) recoverPanic() {
	if p := recover(); p != nil {
		l.srv.cfg.Log.Error("receiver panicked", zap.Any("panic", p), zap.Stack("stack"))
		l.conn.Shut(engineio.ReasonForcedClose)
	}
}

// serveItem serves one item. No two run at the same time for one connection.
func (l *link) serveItem(it *item) {
	defer l.recoverPanic()
	switch {
	case it.isClosed:
		l.endSockets(it.reason)
		return
	case it.disconnected != nil:
		defer it.disconnected.finishRecord(it.reason)
		it.disconnected.nsp.receiver.Disconnected(it.disconnected, it.reason)
		return
	}
	p := &it.packet
	if p.kind == typeConnect {
		l.handleConnect(p)
		return
	}
	l.mu.Lock()
	s := l.findSocket(p.nsp)
	l.mu.Unlock()
	if s == nil {
		// The client may have sent it before it heard that it was disconnected, so this is only a
		// violation if it never was connected.
		if !l.isKnownToLibrary || l.thisMinute.countStray() {
			l.closeMalformed(malformed("not connected"))
		}
		return
	}
	switch p.kind {
	case typeEvent, typeBinaryEvent:
		l.deliverEvent(s, it)
	case typeAck, typeBinaryAck:
		s.handleAcknowledgement(p, it.attachments)
	case typeDisconnect:
		l.handleDisconnect(s)
	}
}

// deliverGuarded is deliverEvent that recovers a panic.
func (l *link) deliverGuarded(s *Socket, it *item) {
	defer l.recoverPanic()
	l.deliverEvent(s, it)
}

func (l *link) deliverEvent(s *Socket, it *item) {
	p := &it.packet
	it.event = Event{Name: p.name, Args: p.args, Count: p.count, Attachments: it.attachments, ID: p.id, HasID: p.hasID}
	s.nsp.receiver.Event(s, &it.event)
}

// closeMalformed closes the connection for a violation that only showed after parsing.
func (l *link) closeMalformed(err error) {
	if l.conn.Open() {
		l.Malformed(l.conn, err)
		l.conn.Shut(engineio.ReasonParseError)
	}
}

// Closed is called by the engine once, on any goroutine.
func (l *link) Closed(_ *engineio.Conn, reason string) {
	l.mu.Lock()
	l.isEnded = true
	if l.spaceFreed != nil {
		close(l.spaceFreed)
		l.spaceFreed = nil
	}
	l.pushItem(&item{isClosed: true, reason: reason})
	sockets := append([]*Socket(nil), l.sockets...)
	l.mu.Unlock()
	for _, s := range sockets { // a handler that waits for an answer must not wait for its turn
		s.endQuestions()
	}
}

// endSockets tells the library that the connection has ended. The library tells the receivers.
func (l *link) endSockets(reason string) {
	defer func() {
		l.mu.Lock()
		l.isEndServed = true
		l.mu.Unlock()
	}()
	l.conn.Emit("close", reason)
	l.mu.Lock()
	left, violation := append([]*Socket(nil), l.sockets...), l.violation
	l.mu.Unlock()
	if !l.isJudged {
		l.reportRefused(describeEarlyEnd(reason, violation))
	}
	for _, s := range left { // those that the library does not know any more
		s.lib.Disconnect(false)
		l.handleLibraryDisconnect(s, reason)
	}
	l.conn.Clear()
}

// Malformed sends an event to the client's sockets that says what was wrong.
func (l *link) Malformed(_ *engineio.Conn, err error) {
	code, message := "INVALID", err.Error()
	if errors.Is(err, engineio.ErrTooLarge) || errors.Is(err, engineio.ErrTooMany) {
		code, message = "PAYLOAD_TOO_LARGE", "That message is too large."
	}
	l.mu.Lock()
	l.violation = err
	settled := l.transitionDone
	l.mu.Unlock()
	if settled != nil { // a socket is being connected; its client is told too
		select {
		case <-settled:
		case <-time.After(l.srv.cfg.AdmitTimeout):
		}
	}
	l.sendLastWords("error", struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}{code, message})
}

// Overflow tells the client that it is too slow.
func (l *link) Overflow(*engineio.Conn) {
	l.sendLastWords("gateway:closing", struct {
		Code          string `json:"code"`
		ReconnectInMs int64  `json:"reconnectInMs"`
	}{"SLOW_CONSUMER", 1000})
}

// sendLastWords sends an event to every socket of the connection, before it closes.
func (l *link) sendLastWords(name string, body any) {
	l.mu.Lock()
	sockets := append([]*Socket(nil), l.sockets...)
	l.mu.Unlock()
	for _, s := range sockets {
		_ = s.Emit(name, body)
	}
}
