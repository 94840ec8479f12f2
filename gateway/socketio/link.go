package socketio

import (
	"bytes"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/aeturnis/realtime/gateway/engineio"
)

// A link is one connection: between its engine on one side, and its sockets and their
// receivers on the other. It is the engine's handler.
type link struct {
	srv  *Server
	conn *engineio.Conn

	// owned by the goroutine that reads
	partial *item // a binary packet whose attachments have not all arrived

	// owned by whoever runs: the worker, or the reader when it serves an instant event
	client   bool // the library knows of the connection
	connects int  // CONNECTs that were judged

	mu      sync.Mutex
	queue   queue         // what waits for the worker; guarded by mu
	running bool          // somebody runs; guarded by mu
	space   chan struct{} // the reader waits for it to be closed; guarded by mu
	ended   bool          // the connection is over; guarded by mu
	told    bool          // and everybody has been told, or is about to be; guarded by mu
	sockets []*Socket     // connected ones; guarded by mu
	moving  *Socket       // one that the library is connecting or disconnecting; guarded by mu
	settled chan struct{} // closed when it has; guarded by mu
}

// An item is one thing that happens to a connection.
type item struct {
	packet      packet
	event       Event  // what the receiver is shown of it
	data        []byte // our copy, in which packet's slices lie
	attachments [][]byte

	// or one of these, with a reason
	gone   *Socket // the library disconnected it
	closed bool    // the connection ended
	reason string

	next *item // in a queue
}

var items = sync.Pool{New: func() any { return new(item) }}

func newItem() *item { return items.Get().(*item) }

// free gives the item back; nothing that it held may be used after.
func (it *item) free() {
	data := it.data[:0]
	if cap(data) > 4<<10 {
		data = nil
	}
	*it = item{data: data}
	items.Put(it)
}

// Message parses what the engine read, and serves or queues it.
func (l *link) Message(_ *engineio.Conn, binary bool, data []byte) error {
	if binary {
		return l.attachment(data)
	}
	if l.partial != nil {
		return malformed("text where an attachment was due")
	}
	it := newItem()
	p := &it.packet
	if err := p.parse(data, l.srv.limits); err != nil {
		it.free()
		return err
	}
	if p.kind == typeEvent && l.instant(it) {
		it.free()
		return nil
	}
	it.data = append(it.data[:0], data...)
	p.move(data, it.data)
	if p.attachments > 0 {
		l.partial = it
		return nil
	}
	l.submit(it)
	return nil
}

func (l *link) attachment(data []byte) error {
	it := l.partial
	if it == nil {
		return malformed("an attachment of nothing")
	}
	if it.size()+len(data) > l.srv.cfg.InboundBytes {
		return engineio.ErrTooLarge
	}
	it.attachments = append(it.attachments, bytes.Clone(data))
	if len(it.attachments) == it.packet.attachments {
		l.partial = nil
		l.submit(it)
	}
	return nil
}

// instant serves an event on the goroutine that reads, when nothing is ahead of it and it
// will not wait.
func (l *link) instant(it *item) bool {
	p := &it.packet
	l.mu.Lock()
	s := l.find(p.nsp)
	if s == nil || l.running || l.queue.len > 0 || !s.nsp.receiver.Instant(p.name) {
		l.mu.Unlock()
		return false
	}
	l.running = true
	l.mu.Unlock()
	l.guarded(s, it)
	l.mu.Lock()
	if l.queue.len > 0 {
		l.srv.workers.start(l)
	} else {
		l.running = false
	}
	l.mu.Unlock()
	return true
}

// find returns the socket of a namespace. mu is held.
func (l *link) find(nsp string) *Socket {
	for _, s := range l.sockets {
		if s.nsp.name == nsp {
			return s
		}
	}
	return nil
}

// submit queues an item, waiting for room when there is none. It keeps the order of its
// one caller, the goroutine that reads.
func (l *link) submit(it *item) {
	size := it.size()
	l.mu.Lock()
	for !l.ended && l.queue.len > 0 && (l.queue.len >= l.srv.cfg.Inbound || l.queue.bytes+size > l.srv.cfg.InboundBytes) {
		space := make(chan struct{})
		l.space = space
		l.mu.Unlock()
		l.conn.Block()
		<-space
		l.conn.Unblock()
		l.mu.Lock()
	}
	l.push(it)
	l.mu.Unlock()
}

func (it *item) size() int {
	n := len(it.data)
	for _, a := range it.attachments {
		n += len(a)
	}
	return n
}

// push queues an item and sees to it that somebody runs. mu is held.
func (l *link) push(it *item) {
	l.queue.push(it)
	if !l.running {
		l.running = true
		l.srv.workers.start(l)
	}
}

// run is the worker: it lives while something waits.
func (l *link) run() {
	for first := true; ; first = false {
		l.mu.Lock()
		it := l.queue.pop()
		if it == nil {
			l.running = false
			last := l.told
			l.told = false
			l.mu.Unlock()
			l.conn.Flush()
			if last {
				l.srv.live.Add(-1)
			}
			return
		}
		if l.space != nil {
			close(l.space)
			l.space = nil
		}
		l.mu.Unlock()
		if !first {
			l.conn.Soon() // the answer before must not wait for this one
		}
		l.serve(it)
		it.free()
	}
}

// recover keeps a receiver's panic to its own connection.
func (l *link) recover() {
	if p := recover(); p != nil {
		l.srv.cfg.Log.Error("receiver panicked", zap.Any("panic", p), zap.Stack("stack"))
		l.conn.Shut(engineio.ReasonForcedClose)
	}
}

// serve handles one item. It runs alone for its connection.
func (l *link) serve(it *item) {
	defer l.recover()
	switch {
	case it.closed:
		l.over(it.reason)
		return
	case it.gone != nil:
		it.gone.nsp.receiver.Disconnected(it.gone, it.reason)
		return
	}
	p := &it.packet
	if p.kind == typeConnect {
		l.connect(p)
		return
	}
	l.mu.Lock()
	s := l.find(p.nsp)
	l.mu.Unlock()
	if s == nil {
		// Not connected there: a client may have sent it before it heard that it was
		// disconnected, so this is not held against it unless it never was connected.
		if !l.client {
			l.broken(malformed("not connected"))
		}
		return
	}
	switch p.kind {
	case typeEvent, typeBinaryEvent:
		l.event(s, it)
	case typeAck, typeBinaryAck:
		s.acknowledged(p, it.attachments)
	case typeDisconnect:
		l.disconnect(s)
	}
}

func (l *link) guarded(s *Socket, it *item) {
	defer l.recover()
	l.event(s, it)
}

func (l *link) event(s *Socket, it *item) {
	p := &it.packet
	it.event = Event{Name: p.name, Args: p.args, Count: p.count, Attachments: it.attachments, ID: p.id, HasID: p.hasID}
	s.nsp.receiver.Event(s, &it.event)
}

// broken closes the connection for a violation that was found late.
func (l *link) broken(err error) {
	if l.conn.Open() {
		l.Malformed(l.conn, err)
		l.conn.Shut(engineio.ReasonParseError)
	}
}

// Closed is called by the engine, once, on whatever goroutine.
func (l *link) Closed(_ *engineio.Conn, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	if l.space != nil {
		close(l.space)
		l.space = nil
	}
	l.push(&item{closed: true, reason: reason})
}

// over tells the library, and through it the receivers, that the connection has ended.
func (l *link) over(reason string) {
	defer func() {
		l.mu.Lock()
		l.told = true
		l.mu.Unlock()
	}()
	l.conn.Emit("close", reason)
	l.mu.Lock()
	left := append([]*Socket(nil), l.sockets...)
	l.mu.Unlock()
	for _, s := range left { // whom the library has lost sight of
		s.lib.Disconnect(false)
		l.gone(s, reason)
	}
	l.conn.Clear()
}

// Malformed tells the client's sockets what it did wrong.
func (l *link) Malformed(_ *engineio.Conn, err error) {
	code, message := "INVALID", err.Error()
	if errors.Is(err, engineio.ErrTooLarge) || errors.Is(err, engineio.ErrTooMany) {
		code, message = "PAYLOAD_TOO_LARGE", "That message is too large."
	}
	l.mu.Lock()
	settled := l.settled
	l.mu.Unlock()
	if settled != nil { // the client knows that it is connected, we are about to
		select {
		case <-settled:
		case <-time.After(l.srv.cfg.AdmitTimeout):
		}
	}
	l.last("error", struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}{code, message})
}

// Overflow tells a client that it is too slow.
func (l *link) Overflow(*engineio.Conn) {
	l.last("gateway:closing", struct {
		Code          string `json:"code"`
		ReconnectInMs int64  `json:"reconnectInMs"`
	}{"SLOW_CONSUMER", 1000})
}

// last sends last words to every socket of the connection.
func (l *link) last(name string, body any) {
	l.mu.Lock()
	sockets := append([]*Socket(nil), l.sockets...)
	l.mu.Unlock()
	for _, s := range sockets {
		_ = s.Emit(name, body)
	}
}
